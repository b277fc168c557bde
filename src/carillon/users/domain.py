"""People as values: addresses, choices, opaque tokens and what they grant. Pure."""

import re
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Literal
from uuid import UUID

import msgspec
from email_validator import EmailNotValidError, validate_email

from carillon.contracts.channels import Channel
from carillon.contracts.preferences import Choices, Reach, decide
from carillon.contracts.users import Contact, Device
from carillon.kit.auth import CallerKind
from carillon.kit.errors import invalid

Status = Literal["active", "disabled"]
# Control characters (CR and LF among them), and the marks that turn the direction of text.
_UNSEEN = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
ONE_LINE = rf"\A *[^\s{_UNSEEN}][^{_UNSEEN}]*\Z"
CATEGORY = r"\A[a-z0-9][a-z0-9_.\-]*\Z"
MOST_CATEGORIES = 200
_MOST_ATTRIBUTES_BYTES = 16_384
_DEEPEST_ATTRIBUTES = 20
_UNKEEPABLE = re.compile(r"[\x00\ud800-\udfff]")
_INTERNAL = re.compile(r"\.local\Z", re.IGNORECASE)


class ChannelChoices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Opt in or out, by channel."""

    email: bool = True
    push: bool = True


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person as they are shown. `push_token` is null while there is none that works."""

    user_id: UUID
    name: str
    email: str | None
    push_token: str | None
    preferences: ChannelChoices
    status: Status
    locale: str | None
    timezone: str | None
    attributes: dict[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime


class Preferences(msgspec.Struct, frozen=True, kw_only=True):
    """What a user agreed to. `version` rises with every change of the user; `quiet_hours` are not taken yet."""

    email: bool
    push: bool
    categories: dict[str, bool]
    quiet_hours: None = None
    version: int


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """All that a look-up of contact or preferences needs, read in one query."""

    user_id: UUID
    name: str
    email: str | None
    locale: str | None
    status: Status
    version: int
    choices: Choices
    suppressed: bool
    devices: list[Device]


@dataclass(frozen=True, slots=True)
class Address:
    """An e-mail address as it is shown and written to, and the key under which it is unique."""

    shown: str
    key: str


@dataclass(frozen=True, slots=True)
class NewPerson:
    """What registration or a contact brings; without a password hash nobody can log in."""

    name: str
    address: Address
    password_hash: str | None
    choices: ChannelChoices
    push_token: str | None
    attributes: dict[str, Any]
    locale: str | None


@dataclass(frozen=True, slots=True)
class Search:
    """Filters of a list, all of them literal text; `email` is compared by key."""

    status: Status | None = None
    email: str | None = None
    name: str | None = None


def address(text: str) -> Address:
    """Raises Invalid for what is no address. Syntax only: no DNS on the way of a request."""
    try:
        # `.local` names are real inside a network of one's own; the library knows them as special.
        checked = validate_email(
            _INTERNAL.sub(".example", text), check_deliverability=False, test_environment=True, strict=True
        )
    except EmailNotValidError as error:
        raise invalid("email", str(error)) from None
    shown = checked.normalized
    if _INTERNAL.search(text):
        shown = shown.removesuffix(".example") + ".local"
    return Address(shown, email_key(shown))


def email_key(text: str) -> str:
    """The same for every spelling of an address; never fails, so that a look-up of nonsense just finds nobody."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text.strip()).casefold())


def preferences_of(person: Person) -> Preferences:
    choices = person.choices
    return Preferences(
        email=choices.email, push=choices.push, categories=dict(choices.categories), version=person.version
    )


def contact_of(person: Person, channel: Channel, category: str | None) -> Contact:
    """The addresses of one channel, and the decision."""
    return Contact(
        user_id=person.user_id,
        name=person.name,
        email=person.email if channel == "email" else None,
        locale=person.locale,
        devices=person.devices if channel == "push" else [],
        decision=decide(person.choices, channel=channel, category=category, reach=_reach(person, channel)),
        version=person.version,
    )


def _reach(person: Person, channel: Channel) -> Reach:
    if channel == "email" and person.suppressed:
        return "suppressed"
    reached = person.email if channel == "email" else person.devices
    return "reachable" if reached and person.status == "active" else "unreachable"


@dataclass(frozen=True, slots=True)
class Account:
    """What a sign-in needs of a user."""

    user_id: UUID
    status: Status
    password_hash: str | None
    token_version: int
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says of its bearer. `version` is the user's token version when it was issued."""

    user_id: UUID
    session_id: UUID
    version: int
    permissions: frozenset[str]
    expires_at: float


@dataclass(frozen=True, slots=True)
class SessionState:
    """A login that has not ended, and the user's present token version: a token of another version is void."""

    user_id: UUID
    token_version: int


@dataclass(frozen=True, slots=True)
class OpaqueToken:
    """A token row that is neither revoked nor expired, with what its owner may do at this moment."""

    secret_hash: bytes
    owner_id: UUID
    kind: CallerKind
    abilities: Sequence[str]
    permissions: Sequence[str]
    expires_at: float


@dataclass(frozen=True, slots=True)
class OpaqueParts:
    token_id: UUID
    secret: str


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    event_id: UUID
    topic: str
    body: dict[str, Any]


_OPAQUE = re.compile(r"crl_([0-9a-f]{32})_([A-Za-z0-9_\-]{43})([0-9a-f]{8})")


def opaque_text(parts: OpaqueParts) -> str:
    """`crl_<id>_<secret><crc32>`: the checksum lets nonsense be refused without asking the database."""
    body = f"crl_{parts.token_id.hex}_{parts.secret}"
    return f"{body}{zlib.crc32(body.encode()):08x}"


def opaque_parts(text: str) -> OpaqueParts | None:
    """None for what was never one of our tokens."""
    found = _OPAQUE.fullmatch(text)
    if found is None or zlib.crc32(text[:-8].encode()) != int(found[3], 16):
        return None
    return OpaqueParts(UUID(hex=found[1]), found[2])


def granted(abilities: Iterable[str], permissions: Iterable[str]) -> frozenset[str]:
    """What a token may do: its abilities, as far as its owner holds them; wildcards count on both sides."""
    asked, held = frozenset(abilities), frozenset(permissions)
    return frozenset(name for name in asked if _covered(name, held)) | frozenset(
        name for name in held if _covered(name, asked)
    )


def _covered(name: str, by: frozenset[str]) -> bool:
    return name in by or any(wide.endswith("*") and fnmatchcase(name, wide) for wide in by)


def checked_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    """Raises Invalid for what PostgreSQL or a reader of the record could not take."""
    if fault := _fault(attributes, _DEEPEST_ATTRIBUTES):
        raise invalid("attributes", fault)
    if len(msgspec.json.encode(attributes)) > _MOST_ATTRIBUTES_BYTES:
        raise invalid("attributes", f"At most {_MOST_ATTRIBUTES_BYTES} bytes are kept.")
    return attributes


def _fault(value: Any, depth: int) -> str | None:
    if isinstance(value, str):
        return "Text must not hold the character NUL or half a surrogate pair." if _UNKEEPABLE.search(value) else None
    if not isinstance(value, dict | list):
        return None
    if depth == 0:
        return f"At most {_DEEPEST_ATTRIBUTES} levels are kept."
    parts = (part for pair in value.items() for part in pair) if isinstance(value, dict) else value
    return next((fault for part in parts if (fault := _fault(part, depth - 1))), None)
