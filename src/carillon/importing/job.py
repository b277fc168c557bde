"""One run of `carillon users import`: every row is sent, what is wrong is told by line, a table at the end."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from carillon.contracts.imports import MOST_AT_ONCE
from carillon.importing.rows import Row, UnreadableFile, read
from carillon.sdk.client import CommandClient, Refused, Unreachable, connect

_MOST_BYTES = 600_000


class _Credentials(msgspec.Struct):
    admin_email: str
    admin_password: str


@dataclass
class _Batch:
    """Rows that go in one request, bounded in number and size."""

    rows: list[Row] = field(default_factory=list)
    size: int = 0

    def add(self, row: Row) -> bool:
        """Whether it is full."""
        self.rows.append(row)
        self.size += len(msgspec.json.encode(row.user))
        return len(self.rows) >= MOST_AT_ONCE or self.size >= _MOST_BYTES


async def import_file(path: Path, *, url: str, credentials: Path) -> int:
    """Exit code 1 where a row was refused or nobody could be reached. Those already there are counted, not changed."""
    console, errors, outcomes = Console(), Console(stderr=True), Counter[str]()
    try:
        with _progress(console, path) as progress:
            await _run(path, url, credentials, progress, errors, outcomes)
    except (UnreadableFile, Refused, Unreachable) as error:
        errors.print(f"carillon: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        errors.print("The same command goes on from there.", highlight=False)
        outcomes["ended early"] += 1
    table = Table("outcome", "users", box=None)
    for outcome in ("made", "there", "refused"):
        table.add_row(outcome, str(outcomes[outcome]))
    console.print(table)
    return 1 if outcomes["refused"] or outcomes["ended early"] else 0


async def _run(
    path: Path, url: str, credentials: Path, progress: Progress, errors: Console, outcomes: Counter[str]
) -> None:
    bar, batch = progress.task_ids[0], _Batch()
    secret = _read_credentials(credentials)
    async with connect(url) as nobody:
        for row in read(path, lambda size: progress.advance(bar, size)):
            if row.user is None:
                _refused(errors, outcomes, row, row.fault)
            elif batch.add(row):
                await _send(nobody, secret, batch, errors, outcomes)
                batch = _Batch()
        if batch.rows:
            await _send(nobody, secret, batch, errors, outcomes)


async def _send(
    nobody: CommandClient, secret: _Credentials, batch: _Batch, errors: Console, outcomes: Counter[str]
) -> None:
    """Signs in for each request: a file may take longer than a token lives."""
    admin, _ = await nobody.sign_in(secret.admin_email, secret.admin_password)
    results = await admin.import_users([msgspec.to_builtins(row.user) for row in batch.rows])
    for row, result in zip(batch.rows, results, strict=True):
        if result.outcome == "refused":
            _refused(errors, outcomes, row, result.reason or "")
        else:
            outcomes[result.outcome] += 1


def _refused(errors: Console, outcomes: Counter[str], row: Row, reason: str) -> None:
    outcomes["refused"] += 1
    errors.print(f"line {row.line}: {reason}", highlight=False, markup=False, soft_wrap=True)


def _read_credentials(path: Path) -> _Credentials:
    try:
        secret = msgspec.json.decode(path.read_bytes(), type=_Credentials)
    except (OSError, msgspec.DecodeError):
        raise UnreadableFile(
            f"{path} holds no credentials: name the data folder of Carillon with --data-dir."
        ) from None
    if not secret.admin_password:
        raise UnreadableFile(f"The administrator's password was changed: write it to admin_password in {path}.")
    return secret


def _progress(console: Console, path: Path) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=console)
    progress.add_task("read", total=path.stat().st_size if path.is_file() else None)
    return progress
