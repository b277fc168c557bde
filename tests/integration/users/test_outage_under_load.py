"""Redis killed, then PostgreSQL, under look-ups and changes: no answer is wrong, and everything comes back by itself.

What every answer is held against: the versions that were committed, the values they had, and when that was known. An
answer that is not marked stale may miss only what was committed within the bound before it was asked for.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec
import pytest

from carillon.users.settings import UsersSettings
from tests.integration.users.client import UsersApi
from tests.integration.users.processes import process
from tests.support import servers
from tests.support.waiting import eventually

log = logging.getLogger(__name__)
BOUND_SECONDS = 6.0
"""Far below the hour for which entries are fresh here, well above the second that is promised: machines are busy."""
PEOPLE, READERS, WRITERS = 30, 6, 2
TROUBLE = (aiohttp.ClientError, TimeoutError)


@dataclass(repr=False)
class History:
    """What became of one user. Only one writer changes them, so that versions are known in order."""

    path: str
    token: str
    committed: dict[int, bool] = field(default_factory=dict)
    acknowledged: list[tuple[float, int]] = field(default_factory=list)
    uncertain: set[bool] = field(default_factory=set)

    def confirm(self, version: int, *, email: bool) -> None:
        self.committed[version] = email
        self.acknowledged.append((time.monotonic(), version))

    @property
    def newest(self) -> int:
        return self.acknowledged[-1][1]

    def wrong(self, asked_at: float, version: int, *, email: bool, stale: bool) -> str:
        """Why no user may be answered this; empty when they may."""
        if version in self.committed:
            if self.committed[version] is not email:
                return f"version {version} never said {email}"
        elif email not in self.uncertain:
            return f"version {version} was never written"
        floor = max((v for at, v in self.acknowledged if at < asked_at - BOUND_SECONDS), default=1)
        return f"version {version} is older than {floor}" if version < floor and not stale else ""


@dataclass(repr=False)
class Storm:
    """Readers and writers on several processes, and what they met."""

    apis: list[UsersApi]
    people: list[History]
    met: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def raging(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._read()) for _ in range(READERS)]
        tasks += [asyncio.create_task(self._write(number)) for number in range(WRITERS)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in done), done

    async def _read(self) -> None:
        while True:
            await asyncio.sleep(random.uniform(0, 0.02))
            api = random.choice(self.apis)
            if random.random() < 0.05:
                await self._ask_for_nobody(api)
            else:
                await self.ask(api, random.choice(self.people))

    async def _write(self, number: int) -> None:
        """Every writer has its own people. What was not acknowledged may have been committed all the same."""
        mine = self.people[number::WRITERS]
        while True:
            await asyncio.sleep(random.uniform(0, 0.05))
            person, email = random.choice(mine), random.random() < 0.5
            person.uncertain.add(email)
            try:
                answer = await self._call(
                    random.choice(self.apis), "PATCH", person.path, token=person.token, body={"email": email}
                )
            except TROUBLE:
                self.met["write: no answer"] += 1
                continue
            self.met[f"write: {answer.status}"] += 1
            if answer.status == 200:
                person.confirm(answer.data["version"], email=answer.data["email"])
            elif answer.status != 503:
                self.wrong.append(f"a write was answered {answer.status}")

    async def ask(self, api: UsersApi, person: History) -> bool:
        """True for an answer that is not stale and has the newest version that was acknowledged, or a newer one."""
        asked_at, newest = time.monotonic(), person.newest
        try:
            answer = await self._call(api, "GET", person.path, token=person.token)
        except TROUBLE:
            self.met["read: no answer"] += 1
            return False
        if answer.status != 200:
            self.met[f"read: {answer.status}"] += 1
            if answer.status != 503 or not answer.headers.get("Retry-After"):
                self.wrong.append(f"a look-up was answered {answer.status}")
            return False
        stale = answer.body["message"] == "stale"
        self.met["read: stale" if stale else "read: 200"] += 1
        self._judge(person, asked_at, answer.data, stale=stale, warning=answer.headers.get("Warning", ""))
        return not stale and answer.data["version"] >= newest

    def _judge(self, person: History, asked_at: float, data: dict[str, Any], *, stale: bool, warning: str) -> None:
        # An acknowledgement may still be on its way to the writer while a reader has the value in hand.
        if wrong := person.wrong(asked_at, data["version"], email=data["email"], stale=stale):
            self.wrong.append(wrong)
        if stale is not warning.startswith("110"):
            self.wrong.append("stale, and no Warning, or the other way round")

    async def _ask_for_nobody(self, api: UsersApi) -> None:
        try:
            answer = await self._call(api, "GET", f"/v1/users/{uuid4()}/preferences", token=self.people[0].token)
        except TROUBLE:
            return
        if answer.status not in {404, 503}:
            self.wrong.append(f"nobody was answered {answer.status}")

    async def _call(self, api: UsersApi, method: str, path: str, **rest: Any) -> Any:
        async with asyncio.timeout(20):
            return await api.call(method, path, **rest)

    async def recovered(self) -> bool:
        """Everybody is answered by every process, unmarked and with what was last acknowledged."""
        return all([await self.ask(api, person) for api in self.apis for person in self.people])

    def met_since(self, before: "Counter[str]") -> dict[str, int]:
        return dict(sorted((self.met - before).items()))


@asynccontextmanager
async def storm(settings: UsersSettings, folder: Path) -> AsyncIterator[Storm]:
    """Two processes, and people whom both remember."""
    async with AsyncExitStack() as stack:
        hour = {"CARILLON_CACHE_SECONDS": "3600"}
        apis = [await stack.enter_async_context(process(settings, folder, **hour)) for _ in range(2)]
        people = []
        for _ in range(PEOPLE):
            user, token = await apis[0].someone()
            path = f"/v1/users/{user['user_id']}/preferences"
            person = History(path, token)
            person.confirm((await apis[0].call("GET", path, token=token)).data["version"], email=True)
            people.append(person)
        raging = Storm(apis, people)
        assert await raging.recovered()
        yield raging


async def phase(storm: Storm, name: str, seconds: float, change: Callable[[], None] | None = None) -> None:
    """Let something happen, and the storm rage on with it."""
    before = storm.met.copy()
    if change is not None:
        await asyncio.to_thread(change)
    await asyncio.sleep(seconds)
    log.info("%s: %s", name, storm.met_since(before))


def refusals(met: dict[str, int]) -> dict[str, int]:
    """Marked answers are none: on a busy machine a database that takes longer than a second counts as away."""
    return {what: count for what, count in met.items() if what not in {"read: 200", "read: stale", "write: 200"}}


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_postgresql_and_redis_killed_under_load_while_changes_are_heard_of_no_answer_is_wrong(
    settings: UsersSettings,
    tmp_path: Path,
    postgres_server: servers.PostgresServer,
    redis_server: servers.RedisServer,
    rabbitmq_server: servers.RabbitServer,
) -> None:
    """The other way round, with a broker that stays: what is remembered is known to be true, and is not marked."""
    shared = msgspec.structs.replace(settings, redis_url=redis_server.url, broker_url=rabbitmq_server.virtual_host())
    async with storm(shared, tmp_path) as raging:
        try:
            async with raging.raging():
                await phase(raging, "all well", 4)
                await phase(raging, "PostgreSQL killed", 5, postgres_server.kill)
                await phase(raging, "Redis killed too", 4, redis_server.kill)
        finally:
            await asyncio.to_thread(redis_server.start)
            await asyncio.to_thread(postgres_server.start)
        await eventually(raging.recovered, within=60, says="everybody is told what was committed last")
        before = raging.met.copy()
        async with raging.raging():
            await phase(raging, "all well again", 4)

    assert not raging.wrong, (len(raging.wrong), raging.wrong[:5])
    assert refusals(raging.met_since(before)) == {}, "nobody is refused once both are back"
    assert raging.met["write: 503"] + raging.met["write: no answer"], "no write was promised meanwhile"


@pytest.mark.timeout(300)
async def test_redis_and_postgresql_killed_under_load_no_answer_is_wrong_and_all_is_well_afterwards(
    settings: UsersSettings,
    tmp_path: Path,
    postgres_server: servers.PostgresServer,
    redis_server: servers.RedisServer,
) -> None:
    shared = msgspec.structs.replace(settings, redis_url=redis_server.url)
    async with storm(shared, tmp_path) as raging:
        try:
            async with raging.raging():
                await phase(raging, "all well", 4)
                await phase(raging, "Redis killed", 5, redis_server.kill)
                await phase(raging, "PostgreSQL killed too", 4, postgres_server.kill)
        finally:
            await asyncio.to_thread(postgres_server.start)
            await asyncio.to_thread(redis_server.start)
        back = time.monotonic()
        async with raging.raging():
            await asyncio.sleep(1)
        await eventually(raging.recovered, within=60, says="everybody is told what was committed last")
        log.info("recovered %.1f s after both were back", time.monotonic() - back)
        before = raging.met.copy()
        async with raging.raging():
            await phase(raging, "all well again", 2)

    assert not raging.wrong, (len(raging.wrong), raging.wrong[:5])
    calm = raging.met_since(before)
    assert refusals(calm) == {}, "nobody is refused once both are back"
    assert calm["read: 200"]
    assert calm["write: 200"]
    assert raging.met["read: stale"], "what was remembered was answered while PostgreSQL was away"
    assert raging.met["write: 503"] + raging.met["write: no answer"], "and no write was promised"
