"""What every change leaves behind in the same transaction: a higher version, an event to announce, a line of audit."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from carillon.contracts.channels import USERS_EVENTS
from carillon.kit.database import Connection
from carillon.kit.errors import Forbidden, check_version
from carillon.kit.ids import uuid7
from carillon.kit.telemetry import correlation
from carillon.users.domain.roles import Actor, not_held
from carillon.users.errors import CannotActOn
from carillon.users.store.credentials import PERMISSIONS

_TOUCH = f"""
WITH touched AS (
    UPDATE users.users SET version = version + 1, token_version = token_version + $9::int, updated_at = now()
    WHERE id = $1 AND (id = $2 OR $3) AND status <> 'erased'
    RETURNING id, version, token_version
), announced AS (
    INSERT INTO users.outbox (id, topic, body)
    SELECT $4, '{USERS_EVENTS}', jsonb_build_object('user_id', id, 'version', version)
        || CASE $9::int WHEN 0 THEN '{{}}'
           ELSE jsonb_build_object('token_version', token_version, 'tokens_changed', true) END
    FROM touched
), audited AS (
    INSERT INTO users.audit_events (id, actor_id, action, subject_id, detail, correlation_id)
    SELECT $5, $2, $6, id, $7, $8 FROM touched
)
SELECT version FROM touched
"""  # noqa: S608 - made of constants
_HELD = f"SELECT {PERMISSIONS} FROM users.users u WHERE u.id = $1"  # noqa: S608 - made of constants
_BITE = 2_000
_TOUCH_HOLDERS = f"""
WITH bite AS MATERIALIZED (
    SELECT u.id FROM users.user_roles ur JOIN users.users u ON u.id = ur.user_id
    WHERE ur.role_id = $1 AND ur.user_id > $2 AND u.status <> 'erased'
    ORDER BY u.id LIMIT $3 FOR NO KEY UPDATE OF u
), touched AS (
    UPDATE users.users SET version = version + 1, token_version = token_version + 1, updated_at = now()
    WHERE id IN (SELECT id FROM bite) RETURNING id, version, token_version
), announced AS (
    INSERT INTO users.outbox (id, topic, body)
    SELECT gen_random_uuid(), '{USERS_EVENTS}', jsonb_build_object(
        'user_id', id, 'version', version, 'token_version', token_version, 'tokens_changed', true)
    FROM touched
)
SELECT id FROM touched
"""  # noqa: S608 - made of constants
_AUDIT = """
INSERT INTO users.audit_events (id, actor_id, action, subject_id, detail, correlation_id)
VALUES ($1, $2, $3, $4, $5, $6)
"""


async def touch(
    connection: Connection,
    user_id: UUID,
    *,
    actor_id: UUID | None,
    anyone: bool,
    action: str,
    detail: dict[str, Any] | None = None,
    revokes: bool = False,
    expected: Collection[int] | None = None,
) -> int | None:
    """Lock the user and raise the version; None when there is none, or none that `actor_id` may change.

    `anyone`: the actor may change every user. `revokes`: what the user may do has changed, so access tokens issued
    before are void and opaque ones are verified anew. `expected`: the versions that the writer insists on; raises
    PreconditionFailed for any other, which undoes the transaction.
    """
    version: int | None = await connection.fetchval(
        _TOUCH, user_id, actor_id, anyone, uuid7(), uuid7(), action, detail or {}, correlation.current(),
        int(revokes),
    )  # fmt: skip
    if version is not None:
        check_version(version - 1, expected)
    return version


async def touch_as(
    connection: Connection,
    user_id: UUID,
    by: Actor,
    *,
    action: str,
    detail: dict[str, Any] | None = None,
    expected: Collection[int] | None = None,
    signed_in: bool = False,
) -> int | None:
    """`touch` for somebody who asks for it: the one place that keeps them from acting on who may do more.

    What the user may do is read under the lock of `touch`, so that no right is given in between. `signed_in`: for
    themselves people do this by a login alone. Raises CannotActOn and Forbidden too.
    """
    version = await touch(
        connection, user_id, actor_id=by.actor_id, anyone=by.anyone, action=action, detail=detail, expected=expected
    )
    if version is None:
        return None
    if user_id == by.actor_id:
        if signed_in and by.session_id is None:
            raise Forbidden("Sign in for this: a personal access token was made for less.")
        return version
    if above := not_held(await connection.fetchval(_HELD, user_id), by.holds):
        raise CannotActOn(above)
    return version


async def touch_holders(connection: Connection, role_id: UUID) -> list[UUID]:
    """Touch everybody who has a role, with `revokes`; in bites, by id, that no statement takes long."""
    concerned: list[UUID] = []
    while bite := await connection.fetch(_TOUCH_HOLDERS, role_id, concerned[-1] if concerned else UUID(int=0), _BITE):
        concerned += sorted(row["id"] for row in bite)
    return concerned


async def audit(
    connection: Connection,
    action: str,
    *,
    actor_id: UUID | None,
    subject_id: UUID | None,
    detail: dict[str, Any] | None = None,
) -> None:
    """A line of audit alone, for what changes no look-up."""
    await connection.execute(_AUDIT, uuid7(), actor_id, action, subject_id, detail or {}, correlation.current())
