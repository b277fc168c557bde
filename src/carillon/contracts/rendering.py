"""What a published template becomes for one recipient: the same words at preview and at delivery."""

import re
from collections.abc import Mapping
from typing import Any, Final

from carillon.contracts.templates import Content, PublishedTemplate, Variable, VariableType
from carillon.kit.rendering import (
    BrokenTemplate,
    Compiled,
    MissingVariable,
    RenderFailed,
    is_http_url,
    single_line,
    size_of,
)

__all__ = [
    "BrokenTemplate",
    "CompiledTemplates",
    "MissingVariable",
    "RenderFailed",
    "compile_content",
    "is_http_url",
    "missing_variables",
    "render_content",
]

_HTML: Final = frozenset({"body_html"})
_SINGLE_LINE: Final = frozenset({"subject", "title", "image", "link"})
_ADDRESSES: Final = frozenset({"image", "link"})
_SUBSCRIPT: Final = re.compile(r"""\[['"]([^'"\].]*)['"]\]""")
_MOST_ROUNDS: Final = 100
_STAND_INS: Final = ("", "x", 1, ())

Parts = Mapping[str, Compiled]


class CompiledTemplates:
    """Compiled contents, the `capacity` most lately used, for one thread. Versions never change, so none ages."""

    def __init__(self, capacity: int = 500) -> None:
        self._capacity = capacity
        self._known: dict[Content, Parts] = {}

    def of(self, content: Content) -> Parts:
        """Its compiled parts by field. Raises RenderFailed where the source is broken."""
        parts = self._known.pop(content, None)
        if parts is None:
            try:
                parts = compile_content(content)
            except BrokenTemplate as error:
                raise RenderFailed(error.reason, error.line) from None
        if len(self._known) >= self._capacity:
            del self._known[next(iter(self._known))]
        self._known[content] = parts
        return parts


def compile_content(content: Content) -> dict[str, Compiled]:
    """Every part that is there. Raises BrokenTemplate, with a note naming the field."""
    parts = {}
    for field in content.__struct_fields__:
        source = getattr(content, field)
        if source is None:
            continue
        try:
            parts[field] = Compiled(source, html=field in _HTML)
        except BrokenTemplate as error:
            error.add_note(field)
            raise
    return parts


def render_content(published: PublishedTemplate, variables: Mapping[str, Any], *, cache: CompiledTemplates) -> Content:
    """The final parts. Subject and title are one line; image and link are http(s) addresses, or absent when empty.

    Raises MissingVariable (named) and RenderFailed: both are permanent for these variables.
    """
    _check(published.variables, variables)
    size = size_of(variables)
    parts = cache.of(published.content)
    return Content(
        **{field: _finished(field, compiled.render(variables, size=size)) for field, compiled in parts.items()}
    )


def missing_variables(
    published: PublishedTemplate, variables: Mapping[str, Any], *, cache: CompiledTemplates
) -> list[str]:
    """Every variable that these leave out: those declared as required, then those that rendering asks for, as paths.

    Raises RenderFailed where rendering fails although nothing is missing.
    """
    missing = [name for name, variable in published.variables.items() if _absent(name, variable, variables)]
    for compiled in cache.of(published.content).values():
        for stand_in in _STAND_INS:
            _gather(compiled, dict(variables), stand_in, missing)
    return missing


def _gather(compiled: Compiled, variables: dict[str, Any], stand_in: Any, missing: list[str]) -> None:
    """Render again and again with a stand-in for what was missing; the truthy ones reach other branches."""
    for path in missing:
        _supply(variables, path, stand_in)
    for _ in range(_MOST_ROUNDS):
        try:
            compiled.render(variables)
        except MissingVariable as error:
            name = _SUBSCRIPT.sub(r".\1", error.name)
            given = name.partition(".")[0].partition("[")[0] in compiled.names()
            if given or stand_in == "":
                _note(name, missing)
            if not given or not _supply(variables, name, stand_in):
                return
        except RenderFailed:
            if not missing:
                raise
            return
        else:
            return


def _note(name: str, missing: list[str]) -> None:
    """Add a path, in place of the one it goes on from; an element of what is missing adds nothing."""
    whole = name.partition("[")[0]
    if any(path == whole or path.startswith((f"{whole}.", f"{whole}[")) for path in missing):
        return
    parent = name.rpartition(".")[0]
    if parent in missing:
        missing[missing.index(parent)] = name
    else:
        missing.append(name)


def _supply(variables: dict[str, Any], path: str, stand_in: Any) -> bool:
    """Put a stand-in at a dotted path; False where it leads through an element of a list."""
    *way, last = path.split(".")
    if "[" in path:
        return False
    here = variables
    for name in way:
        inner = here.get(name)
        here[name] = inner = dict(inner) if isinstance(inner, dict) else {}
        here = inner
    here[last] = stand_in
    return True


def _absent(name: str, variable: Variable, variables: Mapping[str, Any]) -> bool:
    return variable.required and variables.get(name) is None


def _check(declared: Mapping[str, Variable], variables: Mapping[str, Any]) -> None:
    for name, variable in declared.items():
        if _absent(name, variable, variables):
            raise MissingVariable(name)
        if variables.get(name) is not None and not _is(variables[name], variable.type):
            raise RenderFailed(f"the variable {name} is not of type {variable.type}")


def _is(value: Any, kind: VariableType) -> bool:
    if kind == "string":
        return isinstance(value, str | int | float)
    if kind == "number":
        return not isinstance(value, bool) and (isinstance(value, int | float) or _spells_number(value))
    if kind == "boolean":
        return isinstance(value, bool) or (isinstance(value, str) and value.lower() in {"true", "false"})
    return isinstance(value, dict if kind == "object" else list | tuple)


def _spells_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _finished(field: str, text: str) -> str | None:
    if field not in _SINGLE_LINE:
        return text
    line = single_line(text)
    if field not in _ADDRESSES:
        return line
    if line and not is_http_url(line):
        raise RenderFailed(f"{field} is no http or https address")
    return line or None
