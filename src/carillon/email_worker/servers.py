"""SMTP servers as a setting names them: parsed once, refused early, a password never repeated."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from carillon.delivery.ports import Terms
from carillon.kit.settings import SettingsError

Tls = Literal["starttls", "implicit", "none"]
_PORTS: dict[Tls, int] = {"starttls": 587, "implicit": 465, "none": 25}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_WHOLE = re.compile(r"[0-9]{1,4}")
_DECIMAL = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
_MOST = 1000
_OPTIONS = frozenset({"tls", "name", "weight", "rate", "connections"})


@dataclass(frozen=True, slots=True)
class Server:
    """One SMTP server, how to talk to it, and how much it may be given."""

    host: str
    port: int
    tls: Tls
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    terms: Terms = field(default_factory=Terms)
    label: str = ""

    @property
    def name(self) -> str:
        """What it is called in timelines, metrics and health."""
        return self.label or f"smtp:{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Server({self.host}:{self.port}, tls={self.tls})"


def servers_of(text: str) -> list[Server]:
    """Every server of a comma-separated list. Raises SettingsError; the sentence quotes nothing of a URL."""
    servers = [_server_of(url.strip()) for url in text.split(",") if url.strip()]
    if not servers:
        raise _wrong("name a server, for example smtp://mail.example.com:587?tls=starttls")
    if max(Counter(server.name for server in servers).values()) > 1:
        raise _wrong("two servers are called the same; give each a name of its own, for example &name=second")
    return servers


def _server_of(url: str) -> Server:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _wrong("the port is no number from 1 to 65535") from None
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise _wrong("it begins with smtp:// or smtps:// and names a host")
    if port == 0:
        raise _wrong("no server listens on port 0")
    if (parts.username is None) != (parts.password is None):
        raise _wrong("give both a user and a password, or neither")
    options = _options(parts.query)
    tls = _tls(options.get("tls", "implicit" if parts.scheme == "smtps" else "starttls"))
    username = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    label = options.get("name", "")
    if "name" in options and not _NAME.fullmatch(label):
        raise _wrong("a name has up to 64 letters, digits and . _ : -")
    return Server(parts.hostname, port or _PORTS[tls], tls, username, password, _terms(options), label)


def _options(query: str) -> Mapping[str, str]:
    given = parse_qsl(query, keep_blank_values=True)
    options = dict(given)
    if len(options) < len(given) or not _OPTIONS.issuperset(options):
        raise _wrong(f"a server's options are {', '.join(sorted(_OPTIONS))}, each once")
    return options


def _tls(text: str) -> Tls:
    for known in _PORTS:
        if text == known:
            return known
    raise _wrong("tls is starttls, implicit or none")


def _terms(options: Mapping[str, str]) -> Terms:
    rate = options.get("rate")
    if rate is not None and (not _DECIMAL.fullmatch(rate) or float(rate) == 0):
        raise _wrong("rate is a number of mails a second above 0, for example 14 or 0.5")
    return Terms(
        weight=_number(options, "weight", lowest=0) if "weight" in options else 1,
        rate=float(rate) if rate is not None else 0.0,
        connections=_number(options, "connections", lowest=1) if "connections" in options else 0,
    )


def _number(options: Mapping[str, str], name: str, *, lowest: int) -> int:
    text = options[name]
    if not _WHOLE.fullmatch(text) or not lowest <= int(text) <= _MOST:
        raise _wrong(f"{name} is a whole number from {lowest} to {_MOST}")
    return int(text)


def _wrong(sentence: str) -> SettingsError:
    return SettingsError(f"CARILLON_SMTP_URL: {sentence}.")
