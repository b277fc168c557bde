"""Whatever is sent, the answer is a clear refusal in the envelope, never a 500."""

import asyncio
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.templates.conftest import WELCOME, Author

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


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

    await asyncio.to_thread(_fuzz, f"{url}/openapi.json", examples=15)


def _fuzz(address: str, *, examples: int) -> None:
    """Ask every route of the document what it should and should not take, as the author."""
    document = schemathesis.openapi.from_url(address)
    for found in document.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(headers={"Authorization": "Bearer author"}, timeout=30, checks=CHECKS)

        ask()
