"""API shapes of many notifications in one request: what an application posts, and what became of each."""

from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from carillon.contracts.notifications import NotificationRequested
from carillon.contracts.statuses import Stage, Status
from carillon.kit.errors import FieldProblem

MOST_AT_ONCE: Final = 1_000
MOST_BYTES: Final = 16 << 20

Item = Annotated[
    msgspec.Raw,
    Meta(
        description="As the body of `POST /notifications`. One that breaks a rule is refused in its place.",
        extra_json_schema={"$ref": "#/components/schemas/NotificationRequested"},
    ),
]


class BatchRequested(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /notifications/batch`. The items are read one by one, so that a bad one harms no neighbour."""

    EXAMPLES: ClassVar[Any] = ({"notifications": list(NotificationRequested.EXAMPLES)},)

    notifications: Annotated[list[Item], Meta(min_length=1, max_length=MOST_AT_ONCE)]


class BatchResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of the item at `index`: a notification with its present status, or an error as told of one alone.

    `request_id` is null where the item has none that could be read.
    """

    index: int
    request_id: str | None
    notification_id: UUID | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    stage: Stage | UnsetType | None = UNSET
    error: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    details: tuple[FieldProblem, ...] | UnsetType = UNSET


class BatchReport(msgspec.Struct, frozen=True):
    """How many were accepted, had been accepted before, and were refused; one result for each item, in their order."""

    accepted: int
    replayed: int
    refused: int
    results: list[BatchResult]
