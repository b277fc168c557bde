"""Addresses of mail: parsed once, refused early, safe to put on a line of SMTP."""

import re
from dataclasses import dataclass
from email.utils import parseaddr

import idna

from carillon.kit.redaction import without, without_addresses
from carillon.kit.settings import SettingsError

_LOCAL = re.compile(r"[^\s\x00-\x20\x7f<>()\[\]:;,@\\\"]+")
_LONGEST_LOCAL, _LONGEST_ADDRESS = 64, 254


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox on the wire: the domain is ASCII; `local` may need SMTPUTF8."""

    local: str
    domain: str

    @property
    def smtputf8(self) -> bool:
        return not self.local.isascii()

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"


def address_of(text: str) -> Address | None:
    """None for what cannot be a mailbox: control characters, spaces, brackets, quotes, a domain that is none."""
    local, at, domain = text.rpartition("@")
    if not at or not _LOCAL.fullmatch(local) or not local.isprintable() or len(local.encode()) > _LONGEST_LOCAL:
        return None
    try:
        wire = idna.encode(domain, uts46=True, std3_rules=True).decode() if not domain.isascii() else domain.lower()
    except idna.IDNAError:
        return None
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", wire) or ".." in wire:
        return None
    found = Address(local, wire)
    return found if len(str(found).encode()) <= _LONGEST_ADDRESS else None


_CODES = re.compile(r"(?:[2-5]\d\d )?(?:[245]\.\d{1,3}\.\d{1,3} )?")


def redacted(words: str, recipient: Address) -> str:
    """A server's words without addresses, and without the recipient's name there; its codes stay."""
    head = _CODES.match(words)
    assert head is not None
    local = recipient.local
    return head[0] + without(without_addresses(words[head.end() :]), local, local.partition("+")[0])


@dataclass(frozen=True, slots=True)
class Sender:
    name: str
    address: Address


def sender_of(text: str) -> Sender:
    """`Carillon <carillon@example.com>` or the address alone. Raises SettingsError."""
    name, mailbox = parseaddr(text)
    address = address_of(mailbox)
    if address is None or address.smtputf8:
        raise SettingsError("CARILLON_MAIL_FROM: give it as Name <user@example.com>, with an ASCII address.")
    return Sender(name, address)
