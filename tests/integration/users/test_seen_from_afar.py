"""What other services rely on, through the clients they use: tokens verified from afar, contacts asked for."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from carillon.clients.authentication import Callers
from carillon.clients.users import UsersClient
from carillon.contracts.users import DeviceGone
from carillon.kit.errors import Unauthenticated
from carillon.kit.http.client import ServiceClient, open_session
from carillon.kit.ids import uuid7
from tests.integration.users.client import UsersApi


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
