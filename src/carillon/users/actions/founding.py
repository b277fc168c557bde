"""The first start: signing key, administrator, application and service tokens. Idempotent, and safe to race.

What the files say is believed only after the database has confirmed it; what does not work is replaced.
"""

import secrets
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from typing import Protocol
from uuid import UUID

import msgspec
import structlog

from carillon.kit.auth import CallerKind
from carillon.kit.ids import uuid7
from carillon.users.actions.authenticating import secret_hash
from carillon.users.domain.people import Address
from carillon.users.domain.tokens import OpaqueParts, opaque_parts, opaque_text

_log = structlog.get_logger()
_GRACE_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Principal:
    """An account that is no person, and all that its token may do."""

    name: str
    kind: CallerKind
    permissions: tuple[str, ...]


APPLICATION = Principal("application", "application", ("notifications:read", "notifications:send"))
SERVICES = (
    Principal("gateway", "service", ("templates:read", "tokens:introspect", "users:contact")),
    Principal("users", "service", ("notifications:send",)),
    Principal("templates", "service", ("tokens:introspect",)),
    Principal("email_worker", "service", ("notifications:report", "templates:read", "users:contact")),
    Principal(
        "push_worker", "service", ("devices:invalidate", "notifications:report", "templates:read", "users:contact")
    ),
)


class KnownCredentials(msgspec.Struct, frozen=True):
    """`credentials.json`. The password is empty once the administrator has changed it: nobody writes it down then."""

    admin_email: str
    admin_password: str
    admin_user_id: UUID
    application_token: str


@dataclass(frozen=True, slots=True)
class KnownAdmin:
    """The administrator as they are; `changed`: the password is one of their own, not the one of the first start."""

    user_id: UUID
    password_hash: str | None
    changed: bool


class Foundations(Protocol):
    """What is laid in the database, within one transaction."""

    async def admin(self, email_key: str) -> KnownAdmin | None: ...

    async def put_admin(self, address: Address, password_hash: str) -> UUID: ...

    async def put_account(self, name: str, kind: CallerKind, permissions: Sequence[str]) -> UUID | None: ...

    async def token_hash(
        self, token_id: UUID, *, account: str, abilities: Sequence[str], good_until: datetime
    ) -> bytes | None: ...

    async def replace_tokens(
        self,
        account_id: UUID,
        token_id: UUID,
        *,
        abilities: Sequence[str],
        secret_hash: bytes,
        expires_at: datetime,
        grace_seconds: float,
    ) -> None: ...


class Layer(Protocol):
    """Lets one process at a time lay foundations."""

    def laying(self) -> AbstractAsyncContextManager[Foundations]: ...


class Passwords(Protocol):
    async def hashed(self, password: str) -> str: ...

    async def matches(self, kept: str | None, password: str) -> bool: ...


class Keeper(Protocol):
    """Where this installation keeps its credentials; what it answers may be stale, broken or absent."""

    async def credentials(self) -> KnownCredentials | None: ...

    async def keep_credentials(self, known: KnownCredentials) -> None: ...

    async def token(self, service: str) -> str: ...

    async def keep_token(self, service: str, token: str) -> None: ...


async def found(admin: Address, *, layer: Layer, passwords: Passwords, keeper: Keeper, token_days: int) -> None:
    """Afterwards every kept credential works, and an administrator who chose a password still has it.

    Files are in place before the commit: a crash between the two leaves credentials that do not work, and the next
    start replaces them.
    """
    async with layer.laying() as foundations:
        minting = _Minting(foundations, token_days)
        before = await keeper.credentials()
        now = KnownCredentials(
            admin.shown,
            *await _admin(admin, before, foundations, passwords),
            await minting.token(APPLICATION, before.application_token if before else ""),
        )
        if now != before:
            await keeper.keep_credentials(now)
        for service in SERVICES:
            kept = await keeper.token(service.name)
            if (token := await minting.token(service, kept)) != kept:
                await keeper.keep_token(service.name, token)


async def _admin(
    address: Address, before: KnownCredentials | None, foundations: Foundations, passwords: Passwords
) -> tuple[str, UUID]:
    """The password that works, or none where it is the administrator's own; and their id."""
    there = await foundations.admin(address.key)
    if there is not None:
        kept = before.admin_password if before else ""
        if kept and await passwords.matches(there.password_hash, kept):
            return kept, there.user_id
        if there.changed:
            return "", there.user_id
    password = secrets.token_urlsafe(24)
    user_id = await foundations.put_admin(address, await passwords.hashed(password))
    _log.info("admin_made", user_id=str(user_id), replaced=there is not None)
    return password, user_id


class _Minting:
    def __init__(self, foundations: Foundations, token_days: int) -> None:
        self._foundations = foundations
        self._life = timedelta(days=token_days)

    async def token(self, principal: Principal, kept: str) -> str:
        """The kept token where it works and has a third of its life left, or where the account was disabled; else a
        new one."""
        account_id = await self._foundations.put_account(principal.name, principal.kind, principal.permissions)
        if account_id is None:
            _log.warning("account_disabled", account=principal.name)
            return kept
        if await self._works(principal, kept):
            return kept
        parts = OpaqueParts(uuid7(), secrets.token_urlsafe(32))
        await self._foundations.replace_tokens(
            account_id,
            parts.token_id,
            abilities=principal.permissions,
            secret_hash=secret_hash(parts.secret),
            expires_at=datetime.now(UTC) + self._life,
            grace_seconds=_GRACE_SECONDS,
        )
        _log.info("token_made", account=principal.name)
        return opaque_text(parts)

    async def _works(self, principal: Principal, kept: str) -> bool:
        parts = opaque_parts(kept)
        if parts is None:
            return False
        known = await self._foundations.token_hash(
            parts.token_id,
            account=principal.name,
            abilities=principal.permissions,
            good_until=datetime.now(UTC) + self._life / 3,
        )
        return known is not None and compare_digest(known, secret_hash(parts.secret))
