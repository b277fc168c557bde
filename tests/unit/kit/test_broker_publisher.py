"""Confirmed publishes: every parcel has its own end, the window is kept, nothing is written to who does not read."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID, uuid4

import pamqp.frame
from pamqp import commands as spec
from pamqp.header import ContentHeader

from carillon.kit.broker.rabbitmq.publishing import LATE, LOST, NO_QUEUE, WINDOW, Parcel, Publisher
from carillon.kit.broker.rabbitmq.tap import Tap
from tests.support.waiting import eventually


class Server:
    """The other end: keeps what was written, and answers what it is told to."""

    def __init__(self) -> None:
        self.clogged = False
        self.writes: list[bytes] = []
        self.publisher = Publisher(cast(Tap, self), 1, largest_frame=4096)

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    @property
    def ids(self) -> list[str | None]:
        """Message ids in the order of writing."""
        found, data = list[str | None](), b"".join(self.writes)
        while data:
            size, _, frame = pamqp.frame.unmarshal(data)
            if isinstance(frame, ContentHeader):
                found.append(frame.properties.message_id if frame.properties else None)
            data = data[size:]
        return found

    def says(self, *answers: Any) -> None:
        for answer in answers:
            kind = 2 if isinstance(answer, ContentHeader) else 1
            self.publisher.takes(kind, pamqp.frame.marshal(answer, 1)[7:-1])
        self.publisher.read()

    def returns(self, message_id: str) -> None:
        properties = spec.Basic.Properties(message_id=message_id)
        self.says(spec.Basic.Return(312, "NO_ROUTE", "", "q"), ContentHeader(properties=properties))


def parcels(count: int, *, message_id: UUID | None = None) -> list[Parcel]:
    return [Parcel("direct", "q", b"x", {"k": "v"}, message_id or uuid4()) for _ in range(count)]


async def publishing(
    server: Server, given: Sequence[Parcel], *, within: float = 10.0
) -> "asyncio.Task[dict[int, str]]":
    """Under way: the first window is written."""
    task = asyncio.create_task(server.publisher.publish(given, within=within))
    await asyncio.sleep(0)
    return task


async def test_one_confirm_for_all_ends_the_publish_and_all_went_in_one_write() -> None:
    server = Server()
    task = await publishing(server, parcels(5))

    server.says(spec.Basic.Ack(5, True))

    assert await task == {}
    assert len(server.writes) == 1


async def test_a_publish_does_not_end_before_the_last_confirm() -> None:
    server = Server()
    task = await publishing(server, parcels(3))

    server.says(spec.Basic.Ack(3, False), spec.Basic.Ack(1, False))
    await asyncio.sleep(0)
    assert not task.done()
    server.says(spec.Basic.Ack(2, False))

    assert await task == {}


async def test_a_refused_parcel_fails_and_its_neighbours_do_not() -> None:
    server = Server()
    task = await publishing(server, parcels(3))

    server.says(spec.Basic.Nack(2, False), spec.Basic.Ack(3, True))

    assert await task == {1: "the queue for q refuses messages now"}


async def test_a_returned_parcel_fails_although_it_is_confirmed() -> None:
    server, given = Server(), parcels(3)
    task = await publishing(server, given)

    server.returns(str(given[1].message_id))
    server.says(spec.Basic.Ack(3, True))

    assert await task == {1: NO_QUEUE}


async def test_two_messages_of_one_id_are_told_apart_when_one_comes_back() -> None:
    server = Server()
    task = await publishing(server, parcels(2, message_id=UUID(int=7)))
    first, second = server.ids
    assert first is not None
    assert second is not None
    assert first != second

    server.returns(second)
    server.says(spec.Basic.Ack(2, True))

    assert await task == {1: NO_QUEUE}


async def test_an_id_is_free_again_once_it_is_confirmed() -> None:
    server = Server()
    for tag in (1, 2):
        task = await publishing(server, parcels(1, message_id=UUID(int=7)))
        server.says(spec.Basic.Ack(tag, False))
        assert await task == {}

    assert server.ids == [str(UUID(int=7))] * 2


async def test_no_more_than_the_window_is_under_way() -> None:
    server = Server()
    task = await publishing(server, parcels(WINDOW + 10))
    assert len(server.ids) == WINDOW

    server.says(spec.Basic.Ack(WINDOW, True))
    assert len(server.ids) == WINDOW + 10
    server.says(spec.Basic.Ack(WINDOW + 10, True))

    assert await task == {}


async def test_what_was_under_way_when_the_connection_broke_is_not_known_to_be_durable() -> None:
    server = Server()
    task = await publishing(server, parcels(3))
    server.says(spec.Basic.Ack(1, False))

    server.publisher.lost()

    assert await task == {1: LOST, 2: LOST}
    assert await server.publisher.publish(parcels(2), within=10) == {0: LOST, 1: LOST}


async def test_a_refusal_stays_the_reason_when_the_connection_breaks_afterwards() -> None:
    server = Server()
    task = await publishing(server, parcels(2))
    server.says(spec.Basic.Nack(1, False))

    server.publisher.lost()

    assert await task == {0: "the queue for q refuses messages now", 1: LOST}


async def test_confirms_that_do_not_come_are_waited_for_so_long_and_harm_nobody_later() -> None:
    server = Server()

    assert await server.publisher.publish(parcels(2), within=0.01) == {0: LATE, 1: LATE}

    task = await publishing(server, parcels(1))
    server.says(spec.Basic.Ack(2, True))
    await asyncio.sleep(0)
    assert not task.done()
    server.says(spec.Basic.Ack(3, False))
    assert await task == {}


async def test_nothing_is_written_to_a_server_that_does_not_read() -> None:
    server = Server()
    server.clogged = True
    task = await publishing(server, parcels(2))
    assert not server.writes

    server.clogged = False
    server.publisher.resumed()
    await eventually(lambda: server.writes)
    server.says(spec.Basic.Ack(2, True))

    assert await task == {}


async def test_what_waits_for_a_clogged_server_ends_with_the_connection() -> None:
    server = Server()
    server.clogged = True
    task = await publishing(server, parcels(2))

    server.publisher.lost()

    assert await task == {0: LOST, 1: LOST}


async def test_a_parcel_that_amqp_cannot_carry_fails_alone() -> None:
    server, good = Server(), parcels(2)
    bad = Parcel("direct", "q", b"x", {"k" * 300: "v"}, uuid4())
    task = await publishing(server, [good[0], bad, good[1]])

    server.says(spec.Basic.Ack(2, True))

    assert await task == {1: "it cannot be put into AMQP: ValueError"}


async def test_nothing_at_all_is_published_at_once() -> None:
    assert await Server().publisher.publish([], within=10) == {}
