"""The client of our own commands: bodies as they stand in files, and whether each had been accepted before."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import aiohttp
import msgspec

from carillon.contracts.batches import BatchReport
from carillon.contracts.imports import Imported, ImportReport
from carillon.contracts.notifications import Notification, NotificationAccepted
from carillon.sdk.errors import Refused, Unreachable
from carillon.sdk.exchange import Answer, Exchange, Patience, read
from carillon.sdk.signing_in import Given, SignedIn

__all__ = ["CommandClient", "Person", "Refused", "SignedIn", "Unreachable", "connect"]


class Person(msgspec.Struct, frozen=True):
    """What the client needs of a contact."""

    user_id: UUID


class CommandClient:
    """One application's client. Every call may be repeated safely: a notification by its `request_id`, a contact by its
    address. Raises Refused and Unreachable."""

    def __init__(self, session: aiohttp.ClientSession, url: str, *, token: str, seconds: float = 30) -> None:
        self._session = session
        self._url = url.rstrip("/") + "/api/v1"
        self._seconds = seconds
        patience = Patience(each=seconds, total=float("inf"))  # a job of thousands rather waits than leaves some out
        self._exchange = Exchange(session, url, authorization=Given(token), patience=patience)

    async def notify(self, body: dict[str, Any]) -> tuple[NotificationAccepted, bool]:
        """`POST /notifications`; the second value is True when it was accepted before."""
        answer = await self._call("POST", "/notifications", body)
        return read(answer, NotificationAccepted).data, answer.status == 200  # noqa: PLR2004

    async def send_batch(self, bodies: Sequence[dict[str, Any]]) -> BatchReport:
        """`POST /notifications/batch`: up to 1,000 bodies as of `notify`; an outcome for each, in their order.

        One that is refused raises nothing: its result has the `error`.
        """
        return read(await self._call("POST", "/notifications/batch", {"notifications": bodies}), BatchReport).data

    async def notification(self, notification_id: UUID) -> Notification:
        return read(await self._call("GET", f"/notifications/{notification_id}"), Notification).data

    async def by_request(self, request_id: str) -> Notification:
        """What this client asked for by that id, whatever it said."""
        return read(await self._call("GET", f"/notifications/request/{request_id}"), Notification).data

    async def answers(self, *, seconds: float = 1) -> bool:
        """Whether anything takes connections here, tried for `seconds`; says nothing of who that is."""
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        while not await self._connects(seconds):
            if clock() >= until:
                return False
            await asyncio.sleep(0.1)
        return True

    async def _connects(self, seconds: float) -> bool:
        patience = aiohttp.ClientTimeout(total=30, sock_connect=seconds)
        try:
            async with self._session.get(self._url, allow_redirects=False, timeout=patience):
                return True
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL):
            return False
        except (aiohttp.ClientError, TimeoutError, OSError):
            return True  # connected, and then it failed: the calls have their own patience

    async def contact(self, email: str, *, name: str | None = None) -> UUID:
        """`POST /contacts`: find or make a person by e-mail address."""
        body = {"email": email, "name": name} if name else {"email": email}
        return read(await self._call("POST", "/contacts", body), Person).data.user_id

    async def import_users(self, users: list[dict[str, Any]]) -> list[Imported]:
        """`POST /users/import`: up to 500 people; an outcome for each, in their order."""
        return read(await self._call("POST", "/users/import", {"users": users}), ImportReport).data.results

    async def sign_in(self, email: str, password: str) -> "tuple[CommandClient, int]":
        """A client that acts as this person, and for how many seconds it can."""
        answer = await self._call("POST", "/auth/login", {"email": email, "password": password})
        granted = read(answer, SignedIn).data
        client = CommandClient(
            self._session, self._url.removesuffix("/api/v1"), token=granted.access_token, seconds=self._seconds
        )
        return client, granted.expires_in

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        return await self._exchange.answer(method, path, body=body)


@contextlib.asynccontextmanager
async def connect(url: str, *, token: str = "", seconds: float = 30) -> AsyncIterator[CommandClient]:
    """A client of the Carillon at `url` (`http://127.0.0.1:8000`); `seconds` bounds each call."""
    patience = aiohttp.ClientTimeout(total=None)  # of each try, below
    async with aiohttp.ClientSession(timeout=patience, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield CommandClient(session, url, token=token, seconds=seconds)
