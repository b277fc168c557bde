"""One request and its answer: kept connections, deadlines, and again only where that makes nothing twice."""

import asyncio
import io
import random
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol, TypeVar

import aiohttp
import msgspec

from carillon.contracts.envelope import Envelope, ErrorEnvelope
from carillon.sdk.errors import CarillonError, TooMany, Unreachable, refusal

T = TypeVar("T")

_BUSY = 429
_AWAY = frozenset({502, 503, 504})
_FIRST_WAIT = 0.2
_LARGEST_ANSWER = 64 << 20
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is tried: `tries` of `each` seconds, waits of `longest_wait` at most, `total` seconds in all."""

    tries: int = 5
    each: float = 30.0
    longest_wait: float = 60.0
    total: float = 300.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    raw: bytes
    headers: Mapping[str, str]


class Authorization(Protocol):
    """Where the bearer token comes from."""

    async def token(self, exchange: "Exchange") -> str:
        """Empty: none."""

    def refused(self, token: str) -> bool:
        """It was refused; True: another may be had."""


class Exchange:
    """Speaks to the Carillon at `url`. Raises the errors of `carillon.sdk.errors`, and nothing of the library's."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, *, authorization: Authorization, patience: Patience
    ) -> None:
        self._session = session
        self._url = url.rstrip("/") + "/api/v1"
        self._authorization = authorization
        self._patience = patience
        self._agent = f"carillon-sdk/{version('carillon')}"

    async def ask(
        self,
        method: str,
        path: str,
        shape: type[T],
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        repeatable: bool = True,
    ) -> Envelope[T]:
        """`repeatable`: asking twice makes nothing twice. Where not, only what cannot have arrived is asked again."""
        return read(await self.answer(method, path, body=body, query=query, repeatable=repeatable), shape)

    async def answer(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        repeatable: bool = True,
        signed: bool = True,
    ) -> Answer:
        """The answer of a success, whatever its body. `signed` False: without a token, as to sign in."""
        request = _Request(method, path, body, query, repeatable=repeatable)
        try:
            async with asyncio.timeout(
                self._patience.total
            ):  # signing in included, and waiting for who does it for all
                return await self._served(request, signed=signed)
        except TimeoutError as error:
            raise self._given_up(request, None, error) from None

    async def _served(self, request: "_Request", *, signed: bool) -> Answer:
        token = await self._authorization.token(self) if signed else ""
        answer = await self._until_served(request, token)
        if answer.status == 401 and signed and self._authorization.refused(token):  # noqa: PLR2004
            answer = await self._until_served(request, await self._authorization.token(self))
        if answer.status >= 300:  # noqa: PLR2004 - a redirection would carry the token to somebody else
            raise _refusal(answer)
        return answer

    async def _until_served(self, request: "_Request", token: str) -> Answer:
        clock = asyncio.get_running_loop().time
        until = clock() + self._patience.total
        for tried in range(1, self._patience.tries + 1):
            answer, error = await self._once(request, token, until - clock())
            if answer is not None and not _again(answer, request):
                return answer
            wait = self._wait(answer, tried)
            last = tried == self._patience.tries or clock() + wait >= until
            if last or (error is not None and not request.repeatable and not _never_arrived(error)):
                break
            await asyncio.sleep(wait)
        raise self._given_up(request, answer, error)

    async def _once(self, request: "_Request", token: str, left: float) -> tuple[Answer | None, Exception | None]:
        try:
            async with asyncio.timeout(min(self._patience.each, left)):
                return await self._sent(request, token), None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return None, error

    async def _sent(self, request: "_Request", token: str) -> Answer:
        headers = {"User-Agent": self._agent}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None
        if request.body is not None:
            headers["Content-Type"] = "application/json"
            data = io.BytesIO(msgspec.json.encode(request.body))  # bytes of over 1 MiB aiohttp warns of
        async with self._session.request(
            request.method,
            self._url + request.path,
            data=data,
            params=request.query,
            headers=headers,
            allow_redirects=False,
        ) as response:
            return Answer(response.status, await _bounded(response), response.headers)

    def _wait(self, answer: Answer | None, tried: int) -> float:
        told, full = _told(answer) or 0.0, _FIRST_WAIT * 2**tried
        return min(max(told, random.uniform(full / 2, full)), self._patience.longest_wait)  # noqa: S311

    def _given_up(self, request: "_Request", answer: Answer | None, error: Exception | None) -> Unreachable:
        what = f"{self._url} did not serve {request.method} {request.path}: "
        if answer is None:
            return Unreachable(0, "unreachable", what + type(error).__name__)
        said = _refusal(answer)
        kind = TooMany if answer.status == _BUSY else Unreachable
        given_up = kind(
            answer.status, said.code, what + str(said), details=said.details, correlation_id=said.correlation_id
        )
        if isinstance(given_up, TooMany):
            given_up.retry_after = _told(answer)
        return given_up


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    body: Any
    query: Mapping[str, str] | None
    repeatable: bool


def read(answer: Answer, shape: type[T]) -> Envelope[T]:
    try:
        return msgspec.json.decode(answer.raw, type=Envelope[shape])  # type: ignore[valid-type]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unexpected(answer, str(error)) if _is_envelope(answer) else _refusal(answer) from None


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """Its body; nobody's makes this process large."""
    pieces, size = [], 0
    async for piece in response.content.iter_chunked(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > _LARGEST_ANSWER:
            raise _stranger(response.status, f"an answer of more than {_LARGEST_ANSWER} bytes")
    return b"".join(pieces)


def _again(answer: Answer, request: _Request) -> bool:
    """429 was refused before anything was done; what stands behind a 502 nobody knows."""
    return answer.status == _BUSY or (answer.status in _AWAY and request.repeatable)


def _never_arrived(error: Exception) -> bool:
    return isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)


def _told(answer: Answer | None) -> float | None:
    after = "" if answer is None else answer.headers.get("Retry-After", "")
    return float(after) if after.isascii() and after.isdecimal() and len(after) < 10 else None  # noqa: PLR2004


def _refusal(answer: Answer) -> CarillonError:
    try:
        said = msgspec.json.decode(answer.raw, type=ErrorEnvelope)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _stranger(answer.status, f"status {answer.status} without Carillon's envelope")
    kind = Unreachable if answer.status in _AWAY else refusal(answer.status)
    correlation_id = answer.headers.get("X-Correlation-ID")
    details = said.details or ()
    return kind(answer.status, said.error, said.message, details=details, correlation_id=correlation_id)


def _is_envelope(answer: Answer) -> bool:
    try:
        msgspec.json.decode(answer.raw, type=Envelope[Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _unexpected(answer: Answer, what: str) -> CarillonError:
    says = f"Carillon answered something else than this client knows ({what}); are both of one release?"
    return refusal(answer.status)(answer.status, "unexpected_answer", says)


def _stranger(status: int, what: str) -> CarillonError:
    kind = Unreachable if status in _AWAY else refusal(status)
    return kind(status, "not_carillon", f"{what}; is this the right address?")
