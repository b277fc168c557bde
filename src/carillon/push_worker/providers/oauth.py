"""Access tokens for a service account: a signed assertion becomes a bearer token, kept until shortly before its end."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import msgspec

from carillon.kit.settings import SettingsError

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_SECONDS = 3600
_EARLY_SECONDS = 60.0


class ServiceAccount(msgspec.Struct, frozen=True):
    """The fields of the file that matter; further ones are left alone."""

    project_id: str
    private_key: str
    client_email: str
    token_uri: str
    private_key_id: str | None = None

    def __repr__(self) -> str:
        return f"ServiceAccount({self.client_email})"


def read_service_account(path: Path) -> ServiceAccount:
    """Raises SettingsError saying what is wrong with the file; it never quotes the file."""
    try:
        account = msgspec.json.decode(path.read_bytes(), type=ServiceAccount)
        jwt.encode({}, account.private_key, algorithm="RS256")
    except OSError as error:
        raise SettingsError(f"CARILLON_SERVICE_ACCOUNT_FILE: {path} cannot be read ({error.strerror}).") from None
    except (msgspec.DecodeError, jwt.PyJWTError, ValueError, TypeError):
        raise SettingsError(
            f"CARILLON_SERVICE_ACCOUNT_FILE: {path} is no service account; download it anew from the console."
        ) from None
    return account


class AuthenticationFailed(Exception):
    """No access token was given: the sentence tells the status, or what went wrong on the way."""


class AccessTokens:
    """One token at a time, asked for by one caller while the others wait; they share what it was told."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        account: ServiceAccount,
        *,
        seconds: float = 10,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._session = session
        self._account = account
        self._deadline = aiohttp.ClientTimeout(total=seconds)
        self._now = now
        self._asking = asyncio.Lock()
        self._token, self._until = "", 0.0
        self._refusals, self._why = 0, ""

    async def token(self, *, instead_of: str = "") -> str:
        """A token that is still good, or a new one `instead_of` one that was refused. Raises AuthenticationFailed."""
        before = self._refusals
        async with self._asking:
            if not self._token or self._token == instead_of or self._now() >= self._until:
                if self._refusals != before:  # asking in turn would keep the last one waiting past its deadline
                    raise AuthenticationFailed(self._why)
                await self._renew()
            return self._token

    async def _renew(self) -> None:
        try:
            self._token, self._until = await self._ask()
        except AuthenticationFailed as error:
            self._refusals, self._why = self._refusals + 1, str(error)
            raise

    async def _ask(self) -> tuple[str, float]:
        form = {"grant_type": GRANT, "assertion": self._assertion()}
        try:
            async with self._session.post(self._account.token_uri, data=form, timeout=self._deadline) as answer:
                status, said = answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AuthenticationFailed(type(error).__name__) from error
        try:
            found: dict[str, Any] = msgspec.json.decode(said, type=dict[str, Any])
            return str(found["access_token"]), self._now() + float(found.get("expires_in", 0)) - _EARLY_SECONDS
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            raise AuthenticationFailed(f"the token endpoint answered {status}") from error

    def _assertion(self) -> str:
        now = int(self._now())
        account = self._account
        claims = {"iss": account.client_email, "scope": SCOPE, "aud": account.token_uri, "iat": now}
        claims |= {"exp": now + _ASSERTION_SECONDS}
        headers = {"kid": account.private_key_id} if account.private_key_id else None
        return jwt.encode(claims, account.private_key, algorithm="RS256", headers=headers)
