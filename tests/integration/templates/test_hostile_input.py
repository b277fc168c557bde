"""Whatever is sent, the answer is a clear refusal in the envelope, never a 500."""

import asyncio
from typing import Any

import pytest

from tests.integration.templates.conftest import WELCOME, Author
from tests.support.fuzzing import Case, fuzz


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"subject": None}, "subject"),
        ({"body_text": None, "body_html": None}, "body_text"),
        ({"title": "x"}, "title"),
        ({"channel": "push"}, "body_html"),
        ({"channel": "fax"}, "channel"),
        ({"colour": "red"}, "colour"),
        ({"code": "Upper"}, "code"),
        ({"code": "../etc"}, "code"),
        ({"code": "a\n"}, "code"),
        ({"language": "english language"}, "language"),
        ({"category": "a b"}, "category"),
        ({"subject": "a\x00b"}, "subject"),
        ({"body_text": "\x00"}, "body_text"),
        ({"subject": 5}, "subject"),
        ({"subject": "x" * 1001}, "subject"),
        ({"variables": {"a b": {}}}, "variables"),
        ({"variables": {"a": {"type": "date"}}}, "variables"),
        ({"variables": ["name"]}, "variables"),
        ({"at_most_once": "yes"}, "at_most_once"),
        ({"retry": 3}, "retry"),
        ({"retry": {"attempts": 0}}, "retry.attempts"),
        ({"retry": {"attempts": 1001}}, "retry.attempts"),
        ({"retry": {"attempts": 2.5}}, "retry.attempts"),
        ({"retry": {"attempts": True}}, "retry.attempts"),
        ({"retry": {"base_seconds": 0}}, "retry.base_seconds"),
        ({"retry": {"base_seconds": "5"}}, "retry.base_seconds"),
        ({"retry": {"cap_seconds": -1}}, "retry.cap_seconds"),
        ({"retry": {"cap_seconds": 1e300}}, "retry.cap_seconds"),
        ({"retry": {"give_up_after_seconds": 0.5}}, "retry.give_up_after_seconds"),
        ({"retry": {"give_up_after_seconds": 3e6}}, "retry.give_up_after_seconds"),
        ({"retry": {"for_ever": True}}, "for_ever"),
    ],
)
async def test_a_template_that_breaks_a_rule_is_refused_by_the_field(
    author: Author, change: dict[str, Any], field: str
) -> None:
    status, said, _ = await author("POST", "", {**WELCOME, **change})

    assert (status, said["error"]) == (422, "validation_failed"), said
    assert any(field in f"{detail['field']} {detail['reason']}" for detail in said["details"]), said


@pytest.mark.parametrize(
    ("field", "source", "line"),
    [
        ("subject", "{{ name", 1),
        ("body_text", "fine\n{% if %}\n{% endif %}", 2),
        ("body_html", "<p>\n\n{{ name|shout }}", 3),
        ("body_text", "{% set a = name %}", 1),
        ("body_text", "{{ 'x' * 1000000000 }}", 1),
    ],
)
async def test_a_broken_template_is_refused_with_field_and_line(
    author: Author, field: str, source: str, line: int
) -> None:
    status, said, _ = await author("POST", "", {**WELCOME, field: source})

    assert status == 422
    (detail,) = said["details"]
    assert detail["field"] == field
    assert detail["reason"].startswith(f"line {line}: ")


async def test_every_broken_field_is_told_at_once(author: Author) -> None:
    status, said, _ = await author("POST", "", {**WELCOME, "subject": "{{", "body_html": "{% x %}"})

    assert status == 422
    assert [detail["field"] for detail in said["details"]] == ["subject", "body_html"]


async def test_hostile_addresses_are_refused(author: Author) -> None:
    for path, status in (
        ("/%00", 422),
        ("/a%00b/versions", 422),
        ("/welcome/versions/99999999999999999999", 422),
        ("/welcome/versions/0", 422),
        ("/welcome/versions/-1", 422),
        ("/welcome/published?channel=email&language=%00", 422),
        ("/welcome/published", 422),
        ("/welcome/published?channel=fax", 422),
        ("?category=%00", 422),
        ("?limit=0", 422),
        ("?limit=101", 422),
        ("?page=99999999999999999999", 422),
        ("/%27%20OR%201=1", 404),
        ("/%F0%9F%94%94", 404),
    ):
        assert (await author("GET", path))[0] == status, path


async def test_a_preview_takes_any_json_and_never_breaks(author: Author) -> None:
    await author.data("POST", "", {**WELCOME, "body_text": "{{ name.first }}{{ link }}", "body_html": None})
    deep: Any = "x"
    for _ in range(500):
        deep = [deep]
    for variables in (
        {"name": None, "link": "\x00"},
        {"name": {"first": deep}, "link": {"a": [1.5, True, None]}},
        {"name": {"first": 10**400}, "link": -1},
        {"": 1, "self": 1, "template_name": 2, "a b": 3},
        {"name": {"first": "\u202eabc\ufeff"}, "link": "x" * 500_000},
    ):
        status, said, _ = await author("POST", "/welcome/preview", {"variables": variables})
        assert status == 200, said


@pytest.mark.timeout(180)
async def test_fuzzing_finds_no_500_and_no_undocumented_answer(url: str, author: Author) -> None:
    await author.data("POST", "", WELCOME)
    await author.publish("welcome", 1)

    await asyncio.to_thread(fuzz, f"{url}/openapi.json", token="author", examples=15, prepare=_of_welcome)


def _of_welcome(case: Case) -> None:
    """Half of the questions are about a template that is there."""
    if "code" in case.path_parameters and len(str(case.path_parameters)) % 2:
        case.path_parameters["code"] = "welcome"
