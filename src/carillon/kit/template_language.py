"""The part of the template language that cannot be made to grow without bound, checked before anything is compiled.

The engine counts instructions, not bytes: thirty doublings of a string (`{% set s = s ~ s %}`) or one `'x' * 10**9`
would exhaust the memory of the process. So there is no way to bind a composed value, and of the filters that make their
input longer a tag may use one, with short constants.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MOST_TAGS: Final = 2_000
MOST_TOKENS: Final = 200
MOST_FILTERS: Final = 10
LONGEST_CONSTANT: Final = 20

FILTERS: Final = frozenset(
    {
        *("abs", "bool", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "filesizeformat", "first"),
        *("float", "int", "items", "join", "last", "length", "list", "lower", "max", "min", "pluralize", "replace"),
        *("reverse", "round", "safe", "sort", "string", "sum", "title", "trim", "truncate", "unique", "upper"),
        "urlencode",
    }
)
STATEMENTS: Final = frozenset({"if", "elif", "else", "endif", "for", "endfor"})
_LENIENT = frozenset({"default", "d"})
_KEYWORDS = frozenset({"if", "elif", "else", "for", "in", "and", "or", "not", "is"})
_CONSTANTS = frozenset({"true", "false", "none", "True", "False", "None"})
_REFUSED = {"*": "multiplication", "**": "powers", "{": "dictionaries", "}": "dictionaries"}

_OPENING = re.compile(r"\{[{%#]")
_TOKEN = re.compile(
    r"""\s*(?:(?P<end>[-+]?(?:%\}|\}\}))
        |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
        |(?P<number>\d[\d_]*(?:\.\d+)?)
        |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
        |(?P<mark>\*\*|//|==|!=|<=|>=|[-+*/%~|<>()\[\]{}.,:=]))""",
    re.VERBOSE | re.DOTALL,
)


class BrokenTemplate(Exception):
    """The source is no template, or uses what is not available. `line` counts from 1."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(f"line {line}: {reason}")
        self.reason = reason
        self.line = line


@dataclass(frozen=True, slots=True)
class Survey:
    """The source to compile, the number of its tags, and how many characters of text stand inside loops."""

    source: str
    tags: int
    looped: int


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


def survey(source: str) -> Survey:
    """Walk through every tag. Raises BrokenTemplate for what the language lacks; the engine judges the rest.

    Some filters take an undefined value for an empty one: their operands are spelled so that the engine names them.
    """
    at, tags, looped, loops = 0, 0, 0, 0
    strict: list[str] = []
    while opening := _OPENING.search(source, at):
        looped += (opening.start() - at) if loops else 0
        line = source.count("\n", 0, opening.start()) + 1
        strict.append(source[at : opening.start()])
        if opening[0] == "{#":
            at = _after_comment(source, opening.end(), line)
            strict.append(source[opening.start() : at])
            continue
        tokens, at = _tag(source, opening, line)
        if (tags := tags + 1) > MOST_TAGS:
            raise BrokenTemplate(f"a template has at most {MOST_TAGS} tags", line)
        _examine(tokens, line)
        loops += _statement(tokens, line) if opening[0] == "{%" else 0
        strict.append(_strict(source, opening.start(), at, tokens))
    return Survey("".join([*strict, source[at:]]), tags, looped)


def _after_comment(source: str, at: int, line: int) -> int:
    end = source.find("#}", at)
    if end < 0:
        raise BrokenTemplate("the comment is not closed by #}", line)
    return end + 2


def _tag(source: str, opening: re.Match[str], line: int) -> tuple[list[_Token], int]:
    """The tokens of one tag and the position behind it."""
    closing = "}}" if opening[0] == "{{" else "%}"
    at = opening.end() + (source[opening.end() : opening.end() + 1] in {"-", "+"})
    tokens: list[_Token] = []
    while match := _TOKEN.match(source, at):
        at = match.end()
        kind = match.lastgroup or ""
        if kind == "end" and match["end"].endswith(closing):
            return tokens, at
        tokens.append(_Token(kind, match[kind], match.start(kind), at))
        if len(tokens) > MOST_TOKENS:
            raise BrokenTemplate(f"a tag has at most {MOST_TOKENS} words", line)
    if not source[at:].strip():
        raise BrokenTemplate(f"the tag is not closed by {closing}", line)
    raise BrokenTemplate(f"{source[at:].strip()[:1]!r} has no meaning in a tag", line)


def _statement(tokens: list[_Token], line: int) -> int:
    """How a statement changes the depth of loops."""
    word = tokens[0].text if tokens else ""
    if word not in STATEMENTS:
        raise BrokenTemplate(f"`{word}` is not available: there are if, elif, else and for", line)
    if word == "for" and tokens[-1].text == "recursive":
        raise BrokenTemplate("recursive loops are not available", line)
    return {"for": 1, "endfor": -1}.get(word, 0)


def _examine(tokens: list[_Token], line: int) -> None:
    filters, growing = 0, 0
    for i, token in enumerate(tokens):
        before = tokens[i - 1] if i else None
        if token.kind == "end":
            raise BrokenTemplate(f"{token.text} stands where the tag goes on", line)
        if token.kind == "mark" and token.text in _REFUSED:
            raise BrokenTemplate(f"`{token.text}` is not available: templates have no {_REFUSED[token.text]}", line)
        if _is_mark(token, "[") and _begins_value(before):
            _constants_only(tokens[i + 1 :], line)
        if token.kind == "name" and _is_mark(before, "|"):
            filters += 1
            growing += _filter(token.text, tokens[i + 1 :], line)
        elif token.kind == "name" and not _may_stand(token, before, tokens[i + 1 : i + 2]):
            raise BrokenTemplate(f"`{token.text}()` is not available", line)
    if filters > MOST_FILTERS or growing > 1:
        most = f"{MOST_FILTERS} filters" if filters > MOST_FILTERS else "one join or lengthening replace"
        raise BrokenTemplate(f"a tag has at most {most}", line)


def _filter(name: str, rest: Sequence[_Token], line: int) -> bool:
    """Whether this filter can make its input much longer."""
    if name not in FILTERS:
        raise BrokenTemplate(f"the filter `{name}` is not available", line)
    if name not in {"join", "replace"} or not rest or not _is_mark(rest[0], "("):
        return False
    shape = ["(", "string", ")"] if name == "join" else ["(", "string", ",", "string", ")"]
    given = rest[: len(shape)]
    spelled = [token.text if token.kind == "mark" else token.kind for token in given]
    constants = [token.text for token in given if token.kind == "string"]
    if spelled != shape or any(len(text) > LONGEST_CONSTANT + 2 for text in constants):
        raise BrokenTemplate(f"{name} takes constants of at most {LONGEST_CONSTANT} characters", line)
    return name == "join" or "\\" in constants[0] or len(constants[1]) > len(constants[0])


def _is_mark(token: _Token | None, text: str) -> bool:
    return token is not None and token.kind == "mark" and token.text == text


def _begins_value(before: _Token | None) -> bool:
    """Whether a `[` here begins a list; behind a value it reads an element."""
    if before is None or (before.kind == "name" and before.text in _KEYWORDS):
        return True
    return before.kind == "mark" and before.text not in {")", "]"}


def _constants_only(rest: Sequence[_Token], line: int) -> None:
    for token in rest:
        if _is_mark(token, "]"):
            return
        constant = token.kind in {"number", "string"} or (token.kind == "name" and token.text in _CONSTANTS)
        if not constant and token.text not in {",", "-"}:
            raise BrokenTemplate("a list in a template holds constants only", line)


def _may_stand(token: _Token, before: _Token | None, after: Sequence[_Token]) -> bool:
    """What may be called: `range(…)`, `loop.cycle(…)`, and tests such as `is divisibleby(…)`."""
    if not after or not _is_mark(after[0], "("):
        return True
    if _is_mark(before, "."):
        return token.text == "cycle"
    tested = before is not None and before.kind == "name" and before.text in {"is", "not"}
    return tested or token.text == "range" or token.text in _KEYWORDS


def _strict(source: str, start: int, end: int, tokens: Sequence[_Token]) -> str:
    """The tag with `path|filter` as `(path if path else path)|filter`: an `if` refuses what is undefined, by name."""
    pieces, at = [], start
    for i, token in enumerate(tokens[:-1]):
        if not _is_mark(token, "|") or tokens[i + 1].text in _LENIENT:
            continue
        first = _path_before(tokens, i)
        if first is not None:
            path = source[tokens[first].start : tokens[i - 1].end]
            pieces += [source[at : tokens[first].start], f"({path} if {path} else {path})"]
            at = tokens[i - 1].end
    return "".join([*pieces, source[at:end]])


def _path_before(tokens: Sequence[_Token], pipe: int) -> int | None:
    """Where the path that ends before the pipe begins: names, dots and constant subscripts; None when it is no path."""
    i = pipe - 1
    while i >= 0:
        if _is_mark(tokens[i], "]"):
            if i < 3 or tokens[i - 1].kind not in {"number", "string"} or not _is_mark(tokens[i - 2], "["):  # noqa: PLR2004
                return None
            i -= 3
        elif tokens[i].kind != "name" or tokens[i].text in _KEYWORDS | _CONSTANTS:
            return None
        elif i and _is_mark(tokens[i - 1], "."):
            i -= 2
        else:
            before = tokens[i - 1] if i else None
            filtered = _is_mark(before, "|") or (before is not None and before.text == "is")
            return None if filtered else i
    return None
