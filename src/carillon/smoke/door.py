"""Questions to a front door: asked again while it is away until the time is up; what fails is a sentence."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
import msgspec

from carillon.contracts.envelope import Envelope, ErrorEnvelope

T = TypeVar("T")

_AGAIN = frozenset({429, 502, 503, 504})
_PAUSE = 0.2
_ONE_QUESTION = 10.0


class Failed(Exception):
    """The platform does not serve; the sentence says what to do."""


class Door:
    """`deadline` on the clock of the running loop bounds all questions together."""

    def __init__(self, session: aiohttp.ClientSession, url: str, *, deadline: float) -> None:
        self.url = url.rstrip("/")
        self._session = session
        self._deadline = deadline

    @property
    def time_is_up(self) -> bool:
        return asyncio.get_running_loop().time() >= self._deadline

    async def rest(self) -> None:
        left = self._deadline - asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, min(_PAUSE, left)))

    async def ready(self) -> bool:
        """False where the door keeps that to itself, as a proxy may."""
        question = "GET /ready"
        status, raw = await self._asked("GET", "/ready", {}, None)
        if status == HTTPStatus.NOT_FOUND:
            return False
        _decoded(raw, Envelope[Any], status, f"{question} at {self.url}")
        return True

    async def ask(
        self, method: str, path: str, shape: type[T], *, token: str = "", body: Mapping[str, Any] | None = None
    ) -> T:
        """The data of the answer. Raises Failed."""
        question = f"{method} /api/v1{path}"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        status, raw = await self._asked(method, f"/api/v1{path}", headers, body)
        if status >= HTTPStatus.BAD_REQUEST:
            said = _decoded(raw, ErrorEnvelope, status, f"{question} at {self.url}")
            raise Failed(f"{question} is refused with {status}: {said.message} {_advice(status, said.error)}".rstrip())
        found: Envelope[T] = _decoded(raw, Envelope[shape], status, f"{question} at {self.url}")  # type: ignore[valid-type]
        return found.data

    async def _asked(
        self, method: str, path: str, headers: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> tuple[int, bytes]:
        while True:
            try:
                status, raw = await self._once(method, path, headers, body)
            except aiohttp.InvalidURL:
                raise Failed(f"{self.url} is no address. Give one as in http://127.0.0.1:8000.") from None
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                trouble = (
                    f"Nothing answers {method} {path} at {self.url} ({type(error).__name__}). "
                    "Is it the front door's address, and does its proxy run?"
                )
            else:
                if status not in _AGAIN:
                    return status, raw
                trouble = f"{method} {path} is answered {status}: {_said(raw)}"
            if self.time_is_up:
                raise Failed(trouble)
            await self.rest()

    async def _once(
        self, method: str, path: str, headers: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> tuple[int, bytes]:
        async with (
            asyncio.timeout(_ONE_QUESTION),
            asyncio.timeout_at(max(self._deadline, asyncio.get_running_loop().time() + _PAUSE)),
            self._session.request(
                method, self.url + path, headers=dict(headers), json=body, allow_redirects=False
            ) as answer,
        ):
            return answer.status, await answer.read()


def _decoded(raw: bytes, shape: Any, status: int, question: str) -> Any:
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.DecodeError:
        raise Failed(
            f"{question} is answered with {status}, but not as Carillon answers. Is it the front door's address?"
        ) from None


def _advice(status: int, code: str) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        return "Name the files of this platform: --data-dir, or --token-file and --user."
    if status == HTTPStatus.FORBIDDEN:
        return "The token needs the permission to send notifications."
    if code == "template_not_found":
        return "Name one that is published: --template."
    if code == "not_found":
        return "The service that owns this path is not behind this door."
    return ""


def _said(raw: bytes) -> str:
    try:
        return msgspec.json.decode(raw, type=ErrorEnvelope).message
    except msgspec.DecodeError:
        return "a service is away. The logs of the proxy and of the services tell which."
