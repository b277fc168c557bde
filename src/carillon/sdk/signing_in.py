"""Where the token of a client comes from: given once and for all, or had by signing in, again before it ends."""

import asyncio
from typing import TYPE_CHECKING

import msgspec

from carillon.sdk.exchange import read

if TYPE_CHECKING:
    from carillon.sdk.exchange import Exchange

_EARLIER = 30.0
"""Seconds before its end that a token is no longer used."""


class SignedIn(msgspec.Struct, frozen=True):
    """Answer of `POST /auth/login`; `expires_in` in seconds."""

    access_token: str
    expires_in: int

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
    """An address and a password: many calls at once sign in once, and again when that token nears its end."""

    def __init__(self, email: str, password: str) -> None:
        self._body = {"email": email, "password": password}
        self._token, self._until = "", 0.0
        self._one_at_a_time = asyncio.Lock()

    async def token(self, exchange: "Exchange") -> str:
        async with self._one_at_a_time:
            clock = asyncio.get_running_loop().time
            if not self._token or clock() >= self._until:
                answer = await exchange.answer("POST", "/auth/login", body=self._body, signed=False)
                granted = read(answer, SignedIn).data
                self._token = granted.access_token
                self._until = clock() + max(granted.expires_in - _EARLIER, granted.expires_in / 2)
            return self._token

    def refused(self, token: str) -> bool:
        if token == self._token:
            self._token = ""
        return True
