"""Mails about accounts, committed with what they tell of; they share the outbox's table with the events."""

from collections.abc import Callable
from uuid import UUID

import msgspec

from carillon.kit.database import Connection, Database
from carillon.kit.ids import uuid7
from carillon.users.domain.account_mail import AccountMail, Addressee, Mail, WaitingMail

_PUT = "INSERT INTO users.outbox (id, topic, body) VALUES ($1, 'account_mail', $2)"
_CLAIM = """
UPDATE users.outbox SET available_at = now() + make_interval(secs => $2)
WHERE id = ANY(ARRAY(
    SELECT id FROM users.outbox WHERE available_at <= now() AND topic = 'account_mail'
    ORDER BY available_at LIMIT $1 FOR UPDATE SKIP LOCKED
)) RETURNING id, body
"""
_OWNER = "SELECT name, email FROM users.users WHERE id = $1 AND status = 'active' AND email IS NOT NULL"
_SETTLE = "DELETE FROM users.outbox WHERE id = $1 RETURNING true"
_PUT_OFF = "UPDATE users.outbox SET available_at = now() + make_interval(secs => $2) WHERE id = $1"


class AccountMails:
    """Claimed by lease, as events are; each is settled or put off on its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(self, content: AccountMail) -> None:
        await self._database.execute(_PUT, uuid7(), content)

    async def claim(self, *, size: int, lease_seconds: float) -> list[WaitingMail]:
        rows = await self._database.fetch(_CLAIM, size, lease_seconds)
        waiting = [WaitingMail(row["id"], msgspec.convert(row["body"], AccountMail)) for row in rows]
        return sorted(waiting, key=lambda mail: mail.mail_id)

    async def settle(self, mail_id: UUID) -> None:
        await self._database.execute(_SETTLE, mail_id)

    async def put_off(self, mail_id: UUID, seconds: float) -> None:
        await self._database.execute(_PUT_OFF, mail_id, seconds)


async def put_mail(connection: Connection, content: AccountMail) -> None:
    """Within the transaction of what it tells of."""
    await connection.execute(_PUT, uuid7(), content)


async def put_notice(connection: Connection, user_id: UUID, told: Callable[[Addressee], Mail]) -> None:
    """As above, to the owner's address, if they can be written to."""
    owner = await connection.fetchrow(_OWNER, user_id)
    if owner is not None:
        await put_mail(connection, told(Addressee(user_id, owner["name"], owner["email"])))


async def taken(connection: Connection, mail_id: UUID) -> bool:
    """Take what was asked for out of the outbox; False where another process did."""
    return await connection.fetchval(_SETTLE, mail_id) is not None
