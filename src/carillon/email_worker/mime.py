"""Mail as bytes: headers that nobody can break out of, bodies that every server takes, CRLF throughout.

Written out by hand because the standard library needs more than 1,000 µs a message; the tests read it back with it.
"""

import base64
import binascii
import re
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache

_LINE, _LONGEST_LINE = 76, 998
_ENCODED_BYTES = 45  # of UTF-8 in one encoded word of at most 75 characters
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+\-/^_`{|}~ ]{1,60}")
_QUOTED_SPECIALS = str.maketrans({"\\": "\\\\", '"': '\\"'})


def header(name: str, text: str) -> str:
    """One unstructured header line, folded and encoded (RFC 2047) where need be. Line breaks become spaces."""
    line = flat(text)
    first = len(name) + 2
    return f"{name}: {_folded(line, first) if _plain(line) else encoded(line, first)}\r\n"


def mailbox(name: str, address: str) -> str:
    """`Name <address>` for From and To; the name is quoted or encoded where need be, the address stands as it is."""
    shown = flat(name)
    if not shown:
        return address
    if _ATOMS.fullmatch(shown):
        return f"{shown} <{address}>"
    if not _plain(shown) or len(shown) > _LINE:
        return f"{encoded(shown, 6)}\r\n <{address}>"
    return f'"{shown.translate(_QUOTED_SPECIALS)}" <{address}>'


def encoded(text: str, first: int) -> str:
    """Encoded words in base64, never splitting a character; `first` columns of the first line are taken."""
    words, word, room = [], bytearray(), _ENCODED_BYTES - first * 3 // 4
    for character in text:
        raw = character.encode("utf-8", "replace")
        if len(word) + len(raw) > room and word:
            words.append(bytes(word))
            word, room = bytearray(), _ENCODED_BYTES
        word += raw
    words.append(bytes(word))
    return "\r\n ".join(f"=?utf-8?b?{base64.b64encode(part).decode()}?=" for part in words)


def date(moment: datetime) -> str:
    return _date(moment.replace(microsecond=0))


@lru_cache(maxsize=8)
def _date(second: datetime) -> str:
    """The mails of one second share it: writing it out costs as much as all the other headers."""
    return f"Date: {format_datetime(second)}\r\n"


def part(kind: str, text: str) -> bytes:
    """A text part with its own headers: as it is where it is short-lined ASCII, else quoted-printable."""
    body = text.replace("\r\n", "\n").replace("\r", "\n")
    if body.isascii() and all(len(line) <= _LONGEST_LINE for line in body.split("\n")):
        encoding, raw = "7bit", body.encode()
    else:
        encoding, raw = "quoted-printable", binascii.b2a_qp(body.encode("utf-8", "replace"), istext=True)
    heading = f'Content-Type: text/{kind}; charset="utf-8"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n'
    return heading.encode() + raw.rstrip(b"\n").replace(b"\n", b"\r\n") + b"\r\n"


def alternatives(boundary: str, parts: list[bytes]) -> bytes:
    """multipart/alternative, the richest last."""
    mark = f"--{boundary}".encode()
    heading = f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n\r\n'.encode()
    return heading + b"".join(mark + b"\r\n" + each for each in parts) + mark + b"--\r\n"


def flat(text: str) -> str:
    """One line: every control character and line break becomes a space, runs of them one."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _plain(line: str) -> bool:
    """Can stand as it is: ASCII, nothing that looks encoded, and no word too long for a line."""
    return line.isascii() and "=?" not in line and all(len(word) < _LINE for word in line.split(" "))


def _folded(line: str, first: int) -> str:
    lines, current, room = [], "", _LINE - first
    for word in line.split(" "):
        if current and len(current) + 1 + len(word) > room:
            lines.append(current)
            current, room = word, _LINE - 1
        else:
            current = f"{current} {word}" if current else word
    return "\r\n ".join([*lines, current])
