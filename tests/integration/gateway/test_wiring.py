"""The gateway as it is really built: from settings alone, with users and templates as separate servers."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import asyncpg
import msgspec
import pytest
from aiohttp import web

from carillon.contracts.users import ContactsFound, ContactsWanted, Introspection
from carillon.gateway.app import PATHS, build, migrate
from carillon.gateway.settings import GatewaySettings
from carillon.kit.broker.postgres.schema import migrate_broker
from carillon.kit.http.envelope import Envelope
from carillon.kit.ids import uuid7
from carillon.kit.settings import SettingsError, load
from tests.integration.gateway.house import drained
from tests.support.http import serving
from tests.support.peers import Peer, peer
from tests.support.waiting import eventually
from tests.unit.gateway.neighbours import contact, template

USER, CALLER = uuid7(), uuid7()
TOKEN = "crl_application"
BODY = {
    "notification_type": "email",
    "user_id": str(USER),
    "template_code": "welcome",
    "variables": {"name": "Ada", "link": "https://example.com"},
    "request_id": "one",
}


def answer(data: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(Envelope(data)), content_type="application/json")


async def introspect(request: web.Request) -> web.Response:
    assert request.headers["Authorization"] == "Bearer crl_gateway"
    held = ["notifications:send", "notifications:read"]
    said = Introspection(active=True, caller_id=CALLER, kind="application", permissions=held, expires_at=4e9)
    return answer(said)


async def contacts(request: web.Request) -> web.Response:
    wanted = msgspec.json.decode(await request.read(), type=ContactsWanted)
    known = [contact(user_id) for user_id in wanted.user_ids if user_id == USER]
    return answer(ContactsFound(known, [user_id for user_id in wanted.user_ids if user_id != USER]))


async def published(request: web.Request) -> web.Response:
    code = request.match_info["code"]
    refusal = {"success": False, "error": "template_not_found", "message": "There is no such template."}
    return answer(template(code)) if code == "welcome" else web.json_response(refusal, status=404)


async def fine(_: web.Request) -> web.Response:
    return answer([])


NEIGHBOURS = [
    web.post("/api/v1/auth/introspect", introspect),
    web.post("/api/v1/users/contacts", contacts),
    web.get("/.well-known/jwks.json", fine),
    web.get("/api/v1/templates", fine),
    web.get("/api/v1/templates/{code}/published", published),
]


@pytest.fixture
async def neighbours() -> AsyncIterator[Peer]:
    async with peer(NEIGHBOURS) as there:
        yield there


@pytest.fixture
async def settings(database: str, tmp_path: Path, neighbours: Peer) -> GatewaySettings:
    await migrate_broker(database)
    token_file = tmp_path / "gateway.token"
    token_file.write_text("crl_gateway\n")
    settings = load(
        GatewaySettings,
        "gateway",
        {
            "CARILLON_DATABASE_URL": database,
            "CARILLON_BROKER_URL": database,
            "CARILLON_GATEWAY_TOKEN_FILE": str(token_file),
            "CARILLON_USERS_URL": neighbours.url,
            "CARILLON_TEMPLATES_URL": neighbours.url,
            "CARILLON_RETRY_DELAYS": "1,2",
        },
    )
    await migrate(settings)
    return settings


async def test_a_gateway_built_from_settings_accepts_and_relays(settings: GatewaySettings) -> None:
    service = build(settings)
    async with service.open() as running, serving(running.app) as url, contextlib.AsyncExitStack() as stack:
        for loop in running.loops.values():
            await stack.enter_async_context(drained(loop))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {TOKEN}"})
        )
        async with session.post("/api/v1/notifications/", json=BODY) as said:
            assert said.status == 202
            key = (await said.json())["data"]["notification_id"]
        for changed in ({"user_id": str(uuid7())}, {"template_code": "nowhere"}):
            async with session.post("/api/v1/notifications/", json={**BODY, "request_id": "two", **changed}) as said:
                assert said.status == 404

        async def queued() -> bool:
            async with session.get(f"/api/v1/notifications/{key}") as said:
                return bool((await said.json())["data"]["stage"] == "queued")

        await eventually(queued)
        async with session.get("/health") as said:
            health = (await said.json())["data"]

    assert service.paths == PATHS
    assert set(running.loops) == {
        "broadcasts",
        "watch_users",
        "erasures",
        "dead_letters",
        "relay",
        "recorder",
        "partitions",
        "retention",
        "share",
        "measure",
        "reconcile",
    }
    assert {name: found["status"] for name, found in health["dependencies"].items()} == {
        "database": "ok", "broker": "ok", "users": "ok", "templates": "ok",
    }  # fmt: skip


@pytest.mark.parametrize("limit", [0, 1000])
async def test_the_door_lets_in_whose_token_is_remembered_unless_requests_are_counted(
    settings: GatewaySettings, limit: int
) -> None:
    headers = [(b"authorization", f"Bearer {TOKEN}".encode()), (b"content-type", b"application/json")]
    counted = msgspec.structs.replace(settings, requests_per_minute=limit)
    async with build(counted).open() as running, serving(running.app, doors=running.doors) as url:
        (door,) = running.doors
        before = door(b"/v1/notifications", [*headers, (b"content-length", b"9")])
        async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {TOKEN}"}) as session:
            for status in (202, 200):
                async with session.post("/api/v1/notifications/", json=BODY) as said:
                    assert said.status == status
                    assert ("RateLimit" in said.headers) == (limit > 0)
        after = door(b"/v1/notifications", [*headers, (b"content-length", b"9")])

    assert (before, after is None) == (None, limit > 0)


async def test_while_users_and_templates_are_away_known_callers_are_still_served(
    settings: GatewaySettings, neighbours: Peer
) -> None:
    async with (
        build(settings).open() as running,
        serving(running.app) as url,
        aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {TOKEN}"}) as session,
    ):
        async with session.get("/api/v1/notifications") as said:
            assert said.status == 200
        await neighbours.stop()
        unknown = {**BODY, "user_id": str(uuid7())}
        async with session.post("/api/v1/notifications", json=unknown) as said:
            assert said.status == 202
        async with session.get("/ready") as said:
            assert said.status == 200
        async with session.get("/health") as said:
            health = (await said.json())["data"]
        stranger = {"Authorization": "Bearer crl_never_seen"}
        async with session.get("/api/v1/notifications", headers=stranger) as said:
            assert (said.status, "Retry-After" in said.headers) == (503, True)

    assert health["status"] == "degraded"
    assert health["dependencies"]["users"]["without"]


async def test_migrating_again_changes_nothing(settings: GatewaySettings) -> None:
    await migrate(settings)


async def test_a_gateway_without_its_tables_is_not_ready(settings: GatewaySettings) -> None:
    connection = await asyncpg.connect(settings.database_url, timeout=10)
    await connection.execute("DROP SCHEMA gateway CASCADE")
    await connection.close(timeout=5)

    async with (
        build(settings).open() as running,
        serving(running.app) as url,
        aiohttp.ClientSession(url) as session,
        session.get("/ready") as said,
    ):
        assert said.status == 503


async def test_a_missing_token_file_is_one_clear_sentence(settings: GatewaySettings, tmp_path: Path) -> None:
    nowhere = msgspec.structs.replace(settings, token_file=tmp_path / "nowhere")

    with pytest.raises(SettingsError, match=r"CARILLON_GATEWAY_TOKEN_FILE.*nowhere.*carillon migrate"):
        async with build(nowhere).open():
            pass
