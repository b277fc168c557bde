"""Filling in text templates: compiled once, strict about missing variables, bounded in work and in output."""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import minijinja
import msgspec

from carillon.kit.template_language import BrokenTemplate, survey

__all__ = ["BrokenTemplate", "Compiled", "MissingVariable", "RenderFailed", "is_http_url", "single_line", "size_of"]

MOST_OUTPUT: Final = 1 << 20
MOST_FUEL: Final = 100_000
_FUEL_A_TAG = 20
_FUEL_A_ROUND = 4  # the engine's cheapest round of a loop, measured
_BYTES_WORKED = 4_000_000_000  # fuel times bytes of variables: what the costliest filter does in a few seconds
_UNDEFINED = re.compile(r"`(?P<name>[^`]+)` is undefined")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff]")
_BREAKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]+")
_LONGEST_URL = 2_048
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.\-]*(?::[1-9][0-9]{0,3})?(?:[/?#][!-~]*)?")
_NAMES = frozenset({"range", "loop"})


class MissingVariable(Exception):
    """The template needs a variable that was not given; `name` may be a path such as `order.total`."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The variable {name} is missing.")
        self.name = name


class RenderFailed(Exception):
    """These variables cannot be rendered. `line` of the template, where one is to blame."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason if line is None else f"line {line}: {reason}")
        self.reason = reason
        self.line = line


class _TooMuch(Exception):
    """The output cap is reached."""


_TOO_LONG = f"the output exceeds {MOST_OUTPUT} characters"


def size_of(variables: Mapping[str, Any]) -> int:
    """Bytes that the variables take as JSON. Raises RenderFailed when they are no plain data."""
    try:
        return len(msgspec.json.encode(variables))
    except (TypeError, ValueError, RecursionError) as error:
        raise RenderFailed(f"the variables are no plain JSON data: {error}") from None


def single_line(text: str) -> str:
    """Every run of white space, line breaks and control characters becomes one space: a header cannot be continued."""
    return _BREAKS.sub(" ", text).strip()


def is_http_url(text: str) -> bool:
    """An absolute http or https address with a host, without white space or control characters."""
    if len(text) > _LONGEST_URL:
        return False
    if _PLAIN_URL.fullmatch(text):  # most are, and splitting them costs ten times as much
        return True
    if _BREAKS.search(text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


class Compiled:
    """One template, compiled once, rendered often. `html` escapes every value unless the template marks it safe.

    Raises BrokenTemplate. Rendering is synchronous and must not be shared between threads.
    """

    def __init__(self, source: str, *, html: bool = False) -> None:
        found = survey(source)
        self._base = _FUEL_A_TAG * (found.tags + 1)
        looped = 2 * _FUEL_A_ROUND * MOST_OUTPUT // found.looped if found.looped else MOST_FUEL
        self._fuel = min(MOST_FUEL, looped)
        self._html = html
        self._left = 0
        self._engine = self._build()
        try:
            self._engine.add_template("template", found.source)
        except minijinja.TemplateError as error:
            raise BrokenTemplate(error.detail or error.kind, error.line or 1) from None

    def names(self) -> frozenset[str]:
        """Top-level variables that the template speaks of, those with a default included."""
        return frozenset(self._engine.undeclared_variables_in_template("template")) - _NAMES

    def render(self, variables: Mapping[str, Any], *, size: int | None = None) -> str:
        """`size` as `size_of` told, where it is known. Raises MissingVariable, RenderFailed."""
        bytes_given = size_of(variables) if size is None else size
        self._left = MOST_OUTPUT
        self._engine.fuel = self._base + min(self._fuel, _BYTES_WORKED // max(bytes_given, 1))
        try:
            text = self._engine.render_template("template", **variables)
        except minijinja.TemplateError as error:
            raise _told(error) from None
        except _TooMuch:
            raise RenderFailed(_TOO_LONG) from None
        if len(text) > MOST_OUTPUT:
            raise RenderFailed(_TOO_LONG)
        text = text.replace("&#x2f;", "/") if self._html else text
        return _CONTROLS.sub("", text)

    def _build(self) -> minijinja.Environment:
        return minijinja.Environment(
            undefined_behavior="strict",
            auto_escape_callback=lambda _name: self._html,
            finalizer=self._count,
            keep_trailing_newline=True,
            pycompat=False,
        )

    def _count(self, value: Any) -> Any:
        """Every value on its way into the output; what is null shows as nothing."""
        if isinstance(value, str):
            self._left -= len(value)
        elif value is None:
            return ""
        elif not isinstance(value, int | float):
            self._left -= size_of({"": value})
        if self._left < 0:
            raise _TooMuch
        return value


def _told(error: minijinja.TemplateError) -> MissingVariable | RenderFailed:
    detail = error.detail or ""
    if named := _UNDEFINED.search(detail):
        return MissingVariable(named["name"])
    if error.kind == "OutOfFuel":
        return RenderFailed("the template does too much work for these variables", error.line)
    return RenderFailed(detail or error.kind, error.line)
