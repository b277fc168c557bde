"""The part of the template language that cannot be made to grow without bound, checked before anything is compiled.

The engine counts instructions, not bytes: thirty doublings of a string (`{% set s = s ~ s %}`) or one `'x' * 10**9` would
exhaust the memory of the process. So there is no way to bind a composed value, and of the filters that make their input
longer a tag may use one, with short constants.
"""

import re
from dataclasses import dataclass
from typing import Final

MOST_TAGS: Final = 2_000
MOST_TOKENS: Final = 200
MOST_FILTERS: Final = 10
LONGEST_CONSTANT: Final = 20

FILTERS: Final = frozenset(
    "abs bool capitalize count d default dictsort e escape filesizeformat first float int items join last length list "
    "lower max min pluralize replace reverse round safe sort string sum title trim truncate unique upper urlencode".split()
)
_GROWING = frozenset({"join", "replace"})
STATEMENTS: Final = frozenset({"if", "elif", "else", "endif", "for", "endfor"})
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
    """What bounds a rendering: the number of tags, and how many characters of text stand inside loops."""

    tags: int
    looped: int


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def survey(source: str) -> Survey:
    """Walk through every tag. Raises BrokenTemplate for what the language lacks; the engine judges the rest."""
    at, tags, looped, loops = 0, 0, 0, 0
    while opening := _OPENING.search(source, at):
        looped += (opening.start() - at) if loops else 0
        line = source.count("\n", 0, opening.start()) + 1
        if opening[0] == "{#":
            at = _after_comment(source, opening.end(), line)
            continue
        tokens, at = _tag(source, opening, line)
        tags += 1
        if tags > MOST_TAGS:
            raise BrokenTemplate(f"a template has at most {MOST_TAGS} tags", line)
        _examine(tokens, line)
        if opening[0] == "{%":
            loops += _statement(tokens, line)
    return Survey(tags, looped)


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
        tokens.append(_Token(kind, match[kind]))
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
        after = tokens[i + 1].text if i + 1 < len(tokens) else ""
        if token.kind == "end":
            raise BrokenTemplate(f"{token.text} stands where the tag goes on", line)
        if token.kind == "mark" and token.text in _REFUSED:
            raise BrokenTemplate(f"`{token.text}` is not available: templates have no {_REFUSED[token.text]}", line)
        if token.text == "[" and token.kind == "mark" and _begins_value(before):
            _constants_only(tokens, i, line)
        if token.kind == "name" and _is_mark(before, "|"):
            filters += 1
            if token.text not in FILTERS:
                raise BrokenTemplate(f"the filter `{token.text}` is not available", line)
            growing += token.text in _GROWING and _grows(token.text, tokens[i + 1 :], line)
        elif token.kind == "name" and after == "(" and not _may_be_called(token, before):
            raise BrokenTemplate(f"`{token.text}()` is not available", line)
    if filters > MOST_FILTERS:
        raise BrokenTemplate(f"a tag has at most {MOST_FILTERS} filters", line)
    if growing > 1:
        raise BrokenTemplate("a tag has at most one join or lengthening replace", line)


def _grows(name: str, rest: list[_Token], line: int) -> bool:
    """Whether this `join` or `replace` can make its input longer; what it puts in is a short constant."""
    if not _is_mark(rest[0] if rest else None, "("):
        return False
    given = [token for token in rest[1:4] if token.text != ","][: 1 if name == "join" else 2]
    if any(token.kind != "string" or len(token.text) > LONGEST_CONSTANT + 2 for token in given):
        raise BrokenTemplate(f"{name} takes constants of at most {LONGEST_CONSTANT} characters", line)
    if name == "join":
        return True
    return len(given) < 2 or "\\" in given[0].text or len(given[1].text) > len(given[0].text)  # noqa: PLR2004


def _is_mark(token: _Token | None, text: str) -> bool:
    return token is not None and token.kind == "mark" and token.text == text


def _begins_value(before: _Token | None) -> bool:
    """Whether a `[` here begins a list; behind a value it reads an element."""
    if before is None or (before.kind == "name" and before.text in _KEYWORDS):
        return True
    return before.kind == "mark" and before.text not in {")", "]"}


def _constants_only(tokens: list[_Token], start: int, line: int) -> None:
    for token in tokens[start + 1 :]:
        if _is_mark(token, "]"):
            return
        constant = token.kind in {"number", "string"} or (token.kind == "name" and token.text in _CONSTANTS)
        if not constant and token.text not in {",", "-"}:
            raise BrokenTemplate("a list in a template holds constants only", line)


def _may_be_called(token: _Token, before: _Token | None) -> bool:
    """`range(…)`, `loop.cycle(…)`, tests such as `is divisibleby(…)`, and words that stand before a parenthesis."""
    if token.text in _KEYWORDS or token.text == "range":
        return not _is_mark(before, ".")
    if _is_mark(before, "."):
        return token.text == "cycle"
    return before is not None and before.kind == "name" and before.text in {"is", "not"}
