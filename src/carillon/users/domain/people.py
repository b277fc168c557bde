"""Who somebody is: name, address, free attributes."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Any

import idna
import msgspec
from email_validator import EmailNotValidError, validate_email

from carillon.contracts.people import ChannelChoices, Status
from carillon.kit.errors import invalid

# Control characters (CR and LF among them), the marks that turn the direction of text, and what has neither width nor
# meaning in a name: two names that look alike are to be alike. The joiners U+200C and U+200D are letters' business in
# Persian and the scripts of India, so they may stand within a name; they do not make one.
_UNSEEN = r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
_JOINERS = r"\u200c\u200d"
ONE_LINE = rf"\A *[^\s{_UNSEEN}{_JOINERS}][^{_UNSEEN}]*\Z"
_MOST_ATTRIBUTES_BYTES = 16_384
_DEEPEST_ATTRIBUTES = 20
_UNKEEPABLE = re.compile(r"[\x00\ud800-\udfff]")
_INTERNAL = re.compile(r"\.local\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Address:
    """An e-mail address as it is shown and written to, and the key under which it is unique.

    The domain in its ASCII form (`xn--…`): letters of two scripts that look alike are seen to be two domains.
    """

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
    timezone: str | None = None
    verified: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """Filters of a list, all of them literal text; `email` is compared by key."""

    status: Status | None = None
    email: str | None = None
    name: str | None = None
    role: str | None = None


def address(text: str) -> Address:
    """Raises Invalid for what is no address. Syntax only: no DNS on the way of a request."""
    try:
        # `.local` names are real inside a network of one's own; the library knows them as special.
        checked = validate_email(
            _INTERNAL.sub(".example", text), check_deliverability=False, test_environment=True, strict=True
        )
    except EmailNotValidError as error:
        raise invalid("email", str(error)) from None
    shown = f"{checked.local_part}@{checked.ascii_domain}"
    if _INTERNAL.search(text):
        shown = shown.removesuffix(".example") + ".local"
    return Address(shown, email_key(shown))


def email_key(text: str) -> str:
    """The same for every spelling of an address; never fails, so that a look-up of nonsense just finds nobody."""
    local, at, domain = text.strip().rpartition("@")
    return f"{_folded(local)}@{_ascii(domain)}" if at else _folded(domain)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _ascii(domain: str) -> str:
    """As DNS knows it. Without folding, which would make one of `straße` and `strasse`."""
    lower = unicodedata.normalize("NFC", unicodedata.normalize("NFC", domain).lower())
    if lower.isascii():
        return lower
    try:
        return idna.encode(lower, uts46=True).decode()
    except UnicodeError:
        return lower


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
