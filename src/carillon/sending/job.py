"""One run of `carillon send`: accept every row, wait until every notification has ended, report."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from uuid import UUID

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from carillon.contracts.notifications import Notification
from carillon.sdk.client import Carillon, Refused, Unreachable, connect
from carillon.sending import recipients
from carillon.sending.recipients import BadRow, Recipient, UnreadableFile
from carillon.sending.report import print_report

_AT_ONCE = 16
_TOKEN_SECONDS = 240
_FINAL = frozenset({"delivered", "suppressed", "failed", "cancelled", "expired"})


class CannotSend(Exception):
    """Nothing was sent; the sentence says what to do."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to send to whom. `link` stands in for rows without one."""

    template: str
    recipients: Path
    channel: str
    link: str | None
    url: str
    credentials: Path
    campaign: str = ""
    wait_seconds: float = 300


@dataclass
class Outcomes:
    """What became of every row."""

    bad_rows: list[BadRow] = field(default_factory=list)
    refused: list[BadRow] = field(default_factory=list)
    accepted: dict[UUID, int] = field(default_factory=dict)
    sent_before: int = 0
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    unsettled: int = 0

    @property
    def exit_code(self) -> int:
        failed = any(status == "failed" for status, _ in self.ended)
        return 1 if self.bad_rows or self.refused or failed or self.unsettled else 0


class Credentials(msgspec.Struct, frozen=True):
    """`credentials.json` of the data folder."""

    admin_email: str
    admin_password: str
    application_token: str


class Contacts:
    """Makes people as the administrator, signing in again before the token expires."""

    def __init__(self, carillon: Carillon, credentials: Credentials) -> None:
        self._carillon = carillon
        self._credentials = credentials
        self._client: Carillon | None = None
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def find_or_make(self, recipient: Recipient) -> UUID:
        return await (await self._signed_in()).contact(recipient.email, name=recipient.variables.get("name"))

    async def _signed_in(self) -> Carillon:
        now = asyncio.get_running_loop().time()
        async with self._lock:
            if self._client is None or now > self._until:
                secret = self._credentials
                self._client = await self._carillon.sign_in(secret.admin_email, secret.admin_password)
                self._until = now + _TOKEN_SECONDS
            return self._client


async def send(job: Job) -> int:
    """Send, wait for the outcomes, print them. Exit code 1: a row was bad, refused, failed or is unsettled."""
    outcomes = Outcomes()
    console = Console()
    try:
        total = _count(job)
        async with _connected(job) as (carillon, contacts):
            with _progress(console) as progress:
                await _accept_all(
                    job, carillon, contacts, outcomes, progress, progress.add_task("accepted", total=total)
                )
                await _settle_all(
                    job, carillon, outcomes, progress, progress.add_task("settled", total=len(outcomes.accepted))
                )
    except (CannotSend, UnreadableFile, Refused, Unreachable) as error:
        console.print(f"carillon: {error}", style="red", highlight=False, markup=False)
        return 1
    print_report(console, outcomes)
    return outcomes.exit_code


async def demo(url: str, credentials: Path) -> int:
    """The shipped CSV, once through the whole platform."""
    with as_file(files("carillon.sending") / "demo_recipients.csv") as path:
        job = Job(template="welcome", recipients=path, channel="email", link=None, url=url, credentials=credentials)
        code = await send(job)
    Console().print(f"Read the mail at {url}/mailbox", highlight=False)
    return code


def _count(job: Job) -> int:
    return sum(1 for _ in recipients.read(job.recipients))


@asynccontextmanager
async def _connected(job: Job) -> AsyncIterator[tuple[Carillon, Contacts]]:
    try:
        credentials = msgspec.json.decode(job.credentials.read_bytes(), type=Credentials)
    except (OSError, msgspec.DecodeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise CannotSend(
            f"{job.credentials}: {said}. Start Carillon (make up) here, or name its data folder: --data-dir."
        ) from None
    async with connect(job.url, token=credentials.application_token) as carillon:
        yield carillon, Contacts(carillon, credentials)


async def _accept_all(
    job: Job, carillon: Carillon, contacts: Contacts, outcomes: Outcomes, progress: Progress, bar: TaskID
) -> None:
    rows = recipients.read(job.recipients)

    async def work() -> None:
        for row in rows:
            await _accept(job, carillon, contacts, row, outcomes)
            progress.advance(bar)

    await _together(work)


async def _accept(
    job: Job, carillon: Carillon, contacts: Contacts, row: Recipient | BadRow, outcomes: Outcomes
) -> None:
    if isinstance(row, BadRow):
        outcomes.bad_rows.append(row)
        return
    try:
        user_id = await contacts.find_or_make(row)
        accepted, before = await carillon.notify(_body(job, row, user_id))
    except Refused as refusal:
        if refusal.status in {401, 403} or refusal.code == "template_not_found":
            raise
        outcomes.refused.append(BadRow(row.line, str(refusal)))
    else:
        outcomes.accepted[accepted.notification_id] = row.line
        outcomes.sent_before += before


def _body(job: Job, row: Recipient, user_id: UUID) -> dict[str, object]:
    given = {name: value for name, value in row.variables.items() if value}
    defaults = {"name": row.email.partition("@")[0], "link": job.link or job.url}
    return {
        "notification_type": job.channel,
        "user_id": str(user_id),
        "template_code": job.template,
        "variables": {**defaults, **given},
        "request_id": recipients.request_id(
            row, template=job.template, channel=job.channel, campaign=f"{job.campaign} {job.link or job.url}"
        ),
    }


async def _settle_all(job: Job, carillon: Carillon, outcomes: Outcomes, progress: Progress, bar: TaskID) -> None:
    waiting = set(outcomes.accepted)
    deadline = asyncio.get_running_loop().time() + job.wait_seconds
    pause = 0.1
    while waiting and asyncio.get_running_loop().time() < deadline:
        await _ask_all(carillon, iter(sorted(waiting)), waiting, outcomes, lambda: progress.advance(bar))
        if waiting:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 2)
    outcomes.unsettled = len(waiting)


async def _ask_all(
    carillon: Carillon, ids: Iterator[UUID], waiting: set[UUID], outcomes: Outcomes, settled: Callable[[], None]
) -> None:
    async def work() -> None:
        for notification_id in ids:
            found = await carillon.notification(notification_id)
            if found.status in _FINAL:
                waiting.discard(notification_id)
                outcomes.ended[found.status, _why(found)] += 1
                settled()

    await _together(work)


def _why(found: Notification) -> str:
    said = [text for text in (found.reason, found.error) if text]
    return ": ".join(dict.fromkeys(said)) if found.status != "delivered" else ""


async def _together(work: Callable[[], Coroutine[None, None, None]]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(work())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )
