"""Addresses of mail and of servers: parsed once, refused early, safe to put on a line of SMTP."""

import re
from dataclasses import dataclass
from email.utils import parseaddr
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import idna

from carillon.kit.redaction import without, without_addresses
from carillon.kit.settings import SettingsError

Tls = Literal["starttls", "implicit", "none"]
_PORTS: dict[str, int] = {"starttls": 587, "implicit": 465, "none": 25}
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


@dataclass(frozen=True, slots=True)
class Server:
    """One SMTP server and how to talk to it."""

    host: str
    port: int
    tls: Tls
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"Server({self.host}:{self.port}, tls={self.tls})"


def servers_of(text: str) -> list[Server]:
    """Every server of a comma-separated list. Raises SettingsError; the sentence never quotes a password."""
    servers = [_server_of(url.strip()) for url in text.split(",") if url.strip()]
    if not servers:
        raise SettingsError("CARILLON_SMTP_URL: name a server, for example smtp://mail.example.com:587?tls=starttls.")
    return servers


def _server_of(url: str) -> Server:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SettingsError("CARILLON_SMTP_URL: the port is no number from 1 to 65535.") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    tls = options.pop("tls", "implicit" if parts.scheme == "smtps" else "starttls")
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise SettingsError("CARILLON_SMTP_URL: it begins with smtp:// or smtps:// and names a host.")
    if tls not in _PORTS or options:
        raise SettingsError("CARILLON_SMTP_URL: the only option is tls=starttls, tls=implicit or tls=none.")
    if (parts.username is None) != (parts.password is None):
        raise SettingsError("CARILLON_SMTP_URL: give both a user and a password, or neither.")
    username = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    return Server(parts.hostname, port or _PORTS[tls], tls, username, password)  # type: ignore[arg-type]
