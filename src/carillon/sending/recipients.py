"""A CSV of recipients: each row an address and variables, or a line number and what is wrong with it."""

import csv
import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import msgspec
from email_validator import EmailNotValidError, validate_email

csv.field_size_limit(1 << 20)


class UnreadableFile(Exception):
    """The file as a whole is no list of recipients; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """One good row. `line` counts from 1 and includes the heading."""

    line: int
    email: str
    variables: dict[str, str]


@dataclass(frozen=True, slots=True)
class BadRow:
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    heading: list[str]
    cells: list[str]


def read(path: Path) -> Iterator[Recipient | BadRow]:
    """Row by row, never the whole file. Raises UnreadableFile before the first row."""
    for row in _opened(path):
        yield row if isinstance(row, BadRow) else _recipient(row.line, row.heading, row.cells)


def count(path: Path) -> int:
    """How many rows `read` yields, unread: to judge an address takes 0.1 ms. Raises UnreadableFile."""
    return sum(1 for _ in _opened(path))


def _opened(path: Path) -> Iterator[_Row | BadRow]:
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            yield from _rows(file, path)
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror}.") from None


class _Lines:
    """Physical lines, of which those after the first of a record can be given back to be read again."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._again: deque[str] = deque()
        self.taken: list[str] = []
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._file)
        self.taken.append(line)
        self.number += 1
        return line

    def give_back(self) -> None:
        left = self.taken[1:]
        self._again.extendleft(reversed(left))
        self.number -= len(left)


def _rows(file: TextIO, path: Path) -> Iterator[_Row | BadRow]:
    lines = _Lines(file)
    heading = [cell.strip() for cell in _record(lines)[0]]
    if "email" not in heading:
        raise UnreadableFile(f"{path}: the first line must name the columns, and one of them must be `email`.")
    if len(set(heading)) < len(heading) or "" in heading:
        raise UnreadableFile(f"{path}: the first line names a column twice, or not at all.")
    while True:
        lines.taken, line = [], lines.number + 1
        cells, wrong = _record(lines)
        if not lines.taken:
            return
        if len(lines.taken) > 1 and (wrong or not _deliberate(lines.taken, cells, heading)):
            yield BadRow(line, f"a quote is opened and not closed (lines {line}-{lines.number} look like one row)")
            lines.give_back()
        elif wrong:
            yield BadRow(line, wrong)
        elif any(cell.strip() for cell in cells):
            yield _Row(line, heading, cells)


def _record(lines: _Lines) -> tuple[list[str], str]:
    try:
        return next(csv.reader(lines), []), ""
    except csv.Error as error:
        return [], str(error)


def _deliberate(taken: list[str], cells: list[str], heading: list[str]) -> bool:
    """Whether several lines are one row on purpose: every quote ends its cell, and no address has a line break."""
    if len(cells) != len(heading) or len(cells[heading.index("email")].splitlines()) > 1:
        return False
    try:
        return len(list(csv.reader(taken, strict=True))) == 1
    except csv.Error:
        return False


def _recipient(line: int, heading: list[str], cells: list[str]) -> Recipient | BadRow:
    if len(cells) != len(heading):
        return BadRow(line, f"{len(cells)} columns where the heading has {len(heading)}")
    if any("\udc80" <= character <= "\udcff" for cell in cells for character in cell):
        return BadRow(line, "not UTF-8 text")
    variables = {name: cell.strip() for name, cell in zip(heading, cells, strict=True)}
    try:
        email = validate_email(variables.pop("email"), check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError as error:
        return BadRow(line, f"email: {error}")
    return Recipient(line, email, variables)


def request_id(recipient: Recipient, *, template: str, channel: str, link: str | None) -> str:
    """The same for the same row, template and channel, wherever it stands: sending again sends nothing.

    `link` is what was asked for beside the file; it counts for a row without a link of its own. Where Carillon answers
    never counts, however its address is spelt.
    """
    beside = "" if recipient.variables.get("link") else link or ""
    seed: list[Any] = [beside, template, channel, recipient.email.lower(), sorted(recipient.variables.items())]
    return "send-" + hashlib.sha256(msgspec.json.encode(seed)).hexdigest()
