"""The 10,000 most common passwords of eight characters and more, as 5-byte prefixes of SHA-256 in one small file.

An uncommon password is taken for a common one in one of 10^8 cases. The file beside this module was made of the list
of frequent passwords in zxcvbn (Dropbox, MIT licence), by
`python -m carillon.users.providers.common_passwords LIST FILE`; LIST has one password a line, the most common first.
"""

import hashlib
import sys
from bisect import bisect_left
from pathlib import Path

from carillon.users.domain.passwords import SHORTEST, comparable

_WIDTH = 5
_MOST = 10_000
_FILE = Path(__file__).with_name("common_passwords.bin")


class CommonPasswords:
    """Read once, 50 kB; a look-up is a search in sorted bytes."""

    def __init__(self, path: Path = _FILE) -> None:
        self._prefixes = path.read_bytes()

    def __contains__(self, password: str) -> bool:
        wanted = _prefix(password)
        place = bisect_left(range(len(self)), wanted, key=self._at)
        return place < len(self) and self._at(place) == wanted

    def __len__(self) -> int:
        return len(self._prefixes) // _WIDTH

    def _at(self, place: int) -> bytes:
        return self._prefixes[place * _WIDTH : (place + 1) * _WIDTH]


def make(words: list[str]) -> bytes:
    """What the file holds, of the first 10,000 that are long enough to be asked about."""
    long_enough = dict.fromkeys(known for word in words if len(known := comparable(word)) >= SHORTEST)
    return b"".join(sorted({_prefix(word) for word in list(long_enough)[:_MOST]}))


def _prefix(password: str) -> bytes:
    return hashlib.sha256(comparable(password).encode()).digest()[:_WIDTH]


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(make(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()))
