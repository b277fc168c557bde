"""A second factor is put on, given new recovery codes, and taken off again by whoever can show it."""

import secrets
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import structlog

from carillon.kit.errors import Forbidden
from carillon.users.actions.administering import Registry, check_acting_on
from carillon.users.actions.changing import Changed
from carillon.users.actions.granting import Expected
from carillon.users.actions.proving import Proving, judged_code, prove
from carillon.users.actions.telling import Told
from carillon.users.domain.roles import Actor
from carillon.users.domain.second_factors import (
    RECOVERY_BYTES,
    RECOVERY_CODES,
    SECRET_BYTES,
    Enrolment,
    Proof,
    RecoveryCodes,
    enrolment,
    recovery_hash,
    recovery_text,
)
from carillon.users.errors import SecondFactorOn, UnknownSecondFactor, WrongCode

_log = structlog.get_logger()


class Enrolments(Protocol):
    """Each is one transaction. False, None: there is nothing to be changed any more."""

    async def begin(self, user_id: UUID, sealed: bytes) -> bool: ...

    async def confirm(
        self, user_id: UUID, factor_id: UUID, step: int, *, code_hashes: Sequence[bytes], staying: UUID
    ) -> bool: ...

    async def replace_codes(self, user_id: UUID, code_hashes: Sequence[bytes]) -> bool: ...

    async def remove(self, user_id: UUID, told: Told) -> bool: ...


async def begin_enrolment(user_id: UUID, address: str, *, enrolments: Enrolments, proving: Proving) -> Enrolment:
    """One that was begun before is void. Raises SecondFactorOn."""
    secret = secrets.token_bytes(SECRET_BYTES)
    if not await enrolments.begin(user_id, proving.vault.seal(user_id, secret)):
        raise SecondFactorOn
    return enrolment(secret, address)


async def confirm_enrolment(
    user_id: UUID, code: str, *, staying: UUID, enrolments: Enrolments, proving: Proving, changed: Changed
) -> RecoveryCodes:
    """From now on logins need a code; those that needed none end, but for `staying`.

    Raises WrongCode, UnknownSecondFactor where none was begun, TooManyRequests, Unavailable.
    """
    tried, step = await judged_code(user_id, code, confirmed=False, proving=proving)
    codes = _codes()
    hashes = [recovery_hash(user_id, text) for text in codes]
    if not await enrolments.confirm(user_id, tried.factor_id, step, code_hashes=hashes, staying=staying):
        raise WrongCode
    changed(user_id)
    _log.info("second_factor_on", user_id=str(user_id))
    return RecoveryCodes(codes)


async def renew_codes(user_id: UUID, proof: Proof, *, enrolments: Enrolments, proving: Proving) -> RecoveryCodes:
    """Those of before are void. Raises as `prove` does."""
    await prove(user_id, proof, proving=proving)
    codes = _codes()
    if not await enrolments.replace_codes(user_id, [recovery_hash(user_id, text) for text in codes]):
        raise UnknownSecondFactor
    return RecoveryCodes(codes)


async def remove_factor(
    user_id: UUID, proof: Proof, *, enrolments: Enrolments, proving: Proving, told: Told, changed: Changed
) -> None:
    """The owner is told. Raises as `prove` does."""
    await prove(user_id, proof, proving=proving)
    if not await enrolments.remove(user_id, told):
        raise UnknownSecondFactor
    changed(user_id)
    _log.info("second_factor_off", user_id=str(user_id))


async def take_factor_away(
    user_id: UUID, *, expected: Expected, by: Actor, registry: Registry, told: Told, changed: Changed
) -> None:
    """For somebody who has lost it. Raises UnknownUser, CannotActOn, UnknownSecondFactor, PreconditionFailed; Forbidden
    for one's own, which takes a code."""
    if user_id == by.actor_id:
        raise Forbidden("Your own second factor goes with a code: DELETE /auth/totp.")
    async with registry.changing() as change:
        await check_acting_on(change, user_id, expected, by)
        await change.touch(
            user_id, actor_id=by.actor_id, action="second_factor_taken_away", detail={}, expected=expected
        )
        if not await change.drop_second_factor(user_id, told):
            raise UnknownSecondFactor
    changed(user_id)
    _log.info("second_factor_taken_away", user_id=str(user_id), actor_id=str(by.actor_id))


def _codes() -> list[str]:
    return [recovery_text(secrets.token_bytes(RECOVERY_BYTES)) for _ in range(RECOVERY_CODES)]
