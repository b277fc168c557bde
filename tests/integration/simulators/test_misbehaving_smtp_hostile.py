"""The mail simulator among hostile clients: bounded, and alive for the next one."""

import asyncio

import pytest

from tests.integration.simulators.misbehaving import CONTENT, Simulated, simulated
from tests.support.waiting import eventually

_ENVELOPE = b"EHLO me\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<ada@example.com>\r\n"


async def said_to(smtp: Simulated, *pieces: bytes) -> bytes:
    """All that is answered until the simulator closes, which it does when we have nothing more to say."""
    reader, writer = await asyncio.open_connection("127.0.0.1", smtp.port)
    heard = b""
    try:
        async with asyncio.timeout(20):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            writer.write_eof()
            while read := await reader.read(1 << 16):
                heard += read
    except OSError:
        return heard
    finally:
        writer.close()
    return heard


@pytest.mark.parametrize(
    "said",
    [
        b"\r\n" * 10,
        b"MAIL",
        b"HELO me\r\nRCPT TO:<a@b>\r\n",
        b"MAIL FROM:<a@b\r\n",
        b"MAIL FROM:" + b"<" * 500 + b"\r\n",
        b"HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<>\r\n",
        b"HELO me\r\nMAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\n",
        b"HELO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a\x00b@c>\r\n",
        b"\xff\xfe\x00" * 40 + b"\r\n",
        b"DATA\r\n",
        b"AUTH PLAIN\r\n",
        b"AUTH NTLM\r\n",
        b"AUTH PLAIN\r\n" + b"x" * 100_000,
        b"x" * 200_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"NONSENSE\r\n" * 100,
        _ENVELOPE + b"DATA\r\n" + b"x" * 300_000,
        _ENVELOPE + b"QUIT\r\n",
    ],
)
async def test_nonsense_is_refused_and_the_next_mail_is_taken(said: bytes) -> None:
    async with simulated("smtp") as smtp:
        await said_to(smtp, said)

        assert "2.0.0" in await smtp.mail("bob@example.com")


async def test_a_line_without_an_end_closes_the_connection() -> None:
    async with simulated("smtp") as smtp:
        heard = await said_to(smtp, b"NOOP " + b"x" * 50_000, b"\r\nNOOP\r\n")

    assert b"250" not in heard


async def test_too_many_mistakes_close_the_connection() -> None:
    async with simulated("smtp") as smtp:
        heard = await said_to(smtp, b"NONSENSE\r\n" * 25)

    assert heard.count(b"500 5.5.2") == 19
    assert heard.split(b"\r\n")[-2].startswith(b"421 4.7.0")


async def test_too_big_a_mail_is_refused_with_bounded_memory_and_the_connection_goes_on() -> None:
    async with simulated("smtp", max_bytes=1_000, keep_bytes=1 << 20) as smtp:
        heard = await said_to(smtp, _ENVELOPE, b"DATA\r\n" + b"y" * 100_000, b"\r\n.\r\nNOOP\r\n")
        (entry,) = await smtp.received()

    assert heard.split(b"\r\n")[-3].startswith(b"552 5.3.4")
    assert heard.split(b"\r\n")[-2].startswith(b"250")
    assert (entry["verdict"], entry["size"]) == ("refused", 0)


async def test_a_lone_line_feed_smuggles_no_second_mail() -> None:
    smuggled = b"\n.\nMAIL FROM:<evil@b>\r\nRCPT TO:<evil@b>\r\nDATA\r\nx"
    async with simulated("smtp") as smtp:
        await said_to(smtp, _ENVELOPE + b"DATA\r\n" + CONTENT + smuggled + b"\r\n.\r\nQUIT\r\n")
        entries = await smtp.received()

    assert [entry["to"] for entry in entries] == ["ada@example.com"]


async def test_an_address_that_is_no_text_is_told_as_one() -> None:
    async with simulated("smtp") as smtp:
        said = _ENVELOPE.replace(b"ada", b"ad\xff") + b"DATA\r\n" + CONTENT + b".\r\nQUIT\r\n"
        await said_to(smtp, said)

        (entry,) = await eventually(smtp.received)

    assert entry["to"] == "ad\ufffd@example.com"


async def test_a_thousand_connections_and_the_next_is_told_so() -> None:
    async with simulated("smtp") as smtp:
        held = [await asyncio.open_connection("127.0.0.1", smtp.port) for _ in range(1_000)]
        try:
            for reader, _ in held:
                async with asyncio.timeout(10):
                    assert (await reader.readline()).startswith(b"220")
            reader, writer = await asyncio.open_connection("127.0.0.1", smtp.port)
            async with asyncio.timeout(10):
                assert (await reader.read()).startswith(b"421 4.7.0")
            writer.close()
        finally:
            for _, writer in held:
                writer.close()

        async def taken() -> bool:
            return b"354" in await said_to(smtp, _ENVELOPE + b"DATA\r\n")

        await eventually(taken, says="there is room again")
