"""Languages and their fallbacks, and what a version must say on its channel: pure decisions."""

from collections.abc import Iterator

from carillon.contracts.channels import Channel
from carillon.contracts.rendering import BrokenTemplate, compile_content
from carillon.contracts.templates import Content, VersionToMake
from carillon.kit.errors import FieldProblem

_FIELDS: dict[Channel, frozenset[str]] = {
    "email": frozenset({"subject", "body_text", "body_html"}),
    "push": frozenset({"title", "body", "image", "link"}),
}
_SCRIPT, _REGION = 4, 2


def canonical(language: str) -> str:
    """`PT-br` is `pt-BR`, `zh-hant-tw` is `zh-Hant-TW`: one spelling for each."""
    first, *rest = language.split("-")
    return "-".join([first.lower(), *map(_subtag, rest)])


def _subtag(tag: str) -> str:
    if len(tag) == _SCRIPT and tag.isalpha():
        return tag.title()
    return tag.upper() if len(tag) == _REGION else tag.lower()


def fallbacks(language: str | None, default: str) -> list[str]:
    """The languages to try, best first: `pt-BR`, `pt`, then the default and what it falls back to."""
    wanted = [*_shortened(language or default), *_shortened(default)]
    return list(dict.fromkeys(wanted))


def _shortened(language: str) -> Iterator[str]:
    tags = canonical(language).split("-")
    for length in range(len(tags), 0, -1):
        yield "-".join(tags[:length])


def content_of(given: VersionToMake) -> Content:
    return Content(**{field: getattr(given, field) for field in Content.__struct_fields__})


def problems_of(channel: Channel, content: Content) -> list[FieldProblem]:
    """Everything that keeps this content from being sent on this channel; empty when it can be."""
    given = {field for field in content.__struct_fields__ if getattr(content, field) is not None}
    found = [FieldProblem(field, f"{channel} has no {field}") for field in sorted(given - _FIELDS[channel])]
    found += [FieldProblem(field, f"{channel} needs it") for field in _lacking(channel, given)]
    return found + list(_broken(content))


def _lacking(channel: Channel, given: set[str]) -> list[str]:
    if channel == "push":
        return [field for field in ("title", "body") if field not in given]
    bodies = [] if given & {"body_text", "body_html"} else ["body_text"]
    return ([] if "subject" in given else ["subject"]) + bodies


def _broken(content: Content) -> Iterator[FieldProblem]:
    for field in content.__struct_fields__:
        if (source := getattr(content, field)) is not None:
            try:
                compile_content(Content(**{field: source}))
            except BrokenTemplate as error:
                yield FieldProblem(field, f"line {error.line}: {error.reason}")
