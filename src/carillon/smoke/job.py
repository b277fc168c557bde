"""One smoke test: is it ready, who am I, what would happen to a notification; when asked, what does happen to one."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import msgspec
from rich.console import Console

from carillon.contracts.notifications import Forecast, Notification, NotificationAccepted, Timeline
from carillon.smoke.door import Door, Failed

_WRITTEN = ("accepted", "delivered")
"""What the timeline of a delivered notification has to tell."""


_MOST_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Job:
    """Whom to ask and how. Without `token_file` the administrator of `credentials` signs in and is the recipient."""

    url: str
    credentials: Path
    token_file: Path | None = None
    user: UUID | None = None
    template: str = "email_verification"
    send: bool = False
    seconds: float = 60


class _Credentials(msgspec.Struct, frozen=True):
    admin_email: str
    admin_password: str
    application_token: str


class _SignedIn(msgspec.Struct, frozen=True):
    access_token: str


class _Person(msgspec.Struct, frozen=True):
    user_id: UUID


class Steps:
    """Prints each step when it has ended, with how long it took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.perf_counter()

    def done(self, says: str) -> None:
        now = time.perf_counter()
        line = f"{(now - self._began) * 1000:7.0f} ms  {says}"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        self._began = now


async def smoke(job: Job) -> int:
    """Exit code 0: every step passed. 1: one did not, and a sentence on standard error says what to do."""
    try:
        async with _door(job) as door:
            await _walk(job, door, Steps(Console()))
    except Failed as failure:
        Console(stderr=True).print(f"carillon: {failure}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 1
    return 0


@asynccontextmanager
async def _door(job: Job) -> AsyncIterator[Door]:
    if not 0 < job.seconds <= _MOST_SECONDS:
        raise Failed(f"--seconds takes more than 0 and at most {_MOST_SECONDS}.")
    deadline = asyncio.get_running_loop().time() + job.seconds
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Door(session, job.url, deadline=deadline)


async def _walk(job: Job, door: Door, steps: Steps) -> None:
    told = await door.ready()
    steps.done("ready" if told else "answers; /ready is not shown here")
    token, user = await _caller(job, door)
    steps.done("the token was read" if job.token_file else "signed in")
    body = {
        "notification_type": "email",
        "user_id": str(user),
        "template_code": job.template,
        "variables": {"name": "Carillon", "link": door.url},
        "request_id": f"smoke-{uuid4()}",
        "metadata": {"made_by": "carillon smoke"},
    }
    forecast = await door.ask("POST", "/notifications/dry_run", Forecast, token=token, body=body)
    if forecast.outcome not in {"sent", "suppressed"}:
        raise Failed(f"A notification would end as {forecast.outcome}: {forecast.reason} Name another --template.")
    steps.done(f"a notification would be {forecast.outcome} (gateway, users and templates agree; nothing was written)")
    if job.send:
        await _send(door, token, body, steps)


async def _caller(job: Job, door: Door) -> tuple[str, UUID]:
    if job.token_file is not None:
        if job.user is None:
            raise Failed("With --token-file, name the id of the recipient too: --user.")
        return _read(job.token_file).decode(errors="replace").strip(), job.user
    try:
        known = msgspec.json.decode(_read(job.credentials), type=_Credentials)
    except msgspec.DecodeError:
        raise Failed(f"{job.credentials} is not what `carillon migrate` wrote. Name its folder: --data-dir.") from None
    if not known.admin_password:
        raise Failed("The administrator's password is written down no more: give --token-file and --user.")
    secret = {"email": known.admin_email, "password": known.admin_password}
    granted = await door.ask("POST", "/auth/login", _SignedIn, body=secret)
    person = await door.ask("GET", "/users/me", _Person, token=granted.access_token)
    return known.application_token, job.user or person.user_id


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}. Name the folder of credentials.json: --data-dir.") from None


async def _send(door: Door, token: str, body: dict[str, Any], steps: Steps) -> None:
    accepted = await door.ask("POST", "/notifications", NotificationAccepted, token=token, body=body)
    path = f"/notifications/{accepted.notification_id}"
    steps.done(f"accepted as {accepted.notification_id}")
    while (found := await door.ask("GET", path, Notification, token=token)).status == "pending":
        if door.time_is_up:
            raise Failed(f"It is still {found.stage or 'pending'}: look whether the e-mail worker and the broker run.")
        await door.rest()
    if found.status != "delivered":
        raise Failed(f"It ended as {found.status}: {found.reason or found.error}. GET /api/v1{path}/timeline has more.")
    steps.done("delivered")
    timeline = await door.ask("GET", f"{path}/timeline", Timeline, token=token)
    kinds = [step.kind for step in timeline.steps]
    if missing := [kind for kind in _WRITTEN if kind not in kinds]:
        raise Failed(f"Its timeline lacks {', '.join(missing)}: it has {', '.join(kinds)}.")
    steps.done(f"its timeline tells all: {', '.join(kinds)}")
