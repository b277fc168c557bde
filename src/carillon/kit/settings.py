"""Frozen settings read from `CARILLON_*`: a service's own variable first, then the one all services share."""

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints
from urllib.parse import parse_qs, urlsplit

import msgspec

S = TypeVar("S", bound="Settings")

_POSTGRESQL = ("postgresql", "postgres")
_HTTP = ("http", "https")
_SCHEMES = {
    "database_url": _POSTGRESQL,
    "broker_url": (*_POSTGRESQL, "amqp", "amqps"),
    "redis_url": ("redis", "rediss", "unix"),
    "users_url": _HTTP,
    "templates_url": _HTTP,
    "gateway_url": _HTTP,
    "public_url": _HTTP,
    "fcm_url": _HTTP,
    "otlp_endpoint": _HTTP,
}  # `smtp_url` is a list with options: its worker judges it
_TEN_YEARS = 10 * 366 * 86_400
_MOST_BYTES = 64 * 1024


class SettingsError(ValueError):
    """A variable holds what its setting cannot take; the sentence names the variable."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every service's settings. Fields are declared as `Annotated[type, Meta(description=…)] = default`."""


class Variable(msgspec.Struct, frozen=True):
    """One line of `carillon settings`."""

    name: str
    default: str
    description: str


def load(kind: type[S], service: str, environ: Mapping[str, str] | None = None, **given: Any) -> S:
    """Read each field from `CARILLON_<SERVICE>_<FIELD>`, else `CARILLON_<FIELD>`, else `given`, else its default.

    A variable's value may also be in the file that `<VARIABLE>_FILE` names, which is where secrets belong.
    Lists are comma-separated. Raises SettingsError naming the variable.
    """
    env = os.environ if environ is None else environ
    found: dict[str, Any] = dict(given)
    names: dict[str, str] = {}
    hints = get_type_hints(kind)
    for field in msgspec.structs.fields(kind):
        for name in (variable(service, field.name), variable("", field.name)):
            told, text = _told(name, env)
            if text:
                found[field.name], names[field.name] = _parse(text, hints[field.name]), told
                break
    try:
        settings = msgspec.convert(found, kind, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise SettingsError(_sentence(str(error), names, service)) from None
    for name in kind.__struct_fields__:
        wrong = _wrong(name, getattr(settings, name))
        if wrong:
            raise SettingsError(f"{names.get(name) or variable(service, name)}: {wrong}.")
    return settings


def _told(name: str, env: Mapping[str, str]) -> tuple[str, str]:
    """Which of a setting's two variables is set, and the value: of itself, or of the file that it names."""
    by_file = in_file(name)
    text, path = env.get(name, ""), env.get(by_file, "")
    if text and path:
        raise SettingsError(f"{name} and {by_file} are both set: keep one.")
    return (by_file, _content(by_file, Path(path))) if path else (name, text)


def _content(name: str, path: Path) -> str:
    """The one line of a file. What it holds may be a secret, and is quoted nowhere."""
    try:
        if path.exists() and not path.is_file():  # a pipe might keep the start waiting for ever
            raise SettingsError(f"{name}: {path} is no file.")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        text = content.decode().strip()
    except OSError as error:
        raise SettingsError(f"{name}: {path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{name}: {path} does not hold text in UTF-8.") from None
    if not text or len(content) > _MOST_BYTES or len(text.splitlines()) > 1:
        raise SettingsError(f"{name}: {path} has to hold one line, of at most {_MOST_BYTES} bytes.")
    return text


def in_file(name: str) -> str:
    """The variable that names the file which holds the value of the variable `name`."""
    return f"{name}_FILE"


def variable(service: str, field: str) -> str:
    """The name of a field's variable; an empty `service` is the one that all services share."""
    return "_".join(filter(None, ("CARILLON", service, field))).upper()


def variables(kind: type[Settings], service: str) -> Iterator[Variable]:
    """What `kind` reads, with defaults and descriptions, for people."""
    hints = get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        default = "(required)" if field.required else _shown(field)
        meta = next((m for m in get_args(hints[field.name])[1:] if isinstance(m, msgspec.Meta)), msgspec.Meta())
        yield Variable(variable(service, field.name), default, meta.description or "")


def _wrong(field: str, value: Any) -> str:
    """What no type tells. An address is never quoted: it may hold a password."""
    if field in _SCHEMES and isinstance(value, str):
        return _wrong_url(value, _SCHEMES[field])
    if field.endswith("_seconds") and isinstance(value, int | float):
        return "" if math.isfinite(value) and value <= _TEN_YEARS else "seconds are a number, ten years at most"
    return ""


def _wrong_url(text: str, schemes: tuple[str, ...]) -> str:
    scheme = text.partition("://")[0]
    if scheme not in schemes or "://" not in text:
        return f"it begins with {' or '.join(f'{known}://' for known in schemes)}"
    if scheme == "unix":
        return ""
    try:
        parts = urlsplit(text)
        hosts = parts.netloc.rpartition("@")[2].split(",") if scheme in _POSTGRESQL else [parts.netloc]
        named = [(each.hostname, each.port) for each in (urlsplit(f"//{host}") for host in hosts)]
    except ValueError:
        return (
            "after the host comes a port from 1 to 65535, or none; in a user or password, "
            "each of : / ? # [ ] @ % is written as its %-code"
        )
    if any(port == 0 for _, port in named):
        return "no server listens on port 0"
    elsewhere = scheme in _POSTGRESQL and "host" in parse_qs(parts.query)
    return "" if elsewhere or all(host for host, _ in named) else "it names no host"


def _path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(f"a setting cannot be a {kind.__name__}")


def _parse(text: str, hint: Any) -> Any:
    if "tuple" in str(hint):
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _shown(field: msgspec.structs.FieldInfo) -> str:
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return ",".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else str(value)


def _sentence(error: str, names: Mapping[str, str], service: str) -> str:
    field = error.rpartition("`$.")[2].split("`")[0].split("[")[0] if "`$." in error else ""
    if "missing required field" in error:
        field = error.split("`")[1]
        return f"Set CARILLON_{service}_{field}: it has no default.".replace(
            f"{service}_{field}", f"{service}_{field}".upper()
        )
    return f"{names.get(field, field.upper())}: {error.split(' - at', maxsplit=1)[0]}."
