"""The tap: a channel's messages go to its taker whole, however they arrive; the library gets all the rest."""

import asyncio
from collections.abc import Callable, Sequence

import pamqp.frame
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from carillon.kit.broker.rabbitmq import frames
from carillon.kit.broker.rabbitmq.tap import Contents, Tap

OTHER = pamqp.frame.marshal(spec.Queue.DeclareOk("q", 1, 1), 1)
CANCEL = pamqp.frame.marshal(spec.Basic.Cancel("carillon"), 2)


class Kept(Contents):
    """A taker that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[tuple[tuple[int, bool], bytes]] = []
        self.reads = 0

    def complete(self, method: bytes, header: bytes, body: bytes) -> None:
        assert frames.size_of(header) == len(body)
        self.messages.append((frames.delivered(method), body))

    def read(self) -> None:
        self.reads += 1


async def fed(pieces: Sequence[bytes], taker: Kept, *, clock: Callable[[], float] = lambda: 0.0) -> bytes:
    """What the library reads after a server has sent these pieces."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    tap = Tap(reader, loop, clock=clock)
    tap.take(2, taker)
    for piece in pieces:
        tap.data_received(piece)
    reader.feed_eof()
    return await reader.read()


def message(channel: int, tag: int, body: bytes, *, cut: int = 50) -> bytes:
    """As a server sends it, the body in pieces."""
    parts: list[pamqp.frame.FrameTypes] = [
        spec.Basic.Deliver("carillon", tag, False, "", "q"),
        ContentHeader(body_size=len(body), properties=spec.Basic.Properties(message_id="m")),
        *(ContentBody(body[at : at + cut]) for at in range(0, len(body), cut)),
    ]
    return b"".join(pamqp.frame.marshal(part, channel) for part in parts)


@given(st.lists(st.binary(max_size=120), max_size=4), st.integers(1, 40))
def test_messages_arrive_whole_in_whatever_pieces_they_come(bodies: list[bytes], piece: int) -> None:
    stream = b"".join(OTHER + message(2, tag, body) for tag, body in enumerate(bodies, start=1)) + CANCEL
    taker = Kept()

    library = asyncio.run(fed([stream[at : at + piece] for at in range(0, len(stream), piece)], taker))

    assert taker.messages == [((tag, False), body) for tag, body in enumerate(bodies, start=1)]
    assert library == OTHER * len(bodies) + CANCEL


async def test_messages_of_a_channel_without_a_taker_are_the_librarys() -> None:
    taker, stream = Kept(), message(3, 1, b"not ours")

    assert await fed([stream], taker) == stream
    assert not taker.messages


async def test_a_handful_is_told_once() -> None:
    taker = Kept()

    await fed([message(2, 1, b"a") + message(2, 2, b"b") + message(2, 3, b"c")], taker)

    assert (len(taker.messages), taker.reads) == (3, 1)


async def test_a_busy_server_counts_as_alive_although_it_sends_no_heartbeat() -> None:
    times = iter([10.0, 10.5, 11.5, 12.0])

    library = await fed([message(2, tag, b"x") for tag in range(1, 5)], Kept(), clock=lambda: next(times))

    assert library == frames.HEARTBEAT * 2


async def test_what_is_no_amqp_is_the_librarys_to_complain_about() -> None:
    assert await fed([b"HTTP/1.1 400 Bad Request\r\n\r\n"], Kept()) == b"HTTP/1.1 400 Bad Request\r\n\r\n"


async def test_a_frame_without_end_is_not_waited_for() -> None:
    head = frames.HEAD.pack(frames.BODY, 2, 2**31)

    assert await fed([head + b"x" * 9], Kept()) == head + b"x" * 9


async def test_a_channel_that_gets_the_number_of_one_that_has_gone_is_not_robbed_by_its_taker() -> None:
    loop = asyncio.get_running_loop()
    tap, gone, follower = Tap(asyncio.StreamReader(loop=loop), loop), Kept(), Kept()
    tap.take(2, gone)

    tap.release(2)
    tap.data_received(message(2, 1, b"for the library"))
    tap.take(2, follower)
    tap.data_received(message(2, 1, b"for the follower"))

    assert (gone.messages, [body for _, body in follower.messages]) == ([], [b"for the follower"])
