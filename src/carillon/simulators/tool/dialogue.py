"""The lines of SMTP: reading commands and contents within bounds, and what a command says."""

import asyncio
import re
from typing import Final

from carillon.simulators.domain.mail import clean

LONGEST_LINE: Final = 1 << 15
_ADDRESS = re.compile(rb"\s*<(?:@[^:<>]*:)?([^<>\x00-\x1f\x7f]{0,998})>(?:\s[^\r\n]*)?")
_MESSAGE_ID = re.compile(rb"^message-id:\s*(<[^<>\r\n]{1,900}>)", re.IGNORECASE | re.MULTILINE)
_HEAD: Final = 1 << 16


class TooLong(Exception):
    """A command without an end in sight."""


async def read_command(reader: asyncio.StreamReader, *, seconds: float) -> bytes | None:
    """One line without its end; None when the client has left. Raises TooLong, TimeoutError."""
    try:
        async with asyncio.timeout(seconds):
            return (await reader.readuntil(b"\n")).rstrip(b"\r\n")
    except asyncio.LimitOverrunError:
        raise TooLong from None
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def read_content(
    reader: asyncio.StreamReader, *, seconds: float, max_bytes: int, stop_after: int | None = None
) -> bytes | None:
    """What DATA carries, its dots unstuffed: one byte more than `max_bytes` where it is too much; None when the client
    has left, or `stop_after` bytes have come. Raises TimeoutError.

    Only CRLF, dot, CRLF ends it: a lone line feed never does, so that nobody smuggles a second mail.
    """
    async with asyncio.timeout(seconds):  # for all of it: one for each line costs more than the line
        return await _content(reader, max_bytes, stop_after)


async def _content(reader: asyncio.StreamReader, max_bytes: int, stop_after: int | None) -> bytes | None:
    content, last = bytearray(), b"\r\n"
    while stop_after is None or len(content) < stop_after:
        piece = await _piece(reader)
        if piece is None:
            return None
        begins, last = last == b"\r\n", (last + piece)[-2:]
        if begins and piece == b".\r\n":
            return bytes(content)
        if begins and piece.startswith(b"."):
            piece = piece[1:]
        content += piece[: max(0, max_bytes + 1 - len(content))]
    return None


async def _piece(reader: asyncio.StreamReader) -> bytes | None:
    """A line, or as much of a long one as has come."""
    try:
        return await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError as error:
        return await reader.readexactly(max(1, error.consumed))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def address_of(rest: bytes, word: bytes) -> str | None:
    """The address in `FROM:<…>` or `TO:<…>`; None where there is none."""
    if rest[: len(word)].upper() != word:
        return None
    found = _ADDRESS.fullmatch(rest[len(word) :])
    return None if found is None else clean(found[1].decode("utf-8", "surrogateescape"))


def message_id_of(content: bytes) -> str | None:
    head = content[:_HEAD].partition(b"\r\n\r\n")[0]
    found = _MESSAGE_ID.search(head)
    return None if found is None else clean(found[1].decode("utf-8", "surrogateescape"))
