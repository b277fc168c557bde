"""A file of users, CSV or JSON lines by its suffix: each row a user, or a line number and what is wrong with it."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from carillon.contracts.imports import UserToImport

_TEXTS = ("email", "name", "password_hash", "locale", "timezone")
_KNOWN = {*_TEXTS, "attributes", "verified"}
_TRUE, _FALSE = {"true", "1", "yes"}, {"", "false", "0", "no"}


class UnreadableFile(Exception):
    """The file as a whole is no list of users; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """`line` is where it ends in the file; `fault` says why there is no `user`."""

    line: int
    user: UserToImport | None
    fault: str = ""


def read(path: Path, passed: Callable[[int], None]) -> Iterator[Row]:
    """Row by row; `passed` is told how many bytes were read. Raises UnreadableFile."""
    try:
        with path.open("rb") as file:
            lines = _lines(file, passed)
            yield from _of_csv(lines, path) if path.suffix.lower() == ".csv" else _of_json(lines)
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror}.") from None


def _lines(file: Any, passed: Callable[[int], None]) -> Iterator[str]:
    for raw in file:
        passed(len(raw))
        yield raw.decode("utf-8-sig", "replace")


def _of_json(lines: Iterator[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield Row(number, msgspec.json.decode(line, type=UserToImport))
        except (msgspec.DecodeError, RecursionError) as error:
            yield Row(number, None, str(error) or "nested too deeply")


def _of_csv(lines: Iterator[str], path: Path) -> Iterator[Row]:
    reader = csv.reader(lines, strict=True)
    heading = next(reader, [])
    if "email" not in heading or not _KNOWN.issuperset(heading):
        raise UnreadableFile(
            f"{path}: the first line names the columns: email, and any of {', '.join(sorted(_KNOWN))}."
        )
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(reader.line_num, None, str(error))
            continue
        if cells:
            yield _row(reader.line_num, heading, cells)


def _row(line: int, heading: list[str], cells: list[str]) -> Row:
    if len(cells) != len(heading):
        return Row(line, None, f"{len(cells)} cells under {len(heading)} headings")
    given: dict[str, Any] = {name: cell for name, cell in zip(heading, cells, strict=True) if cell}
    try:
        if "attributes" in given:
            given["attributes"] = msgspec.json.decode(given["attributes"])
        if (said := str(given.get("verified", "")).lower()) not in _TRUE | _FALSE:
            return Row(line, None, "verified: expected true or false")
        return Row(line, msgspec.convert({**given, "verified": said in _TRUE}, UserToImport))
    except (msgspec.DecodeError, RecursionError) as error:
        return Row(line, None, str(error) or "nested too deeply")
