"""Calling another service: one kept session, a deadline on every call, the correlation id and the envelope."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import msgspec

from carillon.kit.http.envelope import Envelope, ErrorEnvelope
from carillon.kit.telemetry import correlation
from carillon.kit.telemetry.tracing import TRACING

T = TypeVar("T")


class ServiceUnavailable(Exception):
    """No answer in time, a 5xx or a 429: trying again may help. `retry_after` in seconds where it was told."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServiceRefused(Exception):
    """A 4xx: the same request will be refused again."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class ServiceClient:
    """`base_url` is the service's root (`http://users:8000`); `token` is this process's own service token."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, *, token: str, seconds: float = 5) -> None:
        self._session = session
        self._base = base_url.rstrip("/")
        self._token = token
        self._deadline = aiohttp.ClientTimeout(total=seconds)

    async def call(
        self, method: str, path: str, *, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Any answer below 500 but 429. Raises ServiceUnavailable."""
        sent = {"Authorization": f"Bearer {self._token}", correlation.HEADER: correlation.current(), **(headers or {})}
        data = None if body is None else msgspec.json.encode(body)
        if data is not None:
            sent["Content-Type"] = "application/json"
        if (spans := TRACING.spans) is None or spans.in_hand is None:
            return await self._called(method, path, data, sent)
        with spans.span(method, "client", {"http.request.method": method}) as span:
            answer = await self._called(method, path, data, {**sent, **spans.headers()})
            spans.answered(span, answer.status)
            return answer

    async def _called(self, method: str, path: str, data: bytes | None, sent: Mapping[str, str]) -> Answer:
        try:
            async with self._session.request(
                method, self._base + path, data=data, headers=sent, timeout=self._deadline, allow_redirects=False
            ) as response:
                answer = Answer(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ServiceUnavailable(f"{method} {path}: {type(error).__name__}") from error
        if answer.status >= 500 or answer.status == 429:  # noqa: PLR2004
            after = answer.headers.get("Retry-After", "")
            raise ServiceUnavailable(
                f"{method} {path}: {answer.status}", retry_after=float(after) if after.isdigit() else None
            )
        return answer

    async def data(self, method: str, path: str, shape: type[T], *, body: Any = None) -> T:
        """The `data` of a successful envelope. Raises ServiceUnavailable (another shape too), ServiceRefused."""
        answer = await self.call(method, path, body=body)
        if answer.status >= 400:  # noqa: PLR2004
            raise refused(answer)
        try:
            return msgspec.json.decode(answer.body, type=Envelope[shape]).data  # type: ignore[valid-type]
        except msgspec.DecodeError as error:
            raise ServiceUnavailable(f"{method} {path}: answered something else than was asked for") from error


def refused(answer: Answer) -> ServiceRefused:
    try:
        said = msgspec.json.decode(answer.body, type=ErrorEnvelope)
    except msgspec.DecodeError:
        return ServiceRefused(answer.status, "unknown", "the answer wears no envelope")
    return ServiceRefused(answer.status, said.error, said.message)


@contextlib.asynccontextmanager
async def open_session(*, connections: int = 100) -> AsyncIterator[aiohttp.ClientSession]:
    """A session whose connections are kept; it knows no cookies and obeys no proxy variables."""
    connector = aiohttp.TCPConnector(limit=connections, keepalive_timeout=30)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session
