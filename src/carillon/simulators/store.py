"""Every SQL statement of the simulators."""

from collections.abc import Sequence
from uuid import UUID

from carillon.kit.database import Database, Row
from carillon.kit.ids import uuid7
from carillon.simulators.actions import KeptMail, KeptPush, Mail, Push

_MAIL = "SELECT id, received_at, sender, recipients, raw FROM simulators.mails"
_PUSH = "SELECT id, received_at, project, token, message FROM simulators.pushes"
_FOR_RECIPIENT = "($1::text IS NULL OR recipient_keys @> ARRAY[$1::text])"
_TO_DEVICE = "($1::text IS NULL OR token = $1)"
_TRIM = """
    DELETE FROM simulators.{0} WHERE seq <= (SELECT seq FROM simulators.{0} ORDER BY seq DESC OFFSET $1 LIMIT 1)
"""


class CapturedStore:
    """Batches are committed before they are answered."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep_mails(self, mails: Sequence[Mail]) -> Sequence[UUID | Exception]:
        rows = [
            (uuid7(), mail.sender, mail.recipients, [address.lower() for address in mail.recipients], mail.raw)
            for mail in mails
        ]
        async with self._database.transaction() as connection:
            await connection.executemany(
                "INSERT INTO simulators.mails (id, sender, recipients, recipient_keys, raw)"
                " VALUES ($1, $2, $3, $4, $5)",
                rows,
            )
        return [row[0] for row in rows]

    async def keep_pushes(self, pushes: Sequence[Push]) -> Sequence[UUID | Exception]:
        async with self._database.transaction() as connection:
            await connection.executemany(
                "INSERT INTO simulators.pushes (id, project, token, message) VALUES ($1, $2, $3, $4)",
                [(push.push_id, push.project, push.token, push.message) for push in pushes],
            )
        return [push.push_id for push in pushes]

    async def mails(self, recipient: str | None, *, limit: int, offset: int) -> tuple[list[KeptMail], int]:
        """One page, newest first, and how many there are in all."""
        key = None if recipient is None else recipient.lower()
        async with self._database.transaction() as connection:
            total = await connection.fetchval(f"SELECT count(*) FROM simulators.mails WHERE {_FOR_RECIPIENT}", key)  # noqa: S608
            rows = await connection.fetch(
                f"{_MAIL} WHERE {_FOR_RECIPIENT} ORDER BY seq DESC LIMIT $2 OFFSET $3", key, limit, offset
            )
        return [_mail(row) for row in rows], total

    async def mail(self, mail_id: UUID) -> KeptMail | None:
        row = await self._database.fetchrow(f"{_MAIL} WHERE id = $1", mail_id)
        return None if row is None else _mail(row)

    async def pushes(self, token: str | None, *, limit: int, offset: int) -> tuple[list[KeptPush], int]:
        """One page, newest first, and how many there are in all."""
        async with self._database.transaction() as connection:
            total = await connection.fetchval(f"SELECT count(*) FROM simulators.pushes WHERE {_TO_DEVICE}", token)  # noqa: S608
            rows = await connection.fetch(
                f"{_PUSH} WHERE {_TO_DEVICE} ORDER BY seq DESC LIMIT $2 OFFSET $3",
                *(token, limit, offset),
            )
        return [
            KeptPush(row["received_at"], Push(row["id"], row["project"], row["token"], row["message"])) for row in rows
        ], total

    async def empty_mails(self) -> int:
        """Remove all; how many there were."""
        return _count(await self._database.execute("DELETE FROM simulators.mails"))

    async def trim(self, keep: int) -> int:
        """Remove all but the newest `keep` mails and pushes; how many went."""
        statements = [_TRIM.format(table) for table in ("mails", "pushes")]
        return sum([_count(await self._database.execute(statement, keep)) for statement in statements])


def _mail(row: Row) -> KeptMail:
    return KeptMail(row["id"], row["received_at"], Mail(row["sender"], row["recipients"], row["raw"]))


def _count(done: str) -> int:
    """`DELETE 3` is 3."""
    return int(done.rpartition(" ")[2])
