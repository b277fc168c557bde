"""Second factors, recovery codes, and logins that wait for a code. Each is used once, however many try at once."""

from collections.abc import Sequence
from uuid import UUID

from carillon.kit.database import Connection, Database
from carillon.kit.ids import uuid7
from carillon.users.actions.telling import Told
from carillon.users.domain.second_factors import SecondFactor, TooSoon, Try, Waiting
from carillon.users.domain.tokens import Account
from carillon.users.store.account_mail import put_notice
from carillon.users.store.changes import audit, touch
from carillon.users.store.credentials import PERMISSIONS
from carillon.users.store.sessions import end_sessions

_STATE = """
SELECT confirmed_at,
       (SELECT count(*) FROM users.recovery_codes c WHERE c.user_id = f.user_id AND used_at IS NULL) AS codes_left
FROM users.second_factors f WHERE user_id = $1 AND confirmed_at IS NOT NULL
"""
# A new one in the place of one that was never confirmed.
_BEGIN = """
INSERT INTO users.second_factors AS f (id, user_id, secret)
SELECT $1, u.id, $3 FROM (SELECT id FROM users.users WHERE id = $2 AND status = 'active' FOR SHARE) u
ON CONFLICT (user_id) DO UPDATE
SET id = excluded.id, secret = excluded.secret, created_at = now(), failures = 0, retry_at = now()
WHERE f.confirmed_at IS NULL
RETURNING id
"""
# The failure is counted before the code is looked at: of many guesses at once, each is one try. The clock is read when
# the row is at hand: a try that waited for another's lock began before that one set `retry_at`.
_TRY = """
WITH tried AS (
    UPDATE users.second_factors SET failures = failures + 1,
        retry_at = now() + make_interval(secs => ($3::float8[])[least(failures + 1, cardinality($3::float8[]))])
    WHERE user_id = $1 AND (confirmed_at IS NOT NULL) = $2 AND retry_at <= clock_timestamp()
    RETURNING id, secret, last_step, failures
)
SELECT t.id, t.secret, t.last_step, t.failures, extract(epoch FROM f.retry_at - now())::float8 AS seconds
FROM users.second_factors f LEFT JOIN tried t ON t.id = f.id
WHERE f.user_id = $1 AND (f.confirmed_at IS NOT NULL) = $2
"""
_USE_STEP = """
UPDATE users.second_factors SET last_step = $2, failures = 0, retry_at = now()
WHERE id = $1 AND confirmed_at IS NOT NULL AND last_step < $2 RETURNING id
"""
_CONFIRM = """
UPDATE users.second_factors SET confirmed_at = now(), last_step = $2, failures = 0, retry_at = now()
WHERE id = $1 AND confirmed_at IS NULL RETURNING id
"""
_LOCK_USER = "SELECT id FROM users.users WHERE id = $1 FOR NO KEY UPDATE"  # first, as an erasure does
_LOCK = "SELECT id FROM users.second_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL FOR UPDATE"
_ADD_CODES = """
INSERT INTO users.recovery_codes (id, user_id, code_hash) SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bytea[])
"""
_DROP_CODES = "DELETE FROM users.recovery_codes WHERE user_id = $1"
_USE_CODE = """
UPDATE users.recovery_codes c SET used_at = now()
WHERE user_id = $1 AND code_hash = $2 AND used_at IS NULL
    AND EXISTS (SELECT FROM users.second_factors f WHERE f.user_id = c.user_id AND f.confirmed_at IS NOT NULL)
RETURNING id
"""
_DROP = "DELETE FROM users.second_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL RETURNING id"
_DROP_WAITING = "DELETE FROM users.login_challenges WHERE user_id = $1"
_CHALLENGE = """
INSERT INTO users.login_challenges (id, user_id, secret_hash, token_version, expires_at)
VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5))
"""
_WAITING = f"""
SELECT u.id, u.status, u.password_hash, u.token_version, u.email_key, {PERMISSIONS} AS permissions
FROM users.login_challenges c JOIN users.users u ON u.id = c.user_id AND u.token_version = c.token_version
WHERE c.secret_hash = $1 AND c.expires_at > now() AND u.status = 'active' AND u.email_key IS NOT NULL
"""  # noqa: S608 - made of constants
_USE_CHALLENGE = "DELETE FROM users.login_challenges WHERE secret_hash = $1 AND expires_at > now() RETURNING id"
_DROP_ENDED = """
DELETE FROM users.login_challenges WHERE id = ANY(ARRAY(
    SELECT id FROM users.login_challenges WHERE expires_at < now() ORDER BY expires_at LIMIT $1
)) RETURNING id
"""


class SecondFactors:
    """One for each user, at most."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def state(self, user_id: UUID) -> SecondFactor:
        row = await self._database.fetchrow(_STATE, user_id)
        if row is None:
            return SecondFactor(on=False, since=None, recovery_codes_left=0)
        return SecondFactor(on=True, since=row["confirmed_at"], recovery_codes_left=row["codes_left"])

    async def begin(self, user_id: UUID, sealed: bytes) -> bool:
        """False where one is on already."""
        async with self._database.transaction() as connection:
            begun = await connection.fetchval(_BEGIN, uuid7(), user_id, sealed)
            if begun is not None:
                await audit(connection, "second_factor_begun", actor_id=user_id, subject_id=user_id)
        return begun is not None

    async def begin_try(self, user_id: UUID, *, confirmed: bool, waits: Sequence[float]) -> Try | TooSoon | None:
        """Counts as a failure until `use_step`; None where there is no such factor."""
        row = await self._database.fetchrow(_TRY, user_id, confirmed, list(waits))
        if row is None:
            return None
        if row["id"] is None:
            return TooSoon(max(1.0, row["seconds"]))
        return Try(row["id"], row["secret"], row["last_step"], row["failures"])

    async def use_step(self, factor_id: UUID, step: int) -> bool:
        """False where a code of this time step, or of a later one, was used meanwhile."""
        return await self._database.fetchval(_USE_STEP, factor_id, step) is not None

    async def use_recovery_code(self, user_id: UUID, code_hash: bytes) -> bool:
        async with self._database.transaction() as connection:
            if await connection.fetchval(_USE_CODE, user_id, code_hash) is None:
                return False
            await audit(connection, "recovery_code_used", actor_id=user_id, subject_id=user_id)
        return True

    async def note_guessing(self, user_id: UUID) -> None:
        async with self._database.transaction() as connection:
            await audit(connection, "second_factor_guessed", actor_id=None, subject_id=user_id)

    async def confirm(
        self, user_id: UUID, factor_id: UUID, step: int, *, code_hashes: Sequence[bytes], staying: UUID
    ) -> bool:
        """Sessions end, but for `staying`: they were begun without a code. Access tokens of before are void."""
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK_USER, user_id)
            if await connection.fetchval(_CONFIRM, factor_id, step) is None:
                return False
            await _replace_codes(connection, user_id, code_hashes)
            await touch(connection, user_id, actor_id=user_id, anyone=False, action="second_factor_on", revokes=True)
            await end_sessions(connection, user_id, spare=[staying], reason="second_factor_on")
        return True

    async def replace_codes(self, user_id: UUID, code_hashes: Sequence[bytes]) -> bool:
        async with self._database.transaction() as connection:
            if await connection.fetchval(_LOCK, user_id) is None:
                return False
            await _replace_codes(connection, user_id, code_hashes)
            await audit(connection, "recovery_codes_renewed", actor_id=user_id, subject_id=user_id)
        return True

    async def remove(self, user_id: UUID, told: Told) -> bool:
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK_USER, user_id)
            if not await drop_second_factor(connection, user_id, told):
                return False
            await touch(connection, user_id, actor_id=user_id, anyone=False, action="second_factor_off")
        return True


class LoginChallenges:
    """Logins that wait for a code."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, user_id: UUID, *, version: int, secret_hash: bytes, seconds: float) -> None:
        await self._database.execute(_CHALLENGE, uuid7(), user_id, secret_hash, version, seconds)

    async def waiting(self, secret_hash: bytes) -> Waiting | None:
        """None for one that is unknown, used or expired, or whose user may do something else by now."""
        row = await self._database.fetchrow(_WAITING, secret_hash)
        if row is None:
            return None
        account = Account(
            row["id"], row["status"], row["password_hash"], row["token_version"], tuple(row["permissions"])
        )
        return Waiting(account, row["email_key"])

    async def use(self, secret_hash: bytes) -> bool:
        return await self._database.fetchval(_USE_CHALLENGE, secret_hash) is not None

    async def drop_ended(self, *, limit: int) -> int:
        """How many were dropped; at most `limit`."""
        return len(await self._database.fetch(_DROP_ENDED, limit))


async def drop_second_factor(connection: Connection, user_id: UUID, told: Told) -> bool:
    """With everything that came with it, within the caller's transaction, and told of. False where none was on."""
    if await connection.fetchval(_DROP, user_id) is None:
        return False
    await connection.execute(_DROP_CODES, user_id)
    await connection.execute(_DROP_WAITING, user_id)
    await put_notice(connection, user_id, told)
    return True


async def _replace_codes(connection: Connection, user_id: UUID, code_hashes: Sequence[bytes]) -> None:
    await connection.execute(_DROP_CODES, user_id)
    ids = [uuid7() for _ in code_hashes]
    await connection.execute(_ADD_CODES, ids, [user_id] * len(ids), list(code_hashes))
