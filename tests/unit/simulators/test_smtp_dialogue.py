"""The lines of SMTP are read the same however they are cut into packets."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.email_worker.providers.line import stuffed
from carillon.simulators.tool.dialogue import TooLong, address_of, message_id_of, read_command, read_content

LIMIT = 8


def fed(raw: bytes, *, cuts: list[int], limit: int = LIMIT, ends: bool = True) -> asyncio.StreamReader:
    """A reader to whom `raw` comes in pieces, of which it holds but few bytes."""
    reader = asyncio.StreamReader(limit=limit)
    places = sorted({cut for cut in cuts if cut < len(raw)})
    for start, end in zip([0, *places], [*places, len(raw)], strict=True):
        reader.feed_data(raw[start:end])
    if ends:
        reader.feed_eof()
    return reader


async def content_of(raw: bytes, *, cuts: list[int], max_bytes: int = 10_000) -> bytes | None:
    return await read_content(fed(raw, cuts=cuts), seconds=5, max_bytes=max_bytes)


@given(
    lines=st.lists(st.text(alphabet=".ax\r\n", max_size=20), max_size=12),
    cuts=st.lists(st.integers(1, 200), max_size=12),
)
async def test_a_content_comes_out_as_it_was_stuffed(lines: list[str], cuts: list[int]) -> None:
    content = "\r\n".join(lines).encode()
    sent = stuffed(content)

    heard = await content_of(sent + b"NOOP\r\n", cuts=cuts)

    assert heard is not None
    assert stuffed(heard) == sent


@pytest.mark.parametrize("length", range(2 * LIMIT, 4 * LIMIT))
async def test_an_end_of_line_at_any_place_of_the_buffer_is_seen(length: int) -> None:
    line = b"x" * length + b"\r\n"

    assert await content_of(line + b".\r\n", cuts=[]) == line


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.x\r\n", b"\r\n..\r\n"])
async def test_nothing_but_a_dot_between_two_whole_ends_of_line_is_an_end(end: bytes) -> None:
    heard = await content_of(b"one" + end + b"two\r\n.\r\n", cuts=[])

    assert heard is not None
    assert heard.endswith(b"two\r\n")


async def test_too_much_is_read_to_its_end_and_not_kept() -> None:
    reader = fed(b"x" * 5_000 + b"\r\n.\r\nNOOP\r\n", cuts=[])

    heard = await read_content(reader, seconds=5, max_bytes=100)

    assert heard == b"x" * 101
    assert await read_command(reader, seconds=5) == b"NOOP"


async def test_a_content_without_an_end_is_none_and_so_is_one_that_is_cut_off_on_purpose() -> None:
    assert await content_of(b"half of it", cuts=[]) is None
    assert await read_content(fed(b"x" * 90, cuts=[], ends=False), seconds=5, max_bytes=100, stop_after=10) is None


async def test_a_command_without_an_end_is_too_long() -> None:
    with pytest.raises(TooLong):
        await read_command(fed(b"x" * 100, cuts=[], ends=False), seconds=5)


@pytest.mark.parametrize(
    ("rest", "address"),
    [
        (b"TO:<ada@example.com>", "ada@example.com"),
        (b"to: <ada@example.com> NOTIFY=NEVER", "ada@example.com"),
        (b"TO:<@relay.example,@b:ada@example.com>", "ada@example.com"),
        ("TO:<åda@exämple.com>".encode(), "åda@exämple.com"),
        (b"TO:<>", ""),
        (b"TO:ada@example.com", None),
        (b"TO:<a\x00b@c>", None),
        (b"TO:<" + b"a" * 1_000 + b">", None),
        (b"FROM:<ada@example.com>", None),
        (b"", None),
    ],
)
def test_an_address_stands_in_angle_brackets(rest: bytes, address: str | None) -> None:
    assert address_of(rest, b"TO:") == address


@pytest.mark.parametrize(
    ("content", "message_id"),
    [
        (b"Subject: x\r\nmessage-id: <a@b>\r\n\r\nHello", "<a@b>"),
        (b"Message-ID:\r\n <a@b>\r\n\r\nHello", "<a@b>"),
        (b"Subject: x\r\n\r\nMessage-ID: <a@b>\r\n", None),
        (b"Message-ID: none\r\n\r\n", None),
        (b"Message-ID: <" + b"a" * 2_000 + b">\r\n\r\n", None),
        (b"\xff" * 100, None),
    ],
)
def test_the_message_id_is_the_heads(content: bytes, message_id: str | None) -> None:
    assert message_id_of(content) == message_id
