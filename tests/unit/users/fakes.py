"""Fakes with state for the ports of the users service."""

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from carillon.contracts.preferences import CategoryRule
from carillon.kit.auth import CallerKind
from carillon.kit.errors import Unavailable
from carillon.kit.ids import uuid7
from carillon.users.actions.founding import KnownAdmin, KnownCredentials
from carillon.users.domain.people import Address
from carillon.users.domain.preferences import Person
from carillon.users.domain.refreshing import RefreshParts
from carillon.users.domain.second_factors import Waiting
from carillon.users.domain.tokens import Account, Client, OpaqueToken, SessionState


@dataclass
class FakePasswords:
    """Hashes by prefixing, and counts the work that was asked for."""

    looked_at: list[str | None] = field(default_factory=list)

    async def hashed(self, password: str) -> str:
        return f"hash of {password}"

    def outdated(self, kept: str) -> bool:
        return not kept.startswith("hash of ")

    def is_common(self, password: str) -> bool:
        return password == "password"

    async def matches(self, kept: str | None, password: str) -> bool:
        self.looked_at.append(kept)
        return kept == f"hash of {password}"


@dataclass(frozen=True)
class BegunLogin:
    user_id: UUID
    version: int
    secret_hash: bytes


@dataclass
class FakeChallenges:
    """Logins that wait for a code."""

    begun: list[BegunLogin] = field(default_factory=list)

    async def begin(self, user_id: UUID, *, version: int, secret_hash: bytes, seconds: float) -> None:
        self.begun.append(BegunLogin(user_id, version, secret_hash))

    async def waiting(self, secret_hash: bytes) -> Waiting | None:
        raise AssertionError("nobody goes on with it here")

    async def use(self, secret_hash: bytes) -> bool:
        raise AssertionError("nobody goes on with it here")


@dataclass
class FakeCredentials:
    accounts: dict[str, Account] = field(default_factory=dict)
    sessions: dict[UUID, SessionState] = field(default_factory=dict)
    tokens: dict[UUID, OpaqueToken] = field(default_factory=dict)
    away: bool = False
    asked: int = 0

    async def account(self, email_key: str) -> Account | None:
        return self.accounts.get(email_key)

    async def renew_hash(self, user_id: UUID, *, kept: str, renewed: str) -> bool:
        raise AssertionError("nothing here is out of date")

    async def begin_session(
        self, user_id: UUID, *, version: int, seconds: float, client: Client
    ) -> RefreshParts | None:
        parts = RefreshParts(uuid7(), 0, secrets.token_urlsafe(32))
        self.sessions[parts.session_id] = SessionState(user_id, version)
        return parts

    async def session(self, session_id: UUID) -> SessionState | None:
        self._ask()
        return self.sessions.get(session_id)

    async def opaque_token(self, token_id: UUID) -> OpaqueToken | None:
        self._ask()
        found = self.tokens.get(token_id)
        return found if found and found.expires_at > time.time() else None

    def _ask(self) -> None:
        self.asked += 1
        if self.away:
            raise Unavailable("away")


@dataclass
class FakePeople:
    """The reader of look-ups; each query is remembered."""

    known: dict[UUID, Person] = field(default_factory=dict)
    queries: list[list[UUID]] = field(default_factory=list)
    rules: dict[str, CategoryRule] = field(default_factory=dict)
    away: bool = False

    async def rule(self, code: str) -> CategoryRule | None:
        if self.away:
            raise Unavailable("away")
        return self.rules.get(code)

    async def people(self, user_ids: Sequence[UUID]) -> list[Person]:
        if self.away:
            raise Unavailable("away")
        self.queries.append(list(user_ids))
        return [self.known[user_id] for user_id in user_ids if user_id in self.known]


@dataclass
class FakeFoundations:
    """A database in which foundations are laid; `laying` undoes everything when it fails, as a transaction does."""

    admins: dict[str, tuple[UUID, str]] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    accounts: dict[str, tuple[UUID, tuple[str, ...]]] = field(default_factory=dict)
    tokens: dict[UUID, tuple[UUID, tuple[str, ...], bytes, datetime]] = field(default_factory=dict)

    @asynccontextmanager
    async def laying(self) -> AsyncIterator["FakeFoundations"]:
        before = dict(self.admins), dict(self.accounts), dict(self.tokens)
        try:
            yield self
        except BaseException:
            self.admins, self.accounts, self.tokens = before
            raise

    async def admin(self, email_key: str) -> KnownAdmin | None:
        found = self.admins.get(email_key)
        return None if found is None else KnownAdmin(*found, changed=email_key in self.changed)

    async def put_admin(self, address: Address, password_hash: str) -> UUID:
        user_id = self.admins[address.key][0] if address.key in self.admins else uuid7()
        self.admins[address.key] = (user_id, password_hash)
        self.changed.discard(address.key)
        return user_id

    async def put_account(self, name: str, kind: CallerKind, permissions: Sequence[str]) -> UUID | None:
        account_id = self.accounts[name][0] if name in self.accounts else uuid7()
        self.accounts[name] = (account_id, tuple(permissions))
        return account_id

    async def token_hash(
        self, token_id: UUID, *, account: str, abilities: Sequence[str], good_until: datetime
    ) -> bytes | None:
        found = self.tokens.get(token_id)
        if found is None or found[0] != self.accounts[account][0] or set(found[1]) != set(abilities):
            return None
        return found[2] if found[3] > good_until else None

    async def replace_tokens(
        self,
        account_id: UUID,
        token_id: UUID,
        *,
        abilities: Sequence[str],
        secret_hash: bytes,
        expires_at: datetime,
        grace_seconds: float,
    ) -> None:
        self.tokens[token_id] = (account_id, tuple(abilities), secret_hash, expires_at)


@dataclass
class FakeKeeper:
    """The files of an installation; `full` is a disk that takes nothing more."""

    known: KnownCredentials | None = None
    tokens: dict[str, str] = field(default_factory=dict)
    writes: int = 0
    full: bool = False

    async def credentials(self) -> KnownCredentials | None:
        return self.known

    async def keep_credentials(self, known: KnownCredentials) -> None:
        self._write()
        self.known = known

    async def token(self, service: str) -> str:
        return self.tokens.get(service, "")

    async def keep_token(self, service: str, token: str) -> None:
        self._write()
        self.tokens[service] = token

    def _write(self) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.writes += 1
