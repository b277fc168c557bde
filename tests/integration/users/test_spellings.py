"""Spellings of an address: every one of its owner's opens the account, and none that merely looks like it does."""

import asyncio
from pathlib import Path

from carillon.users.settings import UsersSettings
from tests.integration.users.client import UsersApi
from tests.integration.users.mails import FakeGateway, mailing

OF_ONE = [
    "jos\u00e9@b\u00fccher.example.com",
    "JOSE\u0301@BU\u0308CHER.EXAMPLE.COM",
    "jos\u00e9@xn--bcher-kva.example.com",
    "Jos\u00e9@XN--BCHER-KVA.example.com",
    "jos\u00e9@b\u00fccher\u3002example.com",
]
ALIKE = {
    "ada@apple.example.com": "ada@apple.example.com",
    "ada@\u0430\u0440\u0440\u04cf\u0435.example.com": "ada@xn--80ak6aa92e.example.com",
    "ada@strasse.example.com": "ada@strasse.example.com",
    "ada@stra\u00dfe.example.com": "ada@xn--strae-oqa.example.com",
}


async def test_every_spelling_of_an_address_opens_its_account(api: UsersApi) -> None:
    user = (await api.register(email=OF_ONE[0])).data

    statuses = [(await api.log_in(spelled)).status for spelled in OF_ONE]
    admin = await api.admin()
    contacts = [await api.call("POST", "/v1/contacts", token=admin, body={"email": spelled}) for spelled in OF_ONE]

    assert statuses == [200] * len(OF_ONE)
    assert {(answer.status, answer.data["user_id"]) for answer in contacts} == {(200, user["user_id"])}
    assert user["email"] == "jos\u00e9@xn--bcher-kva.example.com"


async def test_addresses_that_look_alike_are_seen_to_be_two_and_open_each_its_own(
    settings: UsersSettings, tmp_path: Path
) -> None:
    async with mailing(settings, tmp_path) as (api, gateway):
        await each_opens_its_own(api, gateway)


async def each_opens_its_own(api: UsersApi, gateway: FakeGateway) -> None:
    passwords = {email: f"the password of number {number}" for number, email in enumerate(ALIKE)}

    answers = await asyncio.gather(*(api.register(email=email, password=passwords[email]) for email in ALIKE))

    assert [answer.status for answer in answers] == [201] * len(ALIKE)
    people = dict(zip(ALIKE, (answer.data for answer in answers), strict=True))
    assert {email: user["email"] for email, user in people.items()} == ALIKE
    for email in ALIKE:
        opened = {other for other in ALIKE if (await api.log_in(email, passwords[other])).status == 200}
        assert opened == {email}
        await api.call("POST", "/v1/auth/password/forgot", body={"email": email})
        await gateway.token(people[email], "password_reset")
    assert len(gateway.asked) == len(ALIKE)
