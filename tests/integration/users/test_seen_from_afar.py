"""What other services rely on, through the clients they use: tokens verified from afar, contacts asked for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from carillon.clients.authentication import Callers
from carillon.clients.user_events import follow
from carillon.clients.users import UsersClient
from carillon.contracts.channels import topology
from carillon.contracts.users import DeviceGone
from carillon.kit.broker.open import open_broker
from carillon.kit.database import open_database
from carillon.kit.errors import Unauthenticated, Unavailable
from carillon.kit.http.client import ServiceClient, open_session
from carillon.kit.ids import uuid7
from carillon.users.settings import UsersSettings
from carillon.users.store.changes import touch
from tests.integration.users.client import UsersApi
from tests.integration.users.conftest import running
from tests.support.waiting import eventually

LISTENING = "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN%'"


@contextlib.asynccontextmanager
async def client_of(api: UsersApi, service: str) -> AsyncIterator[ServiceClient]:
    async with open_session() as session:
        yield ServiceClient(session, str(api.session._base_url), token=api.service_token(service))


async def test_a_service_knows_every_kind_of_caller(api: UsersApi, tmp_path: Path) -> None:
    ada, token = await api.someone()
    async with client_of(api, "gateway") as client:
        authenticate = Callers(client, service="bells")

        user = await authenticate(token)
        admin = await authenticate(await api.admin())
        application = await authenticate(api.credentials["application_token"])
        service = await authenticate(api.service_token("email_worker"))

        assert (str(user.caller_id), user.kind, user.permissions) == (ada["user_id"], "user", frozenset())
        assert admin.may("notifications:read")
        assert admin.may("users:write")
        assert application.permissions == {"notifications:send", "notifications:read"}
        assert (service.kind, service.may("notifications:report"), service.may("users:write")) == (
            "service",
            True,
            False,
        )
        for bad in ("nonsense", token[:-2] + "xx", api.credentials["application_token"][:-1] + "x"):
            with pytest.raises(Unauthenticated):
                await authenticate(bad)


async def test_a_worker_asks_for_contacts_and_tells_of_dead_devices(api: UsersApi) -> None:
    ada, _ = await api.someone(push_token="device-1")
    ada_id = UUID(ada["user_id"])
    async with client_of(api, "push_worker") as client:
        users = UsersClient(client)

        contact = await users.contact(ada_id, "push", "news")
        assert contact is not None
        assert ([device.token for device in contact.devices], contact.decision.allowed) == (["device-1"], True)
        assert await users.contact(uuid7(), "push", None) is None

        await users.device_gone(DeviceGone(ada_id, "device-1", "UNREGISTERED"))

        contact = await users.contact(ada_id, "push", "news")
        assert contact is not None
        assert (contact.devices, contact.decision.layer) == ([], "unreachable")


@pytest.mark.parametrize("how", ["log out", "suspend", "revoke the token"])
async def test_what_is_revoked_is_refused_elsewhere_within_a_second(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection, how: str
) -> None:
    async with (
        running(settings, tmp_path) as (api, service),
        client_of(api, "gateway") as client,
        open_broker(settings.broker_url, topology(), name="bells") as broker,
    ):
        callers = Callers(client, service="bells")
        loops = [
            asyncio.ensure_future(service.loops["announce"]()),
            asyncio.ensure_future(follow(broker, callers.revocations)),
        ]
        try:
            await eventually(lambda: sql.fetchval(LISTENING), says="the other service listens")
            admin = await api.admin()
            wish = {"name": "x", "abilities": ["users:read"], "expires_in_days": 1}
            made = (await api.call("POST", "/v1/auth/tokens", token=admin, body=wish)).data
            token = made["token"] if how == "revoke the token" else admin
            assert (await callers(token)).may("users:read")

            if how == "log out":
                assert (await api.call("POST", "/v1/auth/logout", token=admin, body={})).status == 200
            elif how == "revoke the token":
                assert (await api.call("DELETE", f"/v1/auth/tokens/{made['token_id']}", token=admin)).status == 200
            else:
                async with open_database(settings.database_url, name="test") as database, database.transaction() as one:
                    admin_id = UUID(api.credentials["admin_user_id"])
                    await one.execute("UPDATE users.users SET status = 'suspended' WHERE id = $1", admin_id)
                    await touch(one, admin_id, actor_id=None, anyone=True, action="suspended", revokes=True)

            async def refused() -> bool:
                try:
                    await callers(token)
                except Unauthenticated:
                    return True
                return False

            await eventually(refused, within=1)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.wait(loops, timeout=5)


async def test_a_strict_route_elsewhere_asks_each_time_and_is_shut_while_users_is_away(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    async with running(settings, tmp_path) as (api, _), client_of(api, "gateway") as client:
        callers = Callers(client, service="bells")
        token = await api.admin()
        assert (await callers(token)).session_id == (await callers.strictly(token)).session_id

        await sql.execute("UPDATE users.sessions SET revoked_at = now()")

        assert (await callers(token)).may("users:read"), "nobody told: it lives out its minutes"
        with pytest.raises(Unauthenticated):
            await callers.strictly(token)
    async with open_session() as session:
        away = Callers(ServiceClient(session, "http://127.0.0.1:1", token="crl_own"), service="bells")
        for bearer in (token, api.credentials["application_token"]):
            with pytest.raises(Unavailable):
                await away.strictly(bearer)
