"""Three causes of death: told apart, looked at, taken away, and replayed; nobody gets anything twice."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.smtp import FakeSmtp
from tests.support.client import Client
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)


@dataclass
class Dead:
    """Who died of what, and under which notification. `unwilling` opts out before anything is replayed."""

    code: str
    incomplete: str
    refused: list[dict[str, Any]]
    busy: list[dict[str, Any]]
    fine: dict[str, Any]
    keys: dict[str, str]
    nameless: str

    @property
    def unwilling(self) -> dict[str, Any]:
        return self.refused[0]


async def test_dead_letters_of_three_causes_are_replayed_by_cause_and_nothing_goes_out_twice(
    client: Client, smtp: FakeSmtp
) -> None:
    mark = uuid4().hex[:8]
    dead = await three_deaths(client, smtp, mark)
    missing = await grouped(client, dead)
    await opted_out(client, dead)
    by_cause = {"template_code": dead.code, "cause": "recipient_refused"}

    assert (await replayed(client, **by_cause))["replayed"] == 3
    again = await replayed(client, **by_cause)
    assert (again["matched"], again["replayed"], again["skipped"]) == (1, 0, {"not_allowed": 1})
    await client.publish_more(dead.incomplete, subject="Your order", body_text="See {{ link }}.")
    await template_taken_over(client, dead.fine["user_id"], dead.incomplete)
    assert (await replayed(client, ids=[missing]))["replayed"] == 1

    for user in dead.refused[1:]:
        assert (await client.settled(dead.keys[user["email"]]))["status"] == "delivered"
    assert (await client.settled(dead.nameless))["status"] == "delivered"
    kinds = await client.kinds(dead.keys[dead.refused[1]["email"]])
    assert (kinds.count("failed"), kinds.count("replayed"), kinds[-1]) == (1, 1, "delivered")
    left = [dead.keys[user["email"]] for user in (dead.unwilling, *dead.busy)]
    assert {(await client.notification(key))["status"] for key in left} == {"failed"}

    assert (await replayed(client, template_code=dead.code, cause="recipient_deferred"))["replayed"] == 2
    for user in dead.busy:
        assert (await client.settled(dead.keys[user["email"]]))["status"] == "delivered"
    got = {email: len(smtp.to(email)) for email in dead.keys}
    assert got == {**dict.fromkeys(dead.keys, 1), dead.unwilling["email"]: 0}
    assert mark not in client.platform.log.read_text()


async def three_deaths(client: Client, smtp: FakeSmtp, mark: str) -> Dead:
    """Refused, tried in vain, and without a variable; their causes are taken away afterwards."""
    code = await client.publish(subject="Hello {{ name }}")
    incomplete = await client.publish(subject="Order {{ order_number }}")
    refused = [await client.register(email=f"gone-{mark}-{n}@example.com") for n in range(4)]
    busy = [await client.register(email=f"busy-{mark}-{n}@example.com") for n in range(2)]
    fine = await client.register()
    answers = {rf"gone-{mark}-.*": "550 5.1.1 no such mailbox", rf"busy-{mark}-.*": "451 4.7.1 try later"}
    smtp.answers.update(answers)

    dying = [*refused, *busy]
    found = await asyncio.gather(*(died(client, user["user_id"], code) for user in dying))
    keys = {user["email"]: key for user, key in zip(dying, found, strict=True)}
    nameless = await died(client, fine["user_id"], incomplete)
    for pattern in answers:
        del smtp.answers[pattern]
    await letters_kept(client, code, len(keys))
    await letters_kept(client, incomplete, 1)
    return Dead(code, incomplete, refused, busy, fine, keys, nameless)


async def grouped(client: Client, dead: Dead) -> str:
    """The causes are told apart; answers the letter that lacks a variable."""
    groups = {group["cause"]: group for group in await asked(client, f"/dead_letters?template_code={dead.code}")}
    counts = {cause: group["count"] for cause, group in groups.items()}
    assert counts == {"recipient_refused": 4, "recipient_deferred": 2}
    deferred = groups["recipient_deferred"]["examples"][0]
    assert deferred["first_error"].startswith("451 4.7.1")
    assert deferred["attempts"] > 1
    (missing,) = await asked(client, f"/dead_letters?template_code={dead.incomplete}")
    (letter,) = missing["examples"]
    assert (missing["cause"], letter["reason"]) == ("missing_variable", "missing_variable: order_number")
    found: str = letter["dead_letter_id"]
    return found


async def opted_out(client: Client, dead: Dead) -> None:
    url = f"{client.platform.users}/api/v1/users/{dead.unwilling['user_id']}/preferences"
    assert (await client.call("PATCH", url, token=client.admin, json={"email": False})).status == 200

    async def heard() -> bool:
        rehearsed = await replayed(client, template_code=dead.code, cause="recipient_refused", dry_run=True)
        assert rehearsed["matched"] == 4
        return bool(rehearsed["skipped"] == {"not_allowed": 1})

    await eventually(heard, within=20, says="the gateway has heard of the opt-out")
    assert {(await client.notification(key))["status"] for key in dead.keys.values()} == {"failed"}


async def test_who_may_see_dead_letters_may_not_replay_them_for_that(client: Client) -> None:
    url = f"{client.platform.gateway}/api/v1/dead_letters/replay"
    refused = await client.call("POST", url, token=client.application, json={"cause": "undecodable"})

    assert (refused.status, refused.body["error"]) == (403, "forbidden")
    assert (await client.call("GET", url.removesuffix("/replay"), token=client.application)).status == 200


async def died(client: Client, user_id: str, code: str) -> str:
    key: str = (await client.notify(user_id, code)).data["notification_id"]
    assert (await client.settled(key, within=90))["status"] == "failed"
    return key


async def asked(client: Client, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        await client.call("GET", f"{client.platform.gateway}/api/v1{path}", token=client.admin)
    ).data
    return found


async def letters_kept(client: Client, code: str, count: int) -> None:
    async def kept() -> bool:
        return len(await asked(client, f"/dead_letters/all?limit=100&template_code={code}")) == count

    await eventually(kept, within=30, says=f"{count} dead letters are kept")


async def replayed(client: Client, **body: Any) -> dict[str, Any]:
    url = f"{client.platform.gateway}/api/v1/dead_letters/replay"
    answer = await client.call("POST", url, token=client.admin, json=body)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.data
    return found


async def template_taken_over(client: Client, user_id: str, code: str) -> None:
    """Workers remember a version for a few seconds."""

    async def sent() -> bool:
        key = (await client.notify(user_id, code)).data["notification_id"]
        return bool((await client.settled(key))["status"] == "delivered")

    await eventually(sent, within=40, says="the worker fills in the new version")
