"""Lists by page and by cursor: each row once, at any depth, and no cursor but our own."""

from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg
import pytest

from tests.integration.users.client import Answer, UsersApi


def next_of(answer: Answer) -> str | None:
    """The address of the next page, from the header Link."""
    link = answer.headers.get("Link")
    return None if link is None else link.removeprefix("<").partition(">")[0]


async def filled(sql: asyncpg.Connection, count: int) -> None:
    await sql.execute(
        "WITH made AS (INSERT INTO users.users (id, name, email, email_key)"
        " SELECT ('01000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'Person ' || n,"
        "        'p' || n || '@example.com', 'p' || n || '@example.com'"
        " FROM generate_series(1, $1) n RETURNING id)"
        " INSERT INTO users.notification_preferences (user_id) SELECT id FROM made",
        count,
    )


async def walked(api: UsersApi, token: str, path: str, key: str) -> tuple[list[str], list[dict[str, Any]]]:
    rows, metas, here = [], [], path
    while True:
        answer = await api.call("GET", here, token=token)
        rows += [row[key] for row in answer.data]
        metas.append(answer.body["meta"])
        following = next_of(answer)
        if following is None:
            return rows, metas
        here = following


async def test_following_the_cursor_shows_everybody_once_whoever_joins_meanwhile(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    await filled(sql, 25)
    admin = await api.admin()
    first = await api.call("GET", "/v1/users?limit=10", token=admin)
    await api.register()

    rest, metas = await walked(api, admin, next_of(first) or "", "user_id")

    everybody = [row["user_id"] for row in first.data] + rest
    assert len(everybody) == len(set(everybody)) == 26
    assert [(meta["page"], meta["has_next"], meta["has_previous"]) for meta in metas] == [
        (2, True, True), (3, False, True),
    ]  # fmt: skip


async def test_filters_travel_with_the_cursor_and_belong_to_it(api: UsersApi, sql: asyncpg.Connection) -> None:
    await filled(sql, 12)
    admin = await api.admin()
    first = await api.call("GET", "/v1/users?limit=3&name=Person%201", token=admin)

    names, _ = await walked(api, admin, next_of(first) or "", "name")

    assert [row["name"] for row in first.data] + names == ["Person 12", "Person 11", "Person 10", "Person 1"]
    follow = await api.call("GET", "/v1/users?limit=2&name=Person", token=admin)
    cursor = parse_qs(urlsplit(next_of(follow) or "").query)["cursor"][0]
    other = await api.call("GET", f"/v1/users?limit=2&name=Other&cursor={cursor}", token=admin)
    audit = await api.call("GET", f"/v1/audit_events?cursor={cursor}", token=admin)
    assert [(a.status, a.body["details"][0]["field"]) for a in (other, audit)] == [(422, "cursor")] * 2


async def test_a_cursor_that_was_bent_anywhere_is_refused(api: UsersApi, sql: asyncpg.Connection) -> None:
    await filled(sql, 5)
    admin = await api.admin()
    first = await api.call("GET", "/v1/users?limit=2", token=admin)
    cursor = parse_qs(urlsplit(next_of(first) or "").query)["cursor"][0]

    bent = [f"{cursor[:at]}{'A' if cursor[at] != 'A' else 'B'}{cursor[at + 1 :]}" for at in range(len(cursor) - 1)]
    for wrong in (*bent, cursor[:-1], cursor + "A", cursor.swapcase(), cursor[::-1], cursor * 2):
        answer = await api.call("GET", f"/v1/users?limit=2&cursor={wrong}", token=admin)
        assert (answer.status, answer.body["details"][0]["field"]) == (422, "cursor"), wrong
    assert (await api.call("GET", f"/v1/users?limit=2&cursor={cursor}", token=admin)).status == 200


async def test_a_page_too_deep_is_refused_and_the_cursor_named(api: UsersApi, sql: asyncpg.Connection) -> None:
    await filled(sql, 10_050)
    admin = await api.admin()

    deepest = await api.call("GET", "/v1/users?limit=100&page=100", token=admin)
    deeper = await api.call("GET", "/v1/users?limit=100&page=101", token=admin)
    beyond = await api.call("GET", next_of(deepest) or "", token=admin)

    assert (len(deepest.data), deepest.body["meta"]["has_next"], deepest.body["meta"]["total"]) == (100, True, 10_001)
    assert (deeper.status, deeper.body["details"][0]["field"]) == (422, "page")
    assert "cursor" in deeper.body["message"]
    assert len(beyond.data) == 51, "the cursor goes on where pages end"
    assert (beyond.body["meta"]["page"], next_of(beyond)) == (101, None)


@pytest.mark.parametrize("path", ["/v1/users", "/v1/audit_events"])
@pytest.mark.parametrize(
    "query",
    [
        "limit=1000000000", "limit=0", "limit=-1", "page=0", "page=10001&limit=1", "cursor=", "cursor=x", "cursor=%00",
        "cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "cursor=" + "A" * 101, "cursor=" + quote("é"),
    ],
)  # fmt: skip
async def test_what_is_no_page_and_no_cursor_is_refused(api: UsersApi, path: str, query: str) -> None:
    answer = await api.call("GET", f"{path}?{query}", token=await api.admin())

    assert (answer.status, answer.body["error"]) == (422, "validation_failed"), answer.body


async def test_people_are_found_by_role(api: UsersApi) -> None:
    admin = await api.admin()
    await api.register()

    answer = await api.call("GET", "/v1/users?role=admin", token=admin)

    assert [user["user_id"] for user in answer.data] == [api.credentials["admin_user_id"]]
    assert (await api.call("GET", "/v1/users?role=nobody", token=admin)).data == []


async def test_who_did_what_is_found_by_subject_actor_action_and_time(api: UsersApi, sql: asyncpg.Connection) -> None:
    admin, admin_id = await api.admin(), api.credentials["admin_user_id"]
    ada, token = await api.someone()
    await api.call("PUT", f"/v1/users/{ada['user_id']}/roles", token=admin, body={"roles": ["operator"]})

    async def actions(query: str) -> list[str]:
        answer = await api.call("GET", f"/v1/audit_events?limit=100&{query}", token=admin)
        assert answer.status == 200, answer.body
        return [event["action"] for event in answer.data]

    assert await actions(f"subject_id={ada['user_id']}") == ["roles_changed", "signed_in", "user_registered"]
    assert await actions(f"actor_id={admin_id}&subject_id={ada['user_id']}") == ["roles_changed"]
    assert set(await actions("action=signed_in")) == {"signed_in"}
    assert await actions("action=' OR true --".replace(" ", "%20")) == []
    at = await sql.fetchval("SELECT at FROM users.audit_events WHERE action = 'roles_changed'")
    moment = quote(at.isoformat())
    assert (await actions(f"since={moment}"))[-1] == "roles_changed"
    assert "roles_changed" not in await actions(f"until={moment}")
    assert await actions("since=9999-12-31T23:59:59Z") == []
    assert await actions("until=0001-01-01T00:00:00") == []
    assert (await api.call("GET", "/v1/audit_events?since=0001-01-01T00:00:00%2B23:00", token=admin)).status == 422
    assert (await api.call("GET", "/v1/audit_events?since=yesterday", token=admin)).status == 422
    assert (await api.call("GET", "/v1/audit_events", token=token)).status == 401, "issued before the role was given"
