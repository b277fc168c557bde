"""`Carillon`: an application's way in over HTTP, with kept connections, deadlines, and retries where they are safe."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar
from uuid import UUID

import aiohttp
import msgspec

from carillon.contracts.batches import BatchReport
from carillon.contracts.envelope import Envelope, ErrorEnvelope
from carillon.contracts.imports import Imported, ImportReport
from carillon.contracts.notifications import Notification, NotificationAccepted

T = TypeVar("T")

_TRIES = 5
_LONGEST_WAIT = 60.0
_AGAIN = frozenset({429, 502, 503, 504})


class Refused(Exception):
    """The request was understood and refused; `code` is stable, the sentence is for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Unreachable(Exception):
    """Carillon did not answer, or said that it cannot now, `_TRIES` times in a row."""


class SignedIn(msgspec.Struct, frozen=True):
    """Answer of `POST /auth/login`; `expires_in` in seconds."""

    access_token: str
    expires_in: int


class Person(msgspec.Struct, frozen=True):
    """What the client needs of a contact."""

    user_id: UUID


class Carillon:
    """One application's client. Every call may be repeated safely: a notification by its `request_id`, a contact by its
    address. Raises Refused and Unreachable."""

    def __init__(self, session: aiohttp.ClientSession, url: str, *, token: str) -> None:
        self._session = session
        self._url = url.rstrip("/") + "/api/v1"
        self._token = token

    async def notify(self, body: dict[str, Any]) -> tuple[NotificationAccepted, bool]:
        """`POST /notifications`; the second value is True when it was accepted before."""
        status, raw = await self._call("POST", "/notifications", body)
        return _data(raw, NotificationAccepted), status == 200  # noqa: PLR2004

    async def send_batch(self, bodies: Sequence[dict[str, Any]]) -> BatchReport:
        """`POST /notifications/batch`: up to 1,000 bodies as of `notify`; an outcome for each, in their order.

        One that is refused raises nothing: its result has the `error`.
        """
        return _data((await self._call("POST", "/notifications/batch", {"notifications": bodies}))[1], BatchReport)

    async def notification(self, notification_id: UUID) -> Notification:
        return _data((await self._call("GET", f"/notifications/{notification_id}"))[1], Notification)

    async def by_request(self, request_id: str) -> Notification:
        """What this client asked for by that id, whatever it said."""
        return _data((await self._call("GET", f"/notifications/request/{request_id}"))[1], Notification)

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
        return _data((await self._call("POST", "/contacts", body))[1], Person).user_id

    async def import_users(self, users: list[dict[str, Any]]) -> list[Imported]:
        """`POST /users/import`: up to 500 people; an outcome for each, in their order."""
        return _data((await self._call("POST", "/users/import", {"users": users}))[1], ImportReport).results

    async def sign_in(self, email: str, password: str) -> "tuple[Carillon, int]":
        """A client that acts as this person, and for how many seconds it can."""
        _, raw = await self._call("POST", "/auth/login", {"email": email, "password": password})
        granted = _data(raw, SignedIn)
        client = Carillon(self._session, self._url.removesuffix("/api/v1"), token=granted.access_token)
        return client, granted.expires_in

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
        reason, told = "", 0.0
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(max(0.1 * 2**attempt, told))
            try:
                status, raw, told = await self._once(method, path, body)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                reason, told = type(error).__name__, 0.0
            else:
                if status not in _AGAIN:
                    return _checked(status, raw)
                reason = str(_refusal(status, raw))
        raise Unreachable(f"{self._url} did not serve {method} {path}: {reason}")

    async def _once(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, bytes, float]:
        """Status, body, and after how many seconds (60 at most) to come again where that was told."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else io.BytesIO(msgspec.json.encode(body))  # bytes of over 1 MiB it warns of
        async with self._session.request(method, self._url + path, data=data, headers=headers) as response:
            after = response.headers.get("Retry-After", "")
            return (
                response.status,
                await response.read(),
                min(float(after), _LONGEST_WAIT) if after.isdecimal() else 0.0,
            )


def _checked(status: int, raw: bytes) -> tuple[int, bytes]:
    if status >= 400:  # noqa: PLR2004
        raise _refusal(status, raw)
    return status, raw


def _refusal(status: int, raw: bytes) -> Refused:
    try:
        said = msgspec.json.decode(raw, type=ErrorEnvelope)
    except msgspec.DecodeError:
        return Refused(
            status, "not_carillon", f"status {status} without Carillon's envelope; is this the right address?"
        )
    return Refused(status, said.error, said.message)


def _data(raw: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=Envelope[shape]).data  # type: ignore[valid-type]
    except msgspec.DecodeError:
        raise _refusal(200, raw) from None


@contextlib.asynccontextmanager
async def connect(url: str, *, token: str = "", seconds: float = 30) -> AsyncIterator[Carillon]:
    """A client of the Carillon at `url` (`http://127.0.0.1:8000`); `seconds` bounds each call."""
    deadline = aiohttp.ClientTimeout(total=seconds)
    async with aiohttp.ClientSession(timeout=deadline, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Carillon(session, url, token=token)
