"""Opaque tokens of people and of applications: made, seen without their secrets, revoked, their use noted."""

from collections.abc import Mapping
from typing import Literal
from uuid import UUID

from carillon.contracts.channels import USERS_EVENTS
from carillon.kit.database import Connection, Database, Row
from carillon.kit.ids import uuid7
from carillon.users.domain.idempotency import Once
from carillon.users.domain.tokens import NewToken, OpaqueSeen, Owner
from carillon.users.store.changes import audit
from carillon.users.store.idempotency import claim, release

_COLUMN: Mapping[Owner, str] = {"user": "user_id", "application": "service_account_id"}
# The lock has those who make tokens of one owner at once count one after the other.
_LOCK: Mapping[Owner, str] = {
    "user": "SELECT id FROM users.users WHERE id = $1 AND status = 'active' FOR NO KEY UPDATE",
    "application": """
        SELECT id FROM users.service_accounts
        WHERE id = $1 AND kind = 'application' AND disabled_at IS NULL FOR NO KEY UPDATE
    """,
}
# The tokens of Carillon's own services are not for anybody to revoke.
_OWNED: Mapping[Owner, str] = {
    "user": "user_id = $2",
    "application": """
        service_account_id = (SELECT id FROM users.service_accounts WHERE id = $2 AND kind = 'application')
    """,
}
_WORKS = "revoked_at IS NULL AND expires_at > now()"


def _count(owner: Owner) -> str:
    return f"SELECT count(*) FROM users.personal_access_tokens WHERE {_COLUMN[owner]} = $1 AND {_WORKS}"  # noqa: S608


def _add(owner: Owner) -> str:
    return f"""
        INSERT INTO users.personal_access_tokens (id, {_COLUMN[owner]}, name, abilities, secret_hash, expires_at)
        VALUES ($1, $2, $3, $4, $5, now() + make_interval(days => $6))
        RETURNING id, name, abilities, created_at, expires_at, last_used_at
    """  # noqa: S608 - made of constants


def _list(owner: Owner) -> str:
    return f"""
        SELECT id, name, abilities, created_at, expires_at, last_used_at, count(*) OVER () AS total
        FROM users.personal_access_tokens WHERE {_COLUMN[owner]} = $1 AND {_WORKS}
        ORDER BY id DESC LIMIT $2 OFFSET $3
    """  # noqa: S608 - made of constants


def _revoke(owner: Owner) -> str:
    return f"""
        UPDATE users.personal_access_tokens SET revoked_at = now()
        WHERE id = $1 AND {_OWNED[owner]} AND {_WORKS} RETURNING id
    """  # noqa: S608 - made of constants


# An application has no version of its own: nobody remembers more of it than its tokens.
_ANNOUNCE = f"""
INSERT INTO users.outbox (id, topic, body) VALUES ($1, '{USERS_EVENTS}', jsonb_build_object(
    'user_id', $2::uuid, 'version', coalesce((SELECT version FROM users.users WHERE id = $2), 0), 'tokens_changed', true
))
"""  # noqa: S608 - made of constants
_USED = """
UPDATE users.personal_access_tokens t SET last_used_at = to_timestamp(used.at)
FROM (SELECT * FROM unnest($1::uuid[], $2::float8[]) AS used (id, at) ORDER BY id) used
WHERE t.id = used.id AND (t.last_used_at IS NULL OR t.last_used_at < to_timestamp(used.at) - interval '1 minute')
"""


class OpaqueTokens:
    """Every statement names the owner: a token of another is none."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, token: NewToken, *, owner: Owner, owner_id: UUID, actor_id: UUID, most: int, once: Once | None = None
    ) -> OpaqueSeen | Literal["no_owner", "too_many"]:
        """Raises AlreadyMade, IdempotencyKeyReused."""
        async with self._database.transaction() as connection:
            await claim(connection, once, token.token_id)
            if await connection.fetchval(_LOCK[owner], owner_id) is None:
                await release(connection, once)
                return "no_owner"
            if await connection.fetchval(_count(owner), owner_id) >= most:
                await release(connection, once)
                return "too_many"
            row = await connection.fetchrow(
                _add(owner), token.token_id, owner_id, token.name, token.abilities, token.secret_hash, token.days
            )
            detail = {"token_id": str(token.token_id), "abilities": list(token.abilities)}
            await audit(connection, "token_made", actor_id=actor_id, subject_id=owner_id, detail=detail)
            return _seen(row)

    async def tokens(self, *, owner: Owner, owner_id: UUID, limit: int, offset: int) -> tuple[list[OpaqueSeen], int]:
        """Those that work, the newest first, and how many there are."""
        rows = await self._database.fetch(_list(owner), owner_id, limit, offset)
        total = rows[0]["total"] if rows else await self._database.fetchval(_count(owner), owner_id)
        return [_seen(row) for row in rows], total

    async def revoke(self, token_id: UUID, *, owner: Owner, owner_id: UUID, actor_id: UUID) -> bool:
        async with self._database.transaction() as connection:
            if await connection.fetchval(_revoke(owner), token_id, owner_id) is None:
                return False
            await announce_tokens_changed(connection, owner_id)
            detail = {"token_id": str(token_id)}
            await audit(connection, "token_revoked", actor_id=actor_id, subject_id=owner_id, detail=detail)
            return True

    async def note_used(self, used: Mapping[UUID, float]) -> None:
        """When tokens were last used, in Unix seconds; at most once a minute for each."""
        await self._database.execute(_USED, list(used), list(used.values()))


async def announce_tokens_changed(connection: Connection, owner_id: UUID) -> None:
    """Have every process verify the tokens of this owner anew, once the transaction is committed."""
    await connection.execute(_ANNOUNCE, uuid7(), owner_id)


def _seen(row: Row) -> OpaqueSeen:
    return OpaqueSeen(
        token_id=row["id"],
        name=row["name"],
        abilities=list(row["abilities"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
    )
