"""Templates over HTTP: made, versioned, published, rolled back, withdrawn, deleted, listed, previewed."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from tests.integration.templates.conftest import CALLERS, WELCOME, Author

PUSH = {"channel": "push", "language": "en", "title": "Hello {{ name }}", "body": "There is news"}


async def test_a_new_template_has_version_1_and_is_not_published(author: Author) -> None:
    status, said, _ = await author("POST", "", WELCOME)

    assert status == 201
    assert {k: said["data"][k] for k in ("code", "category", "at_most_once", "version", "published")} == {
        "code": "welcome",
        "category": None,
        "at_most_once": False,
        "version": 1,
        "published": [],
    }
    UUID(said["data"]["template_id"])
    status, said, _ = await author("GET", "/welcome/published?channel=email")
    assert (status, said["error"]) == (404, "template_not_published")


async def test_what_is_published_is_what_workers_get(author: Author) -> None:
    await author.data("POST", "", {**WELCOME, "category": "account", "at_most_once": True, "variables": {"name": {}}})
    published = await author.publish("welcome", 1)

    assert published["published"] is True
    assert UUID(published["created_by"]) == CALLERS["author"]
    assert await author.published("welcome", "channel=email&language=en") == {
        "code": "welcome",
        "channel": "email",
        "language": "en",
        "version": 1,
        "category": "account",
        "at_most_once": True,
        "content": {
            "subject": "Hello {{ name }}",
            "body_text": "See {{ link }}",
            "body_html": "<p>{{ name }}</p>",
            "title": None,
            "body": None,
            "image": None,
            "link": None,
        },
        "variables": {"name": {"type": "string", "required": True}},
        "retry": None,
    }


async def test_a_version_says_how_hard_it_is_tried_and_the_next_one_may_say_otherwise(author: Author) -> None:
    retry = {"attempts": 3, "base_seconds": 0.5, "cap_seconds": 60.0, "give_up_after_seconds": 600.0}
    await author.data("POST", "", {**WELCOME, "retry": retry})
    await author.publish("welcome", 1)
    assert (await author.published("welcome", "channel=email"))["retry"] == retry
    second = await author.data("POST", "/welcome/versions", {**_version(), "retry": {"attempts": 1}})
    await author.publish("welcome", 2)
    third = await author.data("POST", "/welcome/versions", _version())

    assert (second["retry"], third["retry"]) == ({"attempts": 1}, None)
    assert (await author.published("welcome", "channel=email"))["retry"] == {"attempts": 1}


async def test_publishing_an_older_version_rolls_back(author: Author) -> None:
    await author.data("POST", "", WELCOME)
    second = await author.data("POST", "/welcome/versions", {**_version(), "subject": "Second"})
    assert (second["version"], second["published"]) == (2, False)

    await author.publish("welcome", 2)
    assert (await author.published("welcome", "channel=email"))["content"]["subject"] == "Second"
    await author.publish("welcome", 1)
    assert (await author.published("welcome", "channel=email"))["version"] == 1
    versions = await author.data("GET", "/welcome/versions")
    assert [(v["version"], v["published"]) for v in versions] == [(2, False), (1, True)]


async def test_each_channel_and_language_has_its_own_pointer(author: Author) -> None:
    await author.data("POST", "", WELCOME)
    await author.data("POST", "/welcome/versions", {**_version(), "language": "pt-br", "subject": "Olá"})
    await author.data("POST", "/welcome/versions", PUSH)
    for number in (1, 2, 3):
        await author.publish("welcome", number)

    published = (await author.data("GET", "/welcome"))["published"]
    assert [(p["channel"], p["language"], p["version"]) for p in published] == [
        ("email", "en", 1),
        ("email", "pt-BR", 2),
        ("push", "en", 3),
    ]


async def test_a_language_falls_back_to_its_base_and_then_to_the_default(author: Author) -> None:
    await author.data("POST", "", WELCOME)
    await author.data("POST", "/welcome/versions", {**_version(), "language": "pt", "subject": "Olá"})
    await author.publish("welcome", 1)
    assert (await author.published("welcome", "channel=email&language=pt-BR"))["language"] == "en"
    await author.publish("welcome", 2)

    for asked, got in (("pt-BR", "pt"), ("PT-br", "pt"), ("pt", "pt"), ("de-AT", "en"), ("en-GB", "en")):
        assert (await author.published("welcome", f"channel=email&language={asked}"))["language"] == got, asked
    status, said, _ = await author("GET", "/welcome/published?channel=push&language=pt-BR")
    assert (status, said["error"]) == (404, "template_not_published")
    assert "pt-BR, pt, en" in said["message"]


async def test_an_unchanged_publication_answers_304_and_any_change_does_not(author: Author) -> None:
    await author.data("POST", "", WELCOME)
    await author.publish("welcome", 1)
    status, _, headers = await author("GET", "/welcome/published?channel=email")
    etag = headers["ETag"]
    assert status == 200

    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        status, _, headers = await author("GET", "/welcome/published?channel=email", headers={"If-None-Match": given})
        assert (status, headers["ETag"]) == (304, etag), given
    for change in (
        ("PATCH", "/welcome", {"at_most_once": True}),
        ("PATCH", "/welcome", {"category": "news"}),
        ("POST", "/welcome/versions/2/publish", None),
    ):
        await author("POST", "/welcome/versions", {**_version(), "subject": "Other"})
        await author.data(*change)
        status, _, headers = await author("GET", "/welcome/published?channel=email", headers={"If-None-Match": etag})
        assert status == 200, change
        etag = headers["ETag"]


async def test_metadata_changes_and_the_rest_stays(author: Author) -> None:
    await author.data("POST", "", {**WELCOME, "category": "account"})

    changed = await author.data("PATCH", "/welcome", {"at_most_once": True})
    assert (changed["category"], changed["at_most_once"]) == ("account", True)
    changed = await author.data("PATCH", "/welcome", {"category": None})
    assert (changed["category"], changed["at_most_once"]) == (None, True)
    status, said, _ = await author("PATCH", "/welcome", {"code": "other"})
    assert (status, said["details"][0]["field"]) == (422, "code")


async def test_a_published_template_is_deleted_only_after_it_was_withdrawn(author: Author) -> None:
    await author.data("POST", "", WELCOME)
    await author.publish("welcome", 1)

    status, said, _ = await author("DELETE", "/welcome")
    assert (status, said["error"]) == (409, "template_published")
    assert "email in en" in said["message"]
    assert (await author.data("DELETE", "/welcome/published?channel=email&language=EN"))["published"] == []
    status, said, _ = await author("DELETE", "/welcome/published?channel=email&language=en")
    assert (status, said["error"]) == (404, "template_not_published")
    assert (await author("DELETE", "/welcome"))[0] == 200
    assert (await author("GET", "/welcome"))[0] == 404
    assert (await author("DELETE", "/welcome"))[0] == 404
    assert (await author("POST", "", WELCOME))[0] == 201


async def test_many_at_once_make_one_template_and_numbered_versions(author: Author) -> None:
    made = await asyncio.gather(*(author("POST", "", WELCOME) for _ in range(10)))
    assert sorted(status for status, _, _ in made) == [201] + [409] * 9

    added = await asyncio.gather(*(author.data("POST", "/welcome/versions", _version()) for _ in range(20)))
    assert sorted(v["version"] for v in added) == list(range(2, 22))
    await asyncio.gather(*(author.publish("welcome", n) for n in range(1, 22)))
    assert len((await author.data("GET", "/welcome"))["published"]) == 1


async def test_lists_are_paged_and_filtered(author: Author) -> None:
    for code, extra in (("a", {}), ("b", {"category": "news"}), ("c", {})):
        await author.data("POST", "", {**WELCOME, "code": code, **extra})
    await author.data("POST", "", {"code": "p", **PUSH})
    await author.publish("b", 1)

    async def codes(query: str) -> list[str]:
        return [t["code"] for t in await author.data("GET", f"?{query}")]

    assert await codes("") == ["a", "b", "c", "p"]
    assert await codes("channel=push") == ["p"]
    assert await codes("category=news") == ["b"]
    assert await codes("published=true") == ["b"]
    assert await codes("published=false&channel=email") == ["a", "c"]
    _, said, _ = await author("GET", "?limit=3&page=2")
    assert [t["code"] for t in said["data"]] == ["p"]
    assert said["meta"] == {
        "total": 4,
        "limit": 3,
        "page": 2,
        "total_pages": 2,
        "has_next": False,
        "has_previous": True,
    }
    assert await codes("page=1000") == []
    await author.data("POST", "/a/versions", PUSH)
    assert [v["version"] for v in await author.data("GET", "/a/versions?channel=push")] == [2]
    assert [v["version"] for v in await author.data("GET", "/a/versions?language=EN&limit=1&page=2")] == [1]


async def test_preview_renders_what_is_published_or_else_the_newest(author: Author) -> None:
    await author.data("POST", "", WELCOME)
    given = {"variables": {"name": "<Ada>", "link": "https://example.com/a?b=1&c=2"}}

    seen = await author.data("POST", "/welcome/preview", given)
    assert seen["rendered"] == {
        "subject": "Hello <Ada>",
        "body_text": "See https://example.com/a?b=1&c=2",
        "body_html": "<p>&lt;Ada&gt;</p>",
        **dict.fromkeys(("title", "body", "image", "link")),
    }
    await author.data("POST", "/welcome/versions", {**_version(), "subject": "Newer {{ name }}"})
    assert (await author.data("POST", "/welcome/preview", given))["version"] == 2
    await author.publish("welcome", 1)
    assert (await author.data("POST", "/welcome/preview", given))["version"] == 1
    assert (await author.data("POST", "/welcome/preview", {**given, "language": "pt-BR"}))["version"] == 1
    seen = await author.data("POST", "/welcome/preview", {**given, "version": 2})
    assert (seen["version"], seen["rendered"]["subject"]) == (2, "Newer <Ada>")


async def test_preview_names_every_missing_variable(author: Author) -> None:
    body = "{% for item in order.items %}{{ item }}{% endfor %}{{ order.total }}{{ nick|default('you') }}"
    await author.data("POST", "", {**WELCOME, "body_text": body, "body_html": "{{ link }}", "variables": {"tier": {}}})

    seen = await author.data("POST", "/welcome/preview", {"variables": {"name": "Ada"}})

    assert seen["rendered"] is None
    assert seen["missing"] == ["tier", "order.items", "order.total", "link"]
    assert seen["error"]


@pytest.mark.parametrize(
    ("body", "variables", "reason"),
    [
        ("{% for i in range(99999) %}{{ big }}{% endfor %}", {"big": "x" * 1000}, "exceeds"),
        ("{% for i in range(99999) %}{% if i %}{% endif %}{% endfor %}", {}, "too much work"),
        ("{{ name + 1 }}", {}, "line 1"),
        ("ok", {"total": "much"}, "total is not of type number"),
    ],
)
async def test_preview_answers_200_with_the_reason_where_rendering_fails(
    author: Author, body: str, variables: dict[str, Any], reason: str
) -> None:
    declared = {"total": {"type": "number", "required": False}}
    await author.data("POST", "", {**WELCOME, "body_text": body, "body_html": None, "variables": declared})

    seen = await author.data("POST", "/welcome/preview", {"variables": {"name": "Ada", **variables}})

    assert seen["rendered"] is None
    assert reason in seen["error"]


async def test_preview_and_publish_of_what_is_not_there_say_so(author: Author) -> None:
    for method, path, code in (
        ("POST", "/nothing/preview", "template_not_found"),
        ("POST", "/nothing/versions/1/publish", "template_not_found"),
        ("GET", "/nothing/versions", "template_not_found"),
        ("GET", "/nothing/published?channel=email", "template_not_found"),
        ("DELETE", "/nothing/published?channel=email&language=en", "template_not_found"),
    ):
        status, said, _ = await author(method, path, {} if method == "POST" else None)
        assert (status, said["error"]) == (404, code), path
    await author.data("POST", "", WELCOME)
    for method, path, body in (
        ("POST", "/welcome/preview", {"version": 7}),
        ("POST", "/welcome/preview", {"channel": "push"}),
        ("POST", "/welcome/versions/7/publish", None),
        ("GET", "/welcome/versions/7", None),
    ):
        status, said, _ = await author(method, path, body)
        assert (status, said["error"]) == (404, "version_not_found"), path


async def test_each_route_asks_for_its_permission(author: Author) -> None:
    await author.data("POST", "", WELCOME)
    await author.publish("welcome", 1)
    for method, path, body in (
        ("POST", "", WELCOME),
        ("PATCH", "/welcome", {}),
        ("DELETE", "/welcome", None),
        ("POST", "/welcome/versions", _version()),
        ("POST", "/welcome/versions/1/publish", None),
        ("DELETE", "/welcome/published?channel=email&language=en", None),
    ):
        assert (await author(method, path, body, token="worker"))[0] == 403, path
    for method, path in (("GET", ""), ("GET", "/welcome"), ("GET", "/welcome/published?channel=email")):
        assert (await author(method, path, token="worker"))[0] == 200
        assert (await author(method, path, token="stranger"))[0] == 403
        assert (await author(method, path, token="unknown"))[0] == 401


def _version() -> dict[str, Any]:
    return {name: value for name, value in WELCOME.items() if name != "code"}
