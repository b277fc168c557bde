"""Frozen settings read from `CARILLON_*`: a service's own variable first, then the one all services share."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

S = TypeVar("S", bound="Settings")


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

    Lists are comma-separated. Raises SettingsError naming the variable.
    """
    env = os.environ if environ is None else environ
    found: dict[str, Any] = dict(given)
    names: dict[str, str] = {}
    hints = get_type_hints(kind)
    for field in msgspec.structs.fields(kind):
        for name in (variable(service, field.name), variable("", field.name)):
            if env.get(name, "") != "":
                found[field.name], names[field.name] = _parse(env[name], hints[field.name]), name
                break
    try:
        return msgspec.convert(found, kind, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise SettingsError(_sentence(str(error), names, service)) from None


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
