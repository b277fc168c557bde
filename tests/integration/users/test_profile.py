"""Profiles changed in part: by whom, over which version, and what stays."""

import asyncio
import json
from typing import Any
from uuid import UUID

import asyncpg

from tests.integration.users.client import UsersApi

NONSENSE: list[tuple[dict[str, Any], str]] = [
    ({"name": None}, "name"),
    ({"name": ""}, "name"),
    ({"name": " "}, "name"),
    ({"name": "x" * 201}, "name"),
    ({"name": "A\r\nB"}, "name"),
    ({"name": "\u202eadA"}, "name"),
    ({"name": "A\u200bda"}, "name"),
    ({"name": 1}, "name"),
    ({"locale": "pt_BR"}, "locale"),
    ({"locale": ""}, "locale"),
    ({"locale": "x" * 99}, "locale"),
    ({"timezone": "Mars/Olympus"}, "timezone"),
    ({"timezone": "../etc/passwd"}, "timezone"),
    ({"timezone": ""}, "timezone"),
    ({"timezone": "Europe"}, "timezone"),
    ({"timezone": 2}, "timezone"),
    ({"attributes": []}, "attributes"),
    ({"attributes": "x"}, "attributes"),
    ({"attributes": {"a": "\x00"}}, "attributes"),
    ({"attributes": {"a": "x" * 20_000}}, "attributes"),
    ({"attributes": {"\x00": 1}}, "attributes"),
]


async def test_a_profile_is_changed_in_part_and_the_rest_stays(api: UsersApi, sql: asyncpg.Connection) -> None:
    ada, token = await api.someone(name="Ada", locale="en", timezone="Europe/London")
    assert ada["timezone"] == "Europe/London"
    path = f"/v1/users/{ada['user_id']}"

    renamed = await api.call("PATCH", path, token=token, body={"name": " Ada King "})
    moved = await api.call(
        "PATCH", path, token=token, body={"timezone": "Asia/Tokyo", "attributes": {"a": {"b": 1, "c": 2}}}
    )
    merged = await api.call("PATCH", path, token=token, body={"attributes": {"a": {"b": None}, "d": [1]}})
    cleared = await api.call("PATCH", path, token=token, body={"timezone": None, "locale": None})

    assert (renamed.data["name"], renamed.data["timezone"]) == ("Ada King", "Europe/London")
    assert (moved.data["timezone"], moved.data["locale"]) == ("Asia/Tokyo", "en")
    assert merged.data["attributes"] == {"a": {"c": 2}, "d": [1]}
    assert (cleared.data["timezone"], cleared.data["locale"], cleared.data["version"]) == (None, None, 5)
    assert (await api.call("GET", path, token=token)).data == cleared.data
    assert (await api.call("PATCH", path, token=token, body={"attributes": None})).data["attributes"] == {}
    rows = await sql.fetch(
        "SELECT detail FROM users.audit_events WHERE subject_id = $1 AND action = 'profile_changed' ORDER BY id",
        UUID(ada["user_id"]),
    )
    assert [json.loads(row["detail"])["fields"] for row in rows][:2] == [["name"], ["timezone", "attributes"]]


async def test_changes_of_different_parts_at_once_are_all_kept(api: UsersApi) -> None:
    ada, token = await api.someone()
    path = f"/v1/users/{ada['user_id']}"

    answers = await asyncio.gather(
        *(api.call("PATCH", path, token=token, body={"attributes": {f"a{n}": n}}) for n in range(20))
    )

    assert sorted(answer.data["version"] for answer in answers) == list(range(2, 22))
    assert (await api.call("GET", path, token=token)).data["attributes"] == {f"a{n}": n for n in range(20)}


async def test_a_writer_who_insists_on_a_version_changes_that_or_nothing(api: UsersApi) -> None:
    ada, token = await api.someone(name="Ada")
    path = f"/v1/users/{ada['user_id']}"
    tag = (await api.call("GET", path, token=token)).headers["ETag"]

    first = await api.call("PATCH", path, token=token, body={"name": "First"}, headers={"If-Match": tag})
    second = await api.call("PATCH", path, token=token, body={"name": "Second"}, headers={"If-Match": tag})

    assert (first.status, second.status, second.body["error"]) == (200, 412, "precondition_failed")
    assert second.headers["ETag"] == first.headers["ETag"] == '"2"'
    again = await api.call("PATCH", path, token=token, body={"name": "Third"}, headers={"If-Match": '"1", "2"'})
    assert (again.status, again.data["name"], again.data["version"]) == (200, "Third", 3)
    assert (await api.call("PATCH", path, token=token, body={"name": "Any"}, headers={"If-Match": "*"})).status == 200


async def test_a_patch_that_makes_no_sense_is_refused_and_changes_nothing(api: UsersApi) -> None:
    ada, token = await api.someone()
    path = f"/v1/users/{ada['user_id']}"

    for body, field in NONSENSE:
        refused = await api.call("PATCH", path, token=token, body={"attributes": {"new": 1}, **body})

        assert (refused.status, refused.body["details"][0]["field"].partition(".")[0]) == (422, field), refused.body
    for raw in (b'{"name": "\\ud800"}', b'{"attributes": {"a": NaN}}', b'{"a":' * 100_000):
        assert (await api.call("PATCH", path, token=token, raw=raw)).status == 400
    refused = await api.register(timezone="Mars/Olympus")
    assert (refused.status, refused.body["details"][0]["field"]) == (422, "timezone")
    assert (await api.call("GET", path, token=token)).data == ada
