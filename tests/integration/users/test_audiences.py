"""Whom a broadcast is for: told by attributes and language, in pages whose cost does not depend on who fits."""

import asyncio
import itertools
import time
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from carillon.contracts.audiences import AudienceFilter
from carillon.kit.database import open_database
from carillon.kit.ids import uuid7
from carillon.users.settings import UsersSettings
from carillon.users.store.audiences import Audiences
from tests.integration.users.client import UsersApi

NONSENSE: list[dict[str, Any]] = [
    {},
    {"filter": None},
    {"filter": []},
    {"filter": {"attributes": []}},
    {"filter": {"attributes": {"plan": None}}},
    {"filter": {"attributes": {"plan": {"$ne": 1}}}},
    {"filter": {"attributes": {"plan": ["free"]}}},
    {"filter": {"attributes": {"plan": "nul\x00"}}},
    {"filter": {"attributes": {"": "free"}}},
    {"filter": {"attributes": {"nul\x00": "free"}}},
    {"filter": {"attributes": {"x" * 101: "free"}}},
    {"filter": {"attributes": {"plan": "x" * 501}}},
    {"filter": {"attributes": {str(number): number for number in range(21)}}},
    {"filter": {"locale": "no language"}},
    {"filter": {"email": "ada@example.com"}},
    {"filter": {}, "after": "me"},
    {"filter": {}, "count_only": "yes"},
    {"filter": {}, "limit": 7},
]


later = itertools.count(time.time_ns() // 1_000_000)


async def put(sql: asyncpg.Connection, **given: Any) -> UUID:
    key = uuid7(next(later))
    await sql.execute(
        "INSERT INTO users.users (id, name, attributes, locale, status) VALUES ($1, 'Ada', $2::text::jsonb, $3, $4)",
        key, given.get("attributes", "{}"), given.get("locale"), given.get("status", "active"),
    )  # fmt: skip
    return key


async def test_who_fits_is_told_by_attributes_and_language_and_only_active_people(
    api: UsersApi, sql: asyncpg.Connection
) -> None:
    free = await put(sql, attributes='{"plan": "free", "age": 7, "beta": true}', locale="en")
    french = await put(sql, attributes='{"plan": "free"}', locale="fr-CA")
    await put(sql, attributes='{"plan": "free"}', status="suspended")
    await put(sql, attributes='{"plan": "paid"}', locale="en")
    gateway = api.service_token("gateway")

    async def asked(**body: Any) -> Any:
        return (await api.call("POST", "/v1/users/audience", token=gateway, body=body)).data

    assert (await asked(filter={"attributes": {"plan": "free"}})) == {
        "count": 2, "user_ids": [str(free), str(french)], "next_after": None,
    }  # fmt: skip
    for spelling, found in (("fr", [str(french)]), ("FR-ca", [str(french)]), ("fr-FR", []), ("frr", [])):
        assert (await asked(filter={"attributes": {"plan": "free"}, "locale": spelling}))["user_ids"] == found
    assert (await asked(filter={"attributes": {"beta": True, "age": 7}}))["user_ids"] == [str(free)]
    assert (await asked(filter={"attributes": {"plan": "' OR true --"}}))["user_ids"] == []
    assert (await asked(filter={"attributes": {"plan": "free"}}, after=str(free)))["user_ids"] == [str(french)]
    counted = await asked(filter={}, count_only=True)
    assert (counted["count"], counted["user_ids"], counted["next_after"]) == (4, [], None)  # with the administrator


async def test_a_page_looks_at_so_many_people_and_no_more_whoever_fits(
    sql: asyncpg.Connection, settings: UsersSettings
) -> None:
    people = [await put(sql, attributes='{"odd": true}' if number % 2 else "{}") for number in range(6)]
    before = await sql.fetchval("SELECT id FROM users.users WHERE id < $1 ORDER BY id DESC LIMIT 1", people[0])
    odd, nobody = AudienceFilter(attributes={"odd": True}), AudienceFilter(attributes={"none": 1})

    async with open_database(settings.database_url, name="test", size=1) as database:
        audiences = Audiences(database)
        first = await audiences.page(odd, after=before, most=4)
        second = await audiences.page(odd, after=first.next_after, most=4)
        empty = await audiences.page(nobody, after=before, most=4)
        counted = await audiences.count(odd, after=before, most=4)

    assert (first.user_ids, first.next_after) == ([people[1], people[3]], people[3])
    assert (second.user_ids, second.next_after) == ([people[5]], None)
    assert (empty.user_ids, empty.next_after) == ([], people[3]), "it goes on behind those it looked at"
    assert (counted.count, counted.user_ids, counted.next_after) == (2, [], people[3])


async def test_a_filter_that_makes_no_sense_is_refused(api: UsersApi) -> None:
    for body in NONSENSE:
        answer = await api.call("POST", "/v1/users/audience", token=api.service_token("gateway"), body=body)

        assert (answer.status, answer.body["error"]) == (422, "validation_failed"), str(body)[:80]


async def test_nobody_but_a_service_learns_who_fits(api: UsersApi) -> None:
    _, token = await api.someone(email=f"{uuid4().hex}@example.com")

    for bearer in (token, api.credentials["application_token"]):
        assert (await api.call("POST", "/v1/users/audience", token=bearer, body={"filter": {}})).status == 403
    assert (await api.call("POST", "/v1/users/audience", body={"filter": {}})).status == 401


async def test_two_count_at_a_time_and_others_are_told_to_come_again(api: UsersApi, sql: asyncpg.Connection) -> None:
    gateway, body = api.service_token("gateway"), {"filter": {}, "count_only": True}
    assert (await api.call("POST", "/v1/users/audience", token=gateway, body=body)).status == 200

    async with sql.transaction():
        await sql.execute("LOCK TABLE users.users IN ACCESS EXCLUSIVE MODE")  # a count takes as long as the test wants
        asked = [
            asyncio.create_task(api.call("POST", "/v1/users/audience", token=gateway, body=body)) for _ in range(3)
        ]
        async with asyncio.timeout(20):
            refused = await next(asyncio.as_completed(asked))
    answers = await asyncio.gather(*asked)

    assert (refused.status, refused.body["error"], refused.headers["Retry-After"]) == (503, "unavailable", "5")
    assert sorted(answer.status for answer in answers) == [200, 200, 503]
