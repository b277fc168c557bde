"""A CSV of recipients: each row an address and variables, or a line number and what is wrong with it."""

import csv
import hashlib
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


def _rows(file: TextIO, path: Path) -> Iterator[_Row | BadRow]:
    reader = csv.reader(file)
    heading = [cell.strip() for cell in next(reader, [])]
    if "email" not in heading:
        raise UnreadableFile(f"{path}: the first line must name the columns, and one of them must be `email`.")
    if len(set(heading)) < len(heading) or "" in heading:
        raise UnreadableFile(f"{path}: the first line names a column twice, or not at all.")
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRow(line, str(error))
            continue
        if any(cell.strip() for cell in cells):
            yield _Row(line, heading, cells)


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


def request_id(recipient: Recipient, *, template: str, channel: str, link: str) -> str:
    """The same for the same row, template, channel and link, wherever it stands: sending again sends nothing."""
    seed: list[Any] = [link, template, channel, recipient.email.lower(), sorted(recipient.variables.items())]
    return "send-" + hashlib.sha256(msgspec.json.encode(seed)).hexdigest()
