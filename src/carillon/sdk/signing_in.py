"""Where the token of a client comes from: given once and for all, or had by signing in, and renewed before it ends."""

import asyncio
from typing import TYPE_CHECKING

import msgspec

from carillon.sdk.errors import Unauthorized
from carillon.sdk.exchange import read

if TYPE_CHECKING:
    from carillon.sdk.exchange import Exchange

_EARLIER = 30.0
"""Seconds before its end that a token is no longer used."""


class SignedIn(msgspec.Struct, frozen=True):
    """Answer of `POST /auth/login` and `/auth/refresh`; `expires_in` in seconds."""

    access_token: str
    expires_in: int
    refresh_token: str = ""

    def __repr__(self) -> str:
        return f"SignedIn(expires_in={self.expires_in})"


class Given:
    """A token that stays what it is."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self, _exchange: "Exchange") -> str:
        return self._token

    def refused(self, _token: str) -> bool:
        return False


class Login:
    """An address and a password: many calls at once sign in once. The session is renewed when its token nears its end;
    where it cannot be, a new one begins."""

    def __init__(self, email: str, password: str) -> None:
        self._body = {"email": email, "password": password}
        self._token, self._until, self._refresh = "", 0.0, ""
        self._one_at_a_time = asyncio.Lock()

    async def token(self, exchange: "Exchange") -> str:
        async with self._one_at_a_time:
            clock = asyncio.get_running_loop().time
            if not self._token or clock() >= self._until:
                granted = await self._renewed(exchange) or await _granted(exchange, "/auth/login", self._body)
                self._token, self._refresh = granted.access_token, granted.refresh_token
                self._until = clock() + max(granted.expires_in - _EARLIER, granted.expires_in / 2)
            return self._token

    async def _renewed(self, exchange: "Exchange") -> SignedIn | None:
        """None where there is no session, or it has ended: a lost answer may have spent the refresh token."""
        refresh, self._refresh = self._refresh, ""
        try:
            return await _granted(exchange, "/auth/refresh", {"refresh_token": refresh}) if refresh else None
        except Unauthorized:
            return None

    def refused(self, token: str) -> bool:
        if token == self._token:
            self._token = ""
        return True


async def _granted(exchange: "Exchange", path: str, body: dict[str, str]) -> SignedIn:
    return read(await exchange.answer("POST", path, body=body, signed=False), SignedIn).data
