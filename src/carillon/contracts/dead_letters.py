"""Dead letters: what their headers tell, and the API shapes of those that are kept."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from carillon.contracts.channels import Channel
from carillon.contracts.templates import TemplateCode

FIRST_ERROR_HEADER: Final = "x-carillon-first-error"
"""What the first failed attempt met, without addresses; this and the following are hints."""
LAST_ERROR_HEADER: Final = "x-carillon-last-error"
ATTEMPTS_HEADER: Final = "x-carillon-attempts"
PROVIDER_HEADER: Final = "x-carillon-provider"
"""The provider of the last attempt."""
REPORTED_HEADER: Final = "x-carillon-reported"
"""Its worker has told the gateway that the notification failed."""
CAUSE_HEADER: Final = "x-carillon-cause"
"""Why it died, where the reason on the message does not say it: with the bound of its policy that ended it, and on
a dead letter that could not be kept yet, where the reason of its wait takes the place of the other."""

UNDECODABLE: Final = "undecodable"
OUTCOME_UNKNOWN: Final = "outcome_unknown"
CAUSE: Final = r"^[a-z][a-z0-9_]{0,63}(?!\n)$"
MOST_REPLAYED: Final = 1_000
"""Dead letters that one call looks at."""

_LETTER: Final = "01a1d1a0-0000-7000-8000-000000000009"
_Moment = Annotated[datetime, Meta(extra_json_schema={"format": "date-time"})]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that died. `cause` is a stable word, `reason` what was said with it, `provider` that of the last try.
    `replayable`: it can be read and its body is there; whether it is sent again is decided then."""

    dead_letter_id: UUID
    notification_id: UUID | None
    generation: int | None
    notification_type: Channel | None
    user_id: UUID | None
    template_code: str | None
    queue: str
    cause: str
    reason: str
    first_error: str | None
    last_error: str | None
    attempts: int
    provider: str | None
    published_at: datetime | None
    died_at: datetime
    replayed_at: datetime | None
    replayable: bool


class DeadLetterGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters of one cause that have not been replayed; `examples` are the newest."""

    cause: str
    count: int
    first_died_at: datetime
    last_died_at: datetime
    examples: list[DeadLetter]


class ReplayRequested(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /dead_letters/replay`: one filter at least. `died_from` is included, `died_to` is not.

    One call looks at 1,000; where more match, the same body with the answer's `next_after` as `after` goes on.
    """

    EXAMPLES: ClassVar[Any] = (
        {"cause": "recipient_deferred", "died_from": "2030-01-31T12:00:00Z", "dry_run": True},
        {"ids": [_LETTER]},
        {"template_code": "welcome", "notification_type": "email"},
    )

    ids: Annotated[list[UUID], Meta(min_length=1, max_length=MOST_REPLAYED)] | None = None
    cause: Annotated[str, Meta(pattern=CAUSE)] | None = None
    template_code: TemplateCode | None = None
    notification_type: Channel | None = None
    died_from: _Moment | None = None
    died_to: _Moment | None = None
    after: UUID | None = None
    dry_run: bool = False


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay did, or would do: `matched` = `replayed` + all that were `skipped`, by the reason."""

    dry_run: bool
    matched: int
    replayed: int
    skipped: dict[str, int]
    more: bool
    next_after: UUID | None
