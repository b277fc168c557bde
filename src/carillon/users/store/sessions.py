"""Sessions: begun by a login, renewed by refresh tokens, ended by their time, their owner or a replay."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from carillon.contracts.channels import USERS_EVENTS
from carillon.contracts.users import LONGEST_ACCESS_SECONDS
from carillon.kit.database import Connection, Database, Row
from carillon.kit.ids import uuid7
from carillon.users.domain.refreshing import Chain, RefreshParts, refresh_hash, shown_agent
from carillon.users.domain.tokens import Client, Granted, Session, SessionState
from carillon.users.store.changes import audit, touch
from carillon.users.store.credentials import PERMISSIONS

# The lock waits for a revocation under way: what was checked before it must not begin a session after it.
_BEGIN = """
INSERT INTO users.sessions (id, user_id, expires_at, refresh_hash, refresh_salt, user_agent, address)
SELECT $1, u.id, now() + make_interval(secs => $3), $4, $5, $6, $7
FROM (SELECT id FROM users.users WHERE id = $2 AND token_version = $8 AND status = 'active' FOR SHARE) u
RETURNING id
"""
_STATE = """
SELECT s.user_id, u.token_version FROM users.sessions s JOIN users.users u ON u.id = s.user_id
WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > now() AND u.status = 'active'
"""
_LOCK = f"""
SELECT s.user_id, s.refresh_hash, s.refresh_salt, s.generation, u.token_version,
       extract(epoch FROM now() - s.refreshed_at)::float8 AS age,
       extract(epoch FROM s.expires_at - now())::float8 AS seconds_left, {PERMISSIONS} AS permissions
FROM users.sessions s JOIN users.users u ON u.id = s.user_id
WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > now() AND s.refresh_hash IS NOT NULL
    AND u.status = 'active'
FOR UPDATE OF s
"""  # noqa: S608 - made of constants
_ROTATE = """
UPDATE users.sessions SET refresh_hash = $2, generation = generation + 1, refreshed_at = now() WHERE id = $1
"""
_LIST = """
SELECT id, created_at, refreshed_at, expires_at, user_agent, address, count(*) OVER () AS total FROM users.sessions
WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now() ORDER BY id DESC LIMIT $2 OFFSET $3
"""
_COUNT = "SELECT count(*) FROM users.sessions WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now()"
# Of a session that was renewed longer ago than an access token lives nobody holds one: it need not be told of.
_END = """
UPDATE users.sessions SET revoked_at = now(), revoked_reason = $2
WHERE id = ANY($1::uuid[]) AND revoked_at IS NULL AND expires_at > now()
RETURNING id, refreshed_at > now() - make_interval(secs => $3) AS told
"""
_OF_USER = """
SELECT id FROM users.sessions
WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now() AND ($2::uuid IS NULL OR id = $2) AND id <> ALL($3)
ORDER BY id FOR UPDATE
"""
_ANNOUNCE = f"""
INSERT INTO users.outbox (id, topic, body)
SELECT $1, '{USERS_EVENTS}', jsonb_build_object('user_id', id, 'version', version, 'ended_sessions', $3::jsonb)
FROM users.users WHERE id = $2
"""  # noqa: S608 - made of constants
_DROP_ENDED = """
DELETE FROM users.sessions WHERE id = ANY(ARRAY(
    SELECT id FROM users.sessions WHERE expires_at < now() - make_interval(secs => $1) ORDER BY expires_at LIMIT $2
)) RETURNING id
"""
_IN_ONE_EVENT = 100


@dataclass(frozen=True, slots=True)
class Locked:
    """A session that nobody else renews now."""

    chain: Chain
    granted: Granted


class Renewing:
    """The statements of one renewal, all in its transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def locked(self, session_id: UUID) -> Locked | None:
        """None for a session that is unknown, ended, or of a user who may not sign in."""
        row = await self._connection.fetchrow(_LOCK, session_id)
        if row is None:
            return None
        return Locked(
            Chain(row["refresh_hash"], row["refresh_salt"], row["generation"], row["age"]),
            Granted(row["user_id"], session_id, row["token_version"], row["permissions"], row["seconds_left"]),
        )

    async def rotate(self, session_id: UUID, newest_hash: bytes) -> None:
        await self._connection.execute(_ROTATE, session_id, newest_hash)

    async def end_reused(self, session_id: UUID, user_id: UUID) -> None:
        await _end(self._connection, user_id, [session_id], reason="refresh_token_reused")
        await audit(self._connection, "refresh_token_reused", actor_id=None, subject_id=user_id)


class Sessions:
    """Sessions by id and by user."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin_session(
        self, user_id: UUID, *, version: int, seconds: float, client: Client
    ) -> RefreshParts | None:
        """The first refresh token; None for a user who was suspended, or whose version was raised, meanwhile."""
        parts = RefreshParts(uuid7(), 0, secrets.token_urlsafe(32))
        async with self._database.transaction() as connection:
            begun = await connection.fetchval(
                _BEGIN, parts.session_id, user_id, seconds, refresh_hash(parts.secret), secrets.token_bytes(32),
                shown_agent(client.user_agent), client.address, version,
            )  # fmt: skip
            if begun is None:
                return None
            await audit(connection, "signed_in", actor_id=user_id, subject_id=user_id)
        return parts

    async def session(self, session_id: UUID) -> SessionState | None:
        """None for a session that was ended, or whose user may no longer sign in."""
        row = await self._database.fetchrow(_STATE, session_id)
        return None if row is None else SessionState(row["user_id"], row["token_version"])

    @contextlib.asynccontextmanager
    async def renewing(self) -> AsyncIterator[Renewing]:
        """Committed when the block ends."""
        async with self._database.transaction() as connection:
            yield Renewing(connection)

    async def sessions(
        self, user_id: UUID, *, current: UUID | None, limit: int, offset: int
    ) -> tuple[list[Session], int]:
        """Those that go on, the newest first, and how many there are."""
        rows = await self._database.fetch(_LIST, user_id, limit, offset)
        total = rows[0]["total"] if rows else await self._database.fetchval(_COUNT, user_id)
        return [_session(row, current) for row in rows], total

    async def end(self, user_id: UUID, *, only: UUID | None = None, spare: Sequence[UUID] = (), reason: str) -> int:
        """End the sessions of a user, or `only` that one, but those of `spare`. How many there were."""
        async with self._database.transaction() as connection:
            ended = await end_sessions(connection, user_id, only=only, spare=spare, reason=reason)
            if ended:
                await audit(connection, "sessions_ended", actor_id=user_id, subject_id=user_id)
        return ended

    async def end_all(self, user_id: UUID) -> int:
        """End every session of a user and void what they gave, those that begin meanwhile too."""
        async with self._database.transaction() as connection:
            await touch(
                connection, user_id, actor_id=user_id, anyone=False, action="signed_out_everywhere", revokes=True
            )
            rows = await connection.fetch(_OF_USER, user_id, None, [])
            await _revoke(connection, [row["id"] for row in rows], reason="signed_out")
        return len(rows)

    async def drop_ended(self, *, older_than_seconds: float, limit: int) -> int:
        """How many were dropped; at most `limit`."""
        return len(await self._database.fetch(_DROP_ENDED, older_than_seconds, limit))


async def end_sessions(
    connection: Connection, user_id: UUID, *, only: UUID | None = None, spare: Sequence[UUID] = (), reason: str
) -> int:
    """End the sessions of a user within the caller's transaction, and tell everybody. How many there were."""
    rows = await connection.fetch(_OF_USER, user_id, only, list(spare))
    await _end(connection, user_id, [row["id"] for row in rows], reason=reason)
    return len(rows)


async def _end(connection: Connection, user_id: UUID, session_ids: Sequence[UUID], *, reason: str) -> None:
    told = await _revoke(connection, session_ids, reason=reason)
    for start in range(0, len(told), _IN_ONE_EVENT):
        some = [str(session_id) for session_id in told[start : start + _IN_ONE_EVENT]]
        await connection.execute(_ANNOUNCE, uuid7(), user_id, some)


async def _revoke(connection: Connection, session_ids: Sequence[UUID], *, reason: str) -> list[UUID]:
    rows = await connection.fetch(_END, session_ids, reason, LONGEST_ACCESS_SECONDS)
    return [row["id"] for row in rows if row["told"]]


def _session(row: Row, current: UUID | None) -> Session:
    return Session(
        session_id=row["id"],
        created_at=row["created_at"],
        refreshed_at=row["refreshed_at"],
        expires_at=row["expires_at"],
        user_agent=row["user_agent"],
        address=row["address"],
        current=row["id"] == current,
    )
