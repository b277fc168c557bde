"""Languages and their fallbacks; what a version must say on its channel."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.contracts.templates import LANGUAGE, Content
from carillon.templates.domain import canonical, fallbacks, problems_of


@pytest.mark.parametrize(
    ("language", "default", "expected"),
    [
        ("pt-BR", "en", ["pt-BR", "pt", "en"]),
        ("PT_BR".replace("_", "-").lower(), "en", ["pt-BR", "pt", "en"]),
        ("en-GB", "en", ["en-GB", "en"]),
        (None, "de-AT", ["de-AT", "de"]),
        ("zh-hant-tw", "pt-BR", ["zh-Hant-TW", "zh-Hant", "zh", "pt-BR", "pt"]),
        ("sr-Latn-419", "en", ["sr-Latn-419", "sr-Latn", "sr", "en"]),
    ],
)
def test_a_language_falls_back_step_by_step_to_the_default(
    language: str | None, default: str, expected: list[str]
) -> None:
    assert fallbacks(language, default) == expected


@given(st.from_regex(LANGUAGE), st.from_regex(LANGUAGE))
def test_fallbacks_are_valid_distinct_and_end_at_the_default(language: str, default: str) -> None:
    found = fallbacks(language, default)

    assert found[0] == canonical(language)
    assert canonical(default) in found
    assert len(set(found)) == len(found)
    assert all(re.search(LANGUAGE, each) and canonical(each) == each for each in found)


@pytest.mark.parametrize(
    ("channel", "content", "fields"),
    [
        ("email", {"subject": "s", "body_text": "b"}, []),
        ("email", {"subject": "s", "body_html": "b"}, []),
        ("email", {"subject": "s"}, ["body_text"]),
        ("email", {"body_text": "b"}, ["subject"]),
        ("email", {"subject": "s", "body_text": "b", "title": "t", "link": "l"}, ["link", "title"]),
        ("push", {"title": "t", "body": "b", "image": "i", "link": "l"}, []),
        ("push", {"title": "t"}, ["body"]),
        ("push", {}, ["title", "body"]),
        ("push", {"title": "t", "body": "b", "subject": "s"}, ["subject"]),
        ("email", {"subject": "{{", "body_html": "{% nope %}"}, ["subject", "body_html"]),
    ],
)
def test_content_must_fit_its_channel(channel: str, content: dict[str, str], fields: list[str]) -> None:
    found = problems_of(channel, msgspec.convert(content, Content))  # type: ignore[arg-type]

    assert [problem.field for problem in found] == fields
