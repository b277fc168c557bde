"""One run of `carillon send`: accept every row, wait until every notification has ended, report."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from uuid import UUID

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from carillon.contracts.notifications import Notification
from carillon.sdk.client import CommandClient, Refused, Unreachable, connect
from carillon.sending import recipients
from carillon.sending.recipients import BadRow, Recipient, UnreadableFile
from carillon.sending.report import print_report
from carillon.sending.settling import settle
from carillon.sending.together import together

_TOKEN_SHARE = 0.8  # of its life; then another one is fetched


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
    wait_seconds: float = 300


@dataclass
class Outcomes:
    """What became of every row."""

    bad_rows: list[BadRow] = field(default_factory=list)
    refused: list[BadRow] = field(default_factory=list)
    accepted: set[UUID] = field(default_factory=set)
    sent_before: int = 0
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    unsettled: int = 0

    def note(self, found: Notification) -> None:
        """How one notification has ended."""
        self.ended[found.status, _why(found)] += 1

    @property
    def exit_code(self) -> int:
        failed = any(status == "failed" for status, _ in self.ended)
        return 1 if self.bad_rows or self.refused or failed or self.unsettled else 0


class Credentials(msgspec.Struct, frozen=True):
    """`credentials.json` of the data folder."""

    admin_email: str
    admin_password: str
    application_token: str


def credentials_of(path: Path) -> Credentials:
    """Raises OSError, msgspec.DecodeError."""
    return msgspec.json.decode(path.read_bytes(), type=Credentials)


class Contacts:
    """Makes people as the administrator, signing in again before the token expires."""

    def __init__(self, carillon: CommandClient, credentials: Credentials) -> None:
        self._carillon = carillon
        self._credentials = credentials
        self._client: CommandClient | None = None
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def find_or_make(self, recipient: Recipient) -> UUID:
        return await (await self._signed_in()).contact(recipient.email, name=recipient.variables.get("name"))

    async def _signed_in(self) -> CommandClient:
        now = asyncio.get_running_loop().time()
        async with self._lock:
            if self._client is None or now > self._until:
                secret = self._credentials
                self._client, seconds = await self._carillon.sign_in(secret.admin_email, secret.admin_password)
                self._until = now + seconds * _TOKEN_SHARE
            return self._client


async def send(job: Job) -> int:
    """Send, wait for the outcomes, print them. Exit code 1: a row was bad, refused, failed or is unsettled."""
    outcomes = Outcomes()
    console = Console()
    try:
        total = recipients.count(job.recipients)
        async with _connected(job) as (carillon, contacts):
            with _progress(console) as progress:
                await _accept_all(
                    job, carillon, contacts, outcomes, progress, progress.add_task("accepted", total=total)
                )
                await _settle_all(job, carillon, outcomes, progress)
    except (CannotSend, UnreadableFile, Refused, Unreachable) as error:
        _tell(f"carillon: {error}{_of_credentials(error, job)}", style="red")
        if outcomes.accepted:
            _tell(f"{len(outcomes.accepted)} were accepted before that; the same command goes on from there.")
        return 1
    print_report(console, outcomes)
    return outcomes.exit_code


async def demo(url: str, credentials: Path) -> int:
    """The shipped CSV, once through the whole platform."""
    with as_file(files("carillon.sending") / "demo_recipients.csv") as path:
        job = Job(template="welcome", recipients=path, channel="email", link=None, url=url, credentials=credentials)
        code = await send(job)
    if code == 0:
        Console().print(f"Read the mail at {url.rstrip('/')}/mailbox", highlight=False, markup=False, soft_wrap=True)
    return code


def _tell(line: str, style: str = "") -> None:
    """A failure, in one line whatever the width: for people beside the table, for programs apart from it."""
    Console(stderr=True).print(line, style=style, highlight=False, markup=False, soft_wrap=True)


def _of_credentials(error: Exception, job: Job) -> str:
    if not isinstance(error, Refused) or error.status != 401:  # noqa: PLR2004
        return ""
    if not credentials_of(job.credentials).admin_password:
        return f" The administrator's password was changed: write it to admin_password in {job.credentials}."
    return (
        f" What was shown stands in {job.credentials}; name the data folder of the Carillon at {job.url}: --data-dir."
    )


@asynccontextmanager
async def _connected(job: Job) -> AsyncIterator[tuple[CommandClient, Contacts]]:
    try:
        credentials = credentials_of(job.credentials)
    except (OSError, msgspec.DecodeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise CannotSend(
            f"{job.credentials}: {said}. Start Carillon (make up) here, or name its data folder: --data-dir."
        ) from None
    async with connect(job.url, token=credentials.application_token) as carillon:
        if not await carillon.answers():
            raise CannotSend(f"Nothing answers at {job.url}: start it with make up, or name its address with --url.")
        yield carillon, Contacts(carillon, credentials)


async def _accept_all(
    job: Job, carillon: CommandClient, contacts: Contacts, outcomes: Outcomes, progress: Progress, bar: TaskID
) -> None:
    rows = recipients.read(job.recipients)

    async def work() -> None:
        for row in rows:
            await _accept(job, carillon, contacts, row, outcomes)
            progress.update(bar, advance=1, description=_accepted(outcomes))

    await together(work)


def _accepted(outcomes: Outcomes) -> str:
    return f"accepted ({len(outcomes.bad_rows)} bad)" if outcomes.bad_rows else "accepted"


async def _accept(
    job: Job, carillon: CommandClient, contacts: Contacts, row: Recipient | BadRow, outcomes: Outcomes
) -> None:
    if isinstance(row, BadRow):
        outcomes.bad_rows.append(row)
        return
    try:
        user_id = await contacts.find_or_make(row)
        notification_id, before = await _notify(carillon, _body(job, row, user_id))
    except Refused as refusal:
        if refusal.status in {401, 403} or refusal.code == "template_not_found":
            raise
        outcomes.refused.append(BadRow(row.line, str(refusal)))
    else:
        outcomes.accepted.add(notification_id)
        outcomes.sent_before += before


async def _notify(carillon: CommandClient, body: dict[str, object]) -> tuple[UUID, bool]:
    """The notification, and whether it was accepted before: also where Carillon's address was spelt otherwise then.

    The request's id holds all that the row says. Another body for the same person differs in a default alone.
    """
    try:
        accepted, before = await carillon.notify(body)
    except Refused as refusal:
        if refusal.code != "request_id_reused":
            raise
        found = await carillon.by_request(str(body["request_id"]))
        if str(found.user_id) != body["user_id"]:
            raise
        return found.notification_id, True
    return accepted.notification_id, before


def _body(job: Job, row: Recipient, user_id: UUID) -> dict[str, object]:
    given = {name: value for name, value in row.variables.items() if value}
    defaults = {"name": row.email.partition("@")[0], "link": job.link or job.url}
    return {
        "notification_type": job.channel,
        "user_id": str(user_id),
        "template_code": job.template,
        "variables": {**defaults, **given},
        "request_id": recipients.request_id(row, template=job.template, channel=job.channel, link=job.link),
    }


async def _settle_all(job: Job, carillon: CommandClient, outcomes: Outcomes, progress: Progress) -> None:
    bar = progress.add_task("settled", total=len(outcomes.accepted))

    def ended(found: Notification) -> None:
        outcomes.note(found)
        progress.advance(bar)

    outcomes.unsettled = await settle(outcomes.accepted, carillon, seconds=job.wait_seconds, ended=ended)


def _why(found: Notification) -> str:
    said = [text for text in (found.reason, found.error) if text]
    return ": ".join(dict.fromkeys(said)) if found.status != "delivered" else ""


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )
