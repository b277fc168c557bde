"""Who has another way into an account, or one less in the way, did it themselves or hears of it by mail."""

from pathlib import Path

import asyncpg
import pytest

from carillon.users.settings import UsersSettings
from tests.integration.users.client import PASSWORD
from tests.integration.users.factors import holder
from tests.integration.users.mails import mailing
from tests.support.authenticator import Authenticator
from tests.support.waiting import eventually


@pytest.mark.parametrize("by", ["owner", "administrator"])
async def test_the_owner_hears_that_the_second_factor_was_taken_off(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection, by: str
) -> None:
    async with mailing(settings, tmp_path) as (api, gateway):
        ada = await holder(api, sql)
        assert (await ada.ask("DELETE", "/v1/auth/totp", code=ada.wrong)).status == 403
        if by == "owner":
            assert (await ada.ask("DELETE", "/v1/auth/totp", code=await ada.fresh())).status == 200
        else:
            path = f"/v1/users/{ada.user['user_id']}/second_factors"
            assert (await api.call("DELETE", path, token=await api.admin())).status == 200

        await eventually(lambda: gateway.about(ada.user, "second_factor_removed"))

        told = gateway.about(ada.user, "second_factor_removed")
        assert [mail["variables"]["link"] for mail in told] == ["https://people.example/c/account/reset"]
        assert (told[0]["category"], told[0]["notification_type"]) == ("account", "email")


async def test_the_owner_hears_of_a_new_passkey(settings: UsersSettings, tmp_path: Path) -> None:
    async with mailing(settings, tmp_path) as (api, gateway):
        (user, token), own = await api.someone(), Authenticator("https://people.example", "people.example")
        path = "/v1/auth/passkeys"
        begun = await api.call("POST", f"{path}/registration", token=token, body={"current_password": PASSWORD})
        body = {"name": "Key", "credential": own.make(begun.data["options"])}
        assert (await api.call("POST", path, token=token, body=body)).status == 201

        await eventually(lambda: gateway.about(user, "passkey_added"))

        options = (await api.call("POST", f"{path}/login")).data["options"]
        answer = await api.call("POST", f"{path}/login/finish", body={"credential": own.get(options)})
        assert answer.status == 200, "at the address that people find, whatever stands before it"
        assert len(gateway.about(user, "passkey_added")) == 1
