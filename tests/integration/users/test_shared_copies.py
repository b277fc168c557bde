"""Copies in Redis: shared, never older than what is there, never believed across a gap, and nothing without them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
import pytest
import redis.asyncio

from carillon.contracts.preferences import Choices
from carillon.kit.errors import Unavailable
from carillon.kit.ids import uuid7
from carillon.users.actions.looking_up import LookUps
from carillon.users.domain.preferences import Person
from carillon.users.providers.shared_cache import Copy, SharedCache
from carillon.users.providers.shared_people import SharedPeople, open_shared_people
from tests.support import servers
from tests.support.proxy import proxy_to
from tests.support.waiting import eventually
from tests.unit.users.fakes import FakePeople


class Table:
    """The database: people by id, how often each was asked for, and whether it is away or held."""

    def __init__(self) -> None:
        self.known: dict[UUID, Person] = {}
        self.asked: list[UUID] = []
        self.away = False
        self.open = asyncio.Event()
        self.open.set()

    def add(self) -> Person:
        person = Person(
            user_id=uuid7(), name="Ada", email="ada@example.com", locale=None, status="active", version=1,
            choices=Choices(), suppressed=False, devices=[],
        )  # fmt: skip
        self.known[person.user_id] = person
        return person

    def known_of(self, user_ids: Sequence[UUID]) -> dict[UUID, Person]:
        return {user_id: self.known[user_id] for user_id in user_ids}

    def change(self, user_id: UUID) -> Person:
        old = self.known[user_id]
        choices = Choices(email=not old.choices.email)
        self.known[user_id] = msgspec.structs.replace(old, version=old.version + 1, choices=choices)
        return self.known[user_id]

    async def people(self, user_ids: Sequence[UUID]) -> list[Person]:
        if self.away:
            raise Unavailable("away")
        self.asked += user_ids
        found = [self.known[user_id] for user_id in user_ids if user_id in self.known]
        await self.open.wait()
        return found


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
async def client(redis_server: servers.RedisServer) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(redis_server.url) as client:
        await client.flushdb()
        yield client


@contextlib.asynccontextmanager
async def process(url: str, *, hearing: bool = True) -> AsyncIterator[SharedPeople]:
    """The copies as one process sees them, and more patient with a busy machine."""
    async with open_shared_people(url, seconds=1) as shared:
        assert shared is not None
        if hearing:
            shared.link_up(60)
        yield shared


@pytest.fixture
async def one(redis_server: servers.RedisServer, client: Any) -> AsyncIterator[SharedPeople]:
    async with process(redis_server.url) as shared:
        yield shared


async def answered(shared: SharedPeople, table: Table, user_id: UUID) -> Person | None:
    return next(iter(await shared.people([user_id], table.people)), None)


async def settled(shared: SharedPeople, table: Table) -> None:
    """Wait until what one reads is there for the next: a start begins an epoch, a busy machine lets Redis rest."""
    probe = table.add().user_id

    async def shelved() -> bool:
        await answered(shared, table, probe)
        before = len(table.asked)
        await answered(shared, table, probe)
        return len(table.asked) == before

    await eventually(shelved)
    table.asked.clear()


async def test_what_one_process_read_the_next_one_finds(
    one: SharedPeople, table: Table, redis_server: servers.RedisServer
) -> None:
    people = [table.add() for _ in range(100)]
    ids = [person.user_id for person in people]
    async with process(redis_server.url) as two:
        await settled(two, table)
        await settled(one, table)

        read = await one.people(ids, table.people)
        found = await two.people([*ids, uuid7()], table.people)

    assert read == people
    assert {person.user_id: person for person in found} == table.known_of(ids)

    assert len(table.asked) == 101, "each once, and the stranger"


async def test_a_slow_reader_does_not_put_the_past_back(
    one: SharedPeople, table: Table, redis_server: servers.RedisServer
) -> None:
    ada = table.add().user_id
    async with process(redis_server.url) as slow:
        await settled(slow, table)
        await settled(one, table)
        table.open.clear()
        reading = asyncio.create_task(answered(slow, table, ada))
        await eventually(lambda: ada in table.asked)

        new = table.change(ada)
        await one.outdate({ada: new.version})
        table.open.set()
        old = await reading

        assert old is not None
        assert old.version == 1, "which its own process discards when it hears of the change"
        assert await answered(one, table, ada) == new


@pytest.mark.parametrize("there", ["a copy", "nothing"])
async def test_after_a_change_nobody_finds_the_old_copy_nor_puts_it_back(
    one: SharedPeople, table: Table, redis_server: servers.RedisServer, there: str
) -> None:
    ada = table.add().user_id
    async with process(redis_server.url) as two:
        await settled(two, table)
        await settled(one, table)
        if there == "a copy":
            await answered(two, table, ada)
        table.open.clear()
        async with process(redis_server.url, hearing=False) as changing:
            reading = asyncio.create_task(two.people([ada, uuid7()], table.people))
            await eventually(lambda: len(table.asked) > 1)
            new = table.change(ada)
            changing.changed(ada)
        table.open.set()
        await reading

        assert await answered(one, table, ada) == new


async def test_whoever_heard_of_a_change_believes_no_older_copy_even_where_redis_was_not_told(
    one: SharedPeople, table: Table
) -> None:
    ada = table.add().user_id
    await settled(one, table)
    await answered(one, table, ada)
    new = table.change(ada)

    one.outdated(ada, new.version)

    assert await answered(one, table, ada) == new
    assert await answered(one, table, ada) == new
    assert table.asked.count(ada) == 2, "and the new copy is there for all"


async def test_whoever_does_not_hear_of_changes_asks_the_database_and_believes_nothing_of_before_afterwards(
    one: SharedPeople, table: Table
) -> None:
    ada = table.add().user_id
    await settled(one, table)
    await answered(one, table, ada)
    one.link_down()
    new = table.change(ada)

    assert await answered(one, table, ada) == new
    newer = table.change(ada)
    one.link_up(60)
    assert await answered(one, table, ada) == newer


@pytest.mark.parametrize(
    "poison",
    [b"", b"!", b"garbage", b"::", b"EPOCH:1:", b"EPOCH:1:\xc1", b"EPOCH:x:\x80", b"EPOCH:1:\x80", b"EPOCH:-1:\x80",
     b"EPOCH:" + b"9" * 5_000 + b":\x80", b"EPOCH:1:BOB", b"EPOCH:7:ADA"],
)  # fmt: skip
async def test_what_is_no_copy_of_this_person_is_a_miss(
    one: SharedPeople, table: Table, client: redis.asyncio.Redis, poison: bytes
) -> None:
    ada, bob = table.add(), table.add()
    await settled(one, table)
    epoch = await client.get("carillon:users:people:1:epoch")
    assert isinstance(epoch, bytes)
    for name, value in {
        b"EPOCH": epoch, b"ADA": msgspec.msgpack.encode(ada), b"BOB": msgspec.msgpack.encode(bob),
    }.items():  # fmt: skip
        poison = poison.replace(name, value)
    await client.set(f"carillon:users:people:1:{ada.user_id}", poison)

    assert await answered(one, table, ada.user_id) == ada
    assert table.asked == [ada.user_id]


async def test_a_key_of_another_type_costs_the_copies_and_no_answer(
    one: SharedPeople, table: Table, client: redis.asyncio.Redis
) -> None:
    ada = table.add()
    await client.rpush("carillon:users:people:1:epoch", "x")

    assert await answered(one, table, ada.user_id) == ada


@pytest.mark.parametrize("trouble", ["cut", "silence"])
async def test_what_was_there_before_redis_was_out_of_reach_of_a_change_is_believed_by_nobody(
    table: Table, redis_server: servers.RedisServer, client: redis.asyncio.Redis, trouble: str
) -> None:
    async with proxy_to(redis_server.url) as proxy:
        ada = table.add().user_id
        async with process(proxy.in_front_of(redis_server.url)) as cut_off, process(redis_server.url) as two:
            await settled(cut_off, table)
            await settled(two, table)
            await answered(two, table, ada)
            proxy.cut() if trouble == "cut" else proxy.silence()
            new = table.change(ada)
            cut_off.changed(ada)
            await cut_off.outdate({ada: new.version})
            assert await answered(cut_off, table, ada) == new, "without Redis the database answers"

            proxy.restore()
            await settled(cut_off, table)

            assert await answered(two, table, ada) == new, "though it heard of nothing"


async def test_a_redis_that_forgot_everything_is_filled_again(
    one: SharedPeople, table: Table, client: redis.asyncio.Redis
) -> None:
    ada = table.add()
    await settled(one, table)
    await answered(one, table, ada.user_id)
    await client.flushall()

    assert await answered(one, table, ada.user_id) == ada
    await settled(one, table)


async def test_keeping_with_the_epoch_of_before_keeps_nothing(
    redis_server: servers.RedisServer, client: redis.asyncio.Redis
) -> None:
    cache = SharedCache(client, prefix="test:", seconds=5)
    shelf = await cache.read(["a"])
    assert shelf is not None
    cache.distrust()
    assert await cache.read(["a"])

    await cache.keep(shelf.epoch, {"a": Copy(1, b"past")})

    now = await cache.read(["a"])
    assert now is not None
    assert now.copies == {}
    await cache.keep(now.epoch, {"a": Copy(1, b"a:b")})
    found = await cache.read(["a"])
    assert found is not None
    assert found.copies == {"a": Copy(1, b"a:b")}
    assert 0 < await client.pttl("test:a") <= 60_000


async def test_while_the_database_is_away_the_copy_is_answered_as_stale_and_never_where_it_is_known_to_be_past(
    one: SharedPeople, table: Table
) -> None:
    ada, bob = table.add().user_id, table.add().user_id
    await settled(one, table)
    for user_id in (ada, bob):
        await answered(one, table, user_id)
    table.away = True
    one.link_down()
    one.outdated(bob, 2)
    look_ups = LookUps(table, FakePeople(), fresh_seconds=30, stale_seconds=3600, shared=one)

    found = await look_ups.preferences(ada)

    assert (found.source, found.value.version) == ("stale", 1)
    with pytest.raises(Unavailable):
        await look_ups.preferences(bob)
    with pytest.raises(Unavailable):
        await look_ups.contact(ada, "email", None)
    strict = LookUps(table, FakePeople(), fresh_seconds=1, stale_seconds=10, shared=one)
    with pytest.raises(Unavailable):
        await strict.preferences(ada)
