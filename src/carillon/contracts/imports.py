"""API shapes of an import of users: what a program sends, and what became of each."""

from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

MOST_AT_ONCE: Final = 500
_HASH: Final = "$2b$12$mwZ2ltxSdh5Nvc7dWAEJ3uRdcKPVQ8oqfxs1rTnPvC2p8XWUZ7Nfm"
_Text = Annotated[str, Meta(max_length=1_000)]


class UserToImport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person; everything but the address may be absent. What is wrong with one stops none of the others."""

    email: _Text
    name: _Text | None = None
    password_hash: _Text | None = None
    locale: _Text | None = None
    timezone: _Text | None = None
    attributes: dict[str, Any] | None = None
    verified: bool = False


class UsersToImport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /users/import`."""

    EXAMPLES: ClassVar[Any] = ({"users": [{"email": "grace@example.com", "name": "Grace", "password_hash": _HASH}]},)

    users: Annotated[list[UserToImport], Meta(min_length=1, max_length=MOST_AT_ONCE)]


class Imported(msgspec.Struct, frozen=True):
    """`there`: somebody has this address, and stays as they are. `reason` says why one was refused."""

    outcome: Literal["made", "there", "refused"]
    user_id: UUID | None = None
    reason: str | None = None


class ImportReport(msgspec.Struct, frozen=True):
    """One entry for each that was sent, in the same order."""

    results: list[Imported]
