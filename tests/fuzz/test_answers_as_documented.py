"""Whoever asks, and whatever is asked: no 500, and no answer that the OpenAPI document does not name and describe."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest

from tests.fakes.fcm import fake_fcm
from tests.fakes.smtp import fake_smtp
from tests.fuzz.asking import ALIASES, NAMING, Asker, ask, ask_as
from tests.fuzz.conftest import WITHOUT_LIMITS, asker_of
from tests.support.platform import Platform, all_in_one, five_processes, towards
from tests.support.servers import PostgresServer, RabbitServer

OTHERS = ["application", "email_worker", "gateway", "nobody"]
FOR_SERVICES = {
    "gateway": ["POST /api/v1/auth/introspect", "POST /api/v1/users/contacts"],
    "email_worker": [
        "GET /api/v1/users/{user_id}/contact",
        "POST /api/v1/users/devices/invalid",
        "POST /api/v1/email/status",
        "POST /api/v1/push/status",
    ],
}
ONE_A_MINUTE = {
    "CARILLON_LOG_LEVEL": "warning",
    "CARILLON_REGISTRATIONS_PER_MINUTE": "1",
    "CARILLON_LOGINS_PER_MINUTE": "1",
}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_bound_of_every_operation_is_kept(platform: Platform, asker: Asker, folder: Path) -> None:
    """Just inside and outside of each constraint; those of a person's name take half a minute: only in the deep run."""
    without = [*ALIASES, *NAMING]
    ask_as(asker, platform.gateway, folder, users=platform.users, phases="coverage", without=without)


@pytest.mark.timeout(400)
def test_an_administrator_asks_at_random_and_in_a_row(platform: Platform, asker: Asker, folder: Path) -> None:
    phases = "examples,fuzzing,stateful"
    ask_as(asker, platform.gateway, folder, users=platform.users, phases=phases, examples=10, without=ALIASES)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("caller", OTHERS)
def test_others_ask_at_random(platform: Platform, callers: Mapping[str, str], folder: Path, caller: str) -> None:
    only = FOR_SERVICES.get(caller, ())
    examples = 20 if only else 2
    ask(
        platform.gateway, folder, token=callers[caller], phases="fuzzing", examples=examples, only=only, without=ALIASES
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_administrator_asks_for_minutes(platform: Platform, asker: Asker, folder: Path) -> None:
    ask_as(asker, platform.gateway, folder, users=platform.users, examples=300, seconds=150)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("caller", OTHERS)
def test_others_ask_for_a_while(platform: Platform, callers: Mapping[str, str], folder: Path, caller: str) -> None:
    """They differ from an administrator in what they may do, not in what is read."""
    ask(platform.gateway, folder, token=callers[caller], phases="fuzzing,stateful", examples=300, seconds=40)


@pytest.mark.timeout(240)
async def test_used_up_limits_are_answered_as_documented(folder: Path) -> None:
    with all_in_one(folder, ONE_A_MINUTE) as limited:
        only = ["POST /api/v1/users", "POST /api/v1/auth/login"]
        await asyncio.to_thread(ask, limited.gateway, folder, phases="examples,fuzzing", examples=5, only=only)

        body = {"email": "nobody@example.com", "password": "correct horse battery"}
        async with aiohttp.ClientSession() as session:
            for _ in range(3):
                async with session.post(f"{limited.gateway}/api/v1/auth/login", json=body) as answer:
                    last = await answer.json()
        assert (answer.status, last["error"]) == (429, "rate_limited")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_service_apart_answers_its_own_document(
    folder: Path, postgres_server: PostgresServer, rabbitmq_server: RabbitServer
) -> None:
    with (
        fake_smtp() as smtp,
        fake_fcm() as fcm,
        five_processes(
            folder, {**towards(smtp, fcm, folder), **WITHOUT_LIMITS}, postgres_server, rabbitmq_server
        ) as apart,
    ):
        asker = asyncio.run(asker_of(apart))
        for _, environment in apart.environments.values():
            phases = "examples,fuzzing"
            ask_as(asker, environment["READY_URL"], folder, users=apart.users, phases=phases, examples=10)
