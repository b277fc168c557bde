"""Categories: made, changed and dropped by those who may, and at once effective."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import pytest

from carillon.clients.user_events import follow
from carillon.clients.users import UsersClient
from carillon.contracts.channels import topology
from carillon.kit.broker.open import open_broker
from carillon.kit.http.client import ServiceClient
from carillon.users.settings import UsersSettings
from tests.integration.users.client import UsersApi
from tests.integration.users.conftest import running
from tests.integration.users.test_changes import looping
from tests.integration.users.test_preferences import contact
from tests.support.waiting import eventually

NEWS = {"description": "Offers and news", "allowed": False}
NONSENSE: list[dict[str, Any]] = [
    {},
    {"description": ""},
    {"description": "x" * 501},
    {"description": "two\nlines"},
    {"description": "nul\x00"},
    {"description": 5},
    {**NEWS, "allowed": None},
    {**NEWS, "allowed": "yes"},
    {**NEWS, "required_channels": ["sms"]},
    {**NEWS, "required_channels": ["email", "email"]},
    {**NEWS, "required_channels": "email"},
    {**NEWS, "code": "other"},
    {**NEWS, "version": 7},
    {**NEWS, "id": str(uuid4())},
]


async def test_a_category_is_made_replaced_seen_and_dropped(api: UsersApi, sql: asyncpg.Connection) -> None:
    admin, (_, token) = await api.admin(), await api.someone()

    made = await api.call("PUT", "/v1/categories/news", token=admin, body=NEWS)
    changed = await api.call(
        "PUT", "/v1/categories/news", token=admin, body={**NEWS, "required_channels": ["push"], "urgent": True}
    )
    seen = await api.call("GET", "/v1/categories", token=token)
    gone = await api.call("DELETE", "/v1/categories/news", token=admin)

    assert (made.status, made.data["version"], made.data["required_channels"]) == (201, 1, [])
    assert (changed.status, changed.headers["ETag"], changed.data["urgent"]) == (200, '"2"', True)
    assert [category["code"] for category in seen.data] == ["account", "email_verification", "news"]
    assert seen.data[2] == changed.data
    assert gone.status == 200
    assert (await api.call("DELETE", "/v1/categories/news", token=admin)).body["error"] == "category_not_found"
    actions = [row["action"] for row in await sql.fetch("SELECT action FROM users.audit_events ORDER BY id")]
    assert actions[-3:] == ["category_made", "category_changed", "category_dropped"]


async def test_what_carillon_itself_needs_can_be_changed_but_not_dropped(api: UsersApi) -> None:
    admin = await api.admin()

    refused = await api.call("DELETE", "/v1/categories/account", token=admin)
    changed = await api.call("PUT", "/v1/categories/account", token=admin, body={"description": "Sign-ins"})

    assert (refused.status, refused.body["error"]) == (409, "category_needed")
    assert (changed.status, changed.data["version"]) == (200, 2)


async def test_a_change_is_decided_by_at_once(api: UsersApi) -> None:
    admin, (ada, token) = await api.admin(), await api.someone()
    path = f"/v1/users/{ada['user_id']}/preferences"

    async def layer() -> tuple[bool, str]:
        decision = (await contact(api, ada["user_id"], "email", "news"))["decision"]
        return decision["allowed"], decision["layer"]

    assert await layer() == (True, "channel_default")
    await api.call("PUT", "/v1/categories/news", token=admin, body=NEWS)
    assert await layer() == (False, "category_default")
    await api.call("PATCH", path, token=token, body={"categories": {"news": True}})
    assert await layer() == (True, "category_choice")
    await api.call("PATCH", path, token=token, body={"email": False})
    assert await layer() == (False, "channel_opt_out")
    await api.call("PUT", "/v1/categories/news", token=admin, body={**NEWS, "required_channels": ["email"]})
    assert await layer() == (True, "category_required")
    await api.call("DELETE", "/v1/categories/news", token=admin)
    assert await layer() == (False, "channel_opt_out")


async def test_those_who_remember_decisions_forget_them_when_a_category_changes(
    settings: UsersSettings, tmp_path: Path
) -> None:
    async with (
        running(settings, tmp_path) as (api, service),
        looping(service, "announce", "listen"),
        open_broker(settings.broker_url, topology(), name="test") as broker,
        aiohttp.ClientSession() as session,
    ):
        ada, _ = await api.someone()
        url = str(api.session._base_url)
        client = UsersClient(ServiceClient(session, url, token=api.service_token("email_worker")), fresh_seconds=3600)
        watching = asyncio.create_task(follow(broker, client))
        try:

            async def layer() -> str:
                found = await client.contact(UUID(ada["user_id"]), "email", "news")
                assert found is not None
                return found.decision.layer

            assert await layer() == "channel_default"
            await api.call("PUT", "/v1/categories/news", token=await api.admin(), body=NEWS)

            async def refused() -> bool:
                return await layer() == "category_default"

            await eventually(refused, within=5)
        finally:
            watching.cancel()
            await asyncio.wait([watching], timeout=10)


async def test_only_those_who_may_change_categories_do(api: UsersApi) -> None:
    _, token = await api.someone()
    bearers = (token, api.service_token("email_worker"), api.credentials["application_token"])

    for bearer in bearers:
        assert (await api.call("PUT", "/v1/categories/news", token=bearer, body=NEWS)).status == 403
        assert (await api.call("DELETE", "/v1/categories/account", token=bearer)).status == 403
    assert (await api.call("GET", "/v1/categories")).status == 401


@pytest.mark.parametrize("body", NONSENSE)
async def test_a_category_that_makes_no_sense_is_refused(api: UsersApi, body: dict[str, Any]) -> None:
    admin = await api.admin()

    assert (await api.call("PUT", "/v1/categories/news", token=admin, body=body)).status == 422
    assert [category["code"] for category in (await api.call("GET", "/v1/categories", token=admin)).data] == [
        "account",
        "email_verification",
    ]


@pytest.mark.parametrize("code", ["With%20Space", "x" * 101, "__proto__", "nul%00", "news%0a", "%ed%a0%80", ".."])
async def test_a_code_that_is_none_is_refused(api: UsersApi, code: str) -> None:
    answer = await api.call("PUT", f"/v1/categories/{code}", token=await api.admin(), body=NEWS)

    assert answer.status in {400, 404, 405, 422}


async def test_a_category_of_any_name_may_be_asked_for_in_a_look_up(api: UsersApi) -> None:
    ada, _ = await api.someone()
    worker = api.service_token("email_worker")
    for category in ("nul\x00", "x" * 200, "With Space", "news\n", "__proto__"):
        body = {"user_ids": [ada["user_id"]], "channel": "email", "category": category}
        answer = await api.call("POST", "/v1/users/contacts", token=worker, body=body)

        assert answer.data["contacts"][0]["decision"]["layer"] == "channel_default"


async def test_a_writer_may_insist_on_a_version_and_twenty_at_once_lose_nothing(api: UsersApi) -> None:
    bearer = {"Authorization": f"Bearer {await api.admin()}"}

    async def put(if_match: str | None = None) -> int:
        headers = {**bearer, **({} if if_match is None else {"If-Match": if_match})}
        async with api.session.put("/v1/categories/news", json=NEWS, headers=headers) as answer:
            return answer.status

    assert await put('"1"') == 412
    statuses = sorted(await asyncio.gather(*(put() for _ in range(20))))
    assert statuses == [200] * 19 + [201]
    assert (await put('"19"'), await put('"20"')) == (412, 200)


async def test_there_is_a_bound_to_how_many_there_are(api: UsersApi, sql: asyncpg.Connection) -> None:
    await sql.execute(
        "INSERT INTO users.categories (id, code, description) "
        "SELECT gen_random_uuid(), 'c' || n, 'one of many' FROM generate_series(1, 998) n"
    )
    admin = await api.admin()

    refused = await api.call("PUT", "/v1/categories/news", token=admin, body=NEWS)

    assert (refused.status, refused.body["error"]) == (409, "too_many_categories")
    assert (await api.call("PUT", "/v1/categories/c7", token=admin, body=NEWS)).status == 200
    assert len((await api.call("GET", "/v1/categories", token=admin)).data) == 1000
