"""Passkeys: registered by who has logged in, and signing in without a password or a code."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import structlog

from carillon.kit.ids import uuid7
from carillon.users.actions.authenticating import secret_hash
from carillon.users.actions.proving import Proving, prove
from carillon.users.actions.reauthenticating import PasswordOwner
from carillon.users.actions.renewing import Opening, SignedIn, open_session
from carillon.users.actions.telling import Told
from carillon.users.domain.passkeys import (
    CEREMONY_SECONDS,
    CHALLENGE_BYTES,
    MOST_PASSKEYS,
    Ceremony,
    Credential,
    KnownPasskey,
    Passkey,
    challenge_of,
    decoded,
)
from carillon.users.domain.second_factors import Proof, SecondFactor
from carillon.users.domain.tokens import Client
from carillon.users.errors import CodeNeeded, PasskeyRefused, PasskeyUnverified, TooManyPasskeys, UnknownPasskey

_log = structlog.get_logger()


class Passkeys(Protocol):
    """Passkeys and ceremonies under way; a challenge is used once."""

    async def begin(self, user_id: UUID | None, challenge_hash: bytes, *, seconds: float) -> None: ...

    async def use_challenge(self, user_id: UUID | None, challenge_hash: bytes) -> bool: ...

    async def credential_ids(self, user_id: UUID) -> Sequence[bytes]: ...

    async def add(
        self, user_id: UUID, passkey_id: UUID, name: str, credential: Credential, *, most: int, told: Told
    ) -> Passkey | None: ...

    async def known(self, credential_id: bytes) -> KnownPasskey | None: ...

    async def use(self, known: KnownPasskey, sign_count: int) -> bool: ...

    async def remove(self, user_id: UUID, passkey_id: UUID) -> bool: ...


class Factors(Protocol):
    async def state(self, user_id: UUID) -> SecondFactor: ...


class RelyingParty(Protocol):
    """Makes options for browsers, verifies what authenticators answer; None is a refusal."""

    def to_register(
        self, challenge: bytes, user_id: UUID, *, address: str, name: str, known: Sequence[bytes]
    ) -> dict[str, Any]: ...

    def to_sign_in(self, challenge: bytes) -> dict[str, Any]: ...

    def registered(self, answer: Mapping[str, Any], challenge: bytes) -> Credential | None: ...

    def shown(self, answer: Mapping[str, Any], challenge: bytes, public_key: bytes) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Ceremonies:
    """Where passkeys are kept, who judges them, and what their owner is told of a new one."""

    passkeys: Passkeys
    party: RelyingParty
    added: Told


async def check_second_factor(user_id: UUID, proof: Proof | None, *, factors: Factors, proving: Proving) -> None:
    """Where logins need a code, so does what will open the account without one. Raises CodeNeeded, and as `prove`."""
    if proof is not None:
        await prove(user_id, proof, proving=proving)
    elif (await factors.state(user_id)).on:
        raise CodeNeeded


async def begin_registration(user_id: UUID, owner: PasswordOwner, *, ceremonies: Ceremonies) -> Ceremony:
    known = await ceremonies.passkeys.credential_ids(user_id)
    challenge = await _challenge(user_id, ceremonies)
    options = ceremonies.party.to_register(
        challenge, user_id, address=owner.email or "", name=owner.name or owner.email or "", known=known
    )
    return Ceremony(options, int(CEREMONY_SECONDS))


async def register(user_id: UUID, name: str, answer: Mapping[str, Any], *, ceremonies: Ceremonies) -> Passkey:
    """Raises PasskeyUnverified, PasskeyTaken, TooManyPasskeys."""
    challenge = await _used_challenge(user_id, answer, ceremonies)
    made = None if challenge is None else ceremonies.party.registered(answer, challenge)
    if made is None:
        raise PasskeyUnverified
    added = await ceremonies.passkeys.add(user_id, uuid7(), name, made, most=MOST_PASSKEYS, told=ceremonies.added)
    if added is None:
        raise TooManyPasskeys(MOST_PASSKEYS)
    _log.info("passkey_added", user_id=str(user_id), passkey_id=str(added.passkey_id))
    return added


async def remove(user_id: UUID, passkey_id: UUID, *, passkeys: Passkeys) -> None:
    """Raises UnknownPasskey."""
    if not await passkeys.remove(user_id, passkey_id):
        raise UnknownPasskey
    _log.info("passkey_removed", user_id=str(user_id), passkey_id=str(passkey_id))


async def begin_login(*, ceremonies: Ceremonies) -> Ceremony:
    """The same for everybody."""
    return Ceremony(ceremonies.party.to_sign_in(await _challenge(None, ceremonies)), int(CEREMONY_SECONDS))


async def sign_in_with_passkey(
    answer: Mapping[str, Any], *, ceremonies: Ceremonies, opening: Opening, client: Client
) -> SignedIn:
    """Raises PasskeyRefused, for whatever reason."""
    challenge = await _used_challenge(None, answer, ceremonies)
    if challenge is None:
        raise PasskeyRefused
    known = await _verified(answer, challenge, ceremonies)
    if known is None:
        raise PasskeyRefused
    return await open_session(known.account, opening=opening, client=client)


async def _verified(answer: Mapping[str, Any], challenge: bytes, ceremonies: Ceremonies) -> KnownPasskey | None:
    known = await ceremonies.passkeys.known(decoded(answer["rawId"]) or b"")
    if known is None or decoded(answer["response"]["userHandle"]) != known.account.user_id.bytes:
        return None
    count = ceremonies.party.shown(answer, challenge, known.public_key)
    if count is None:
        return None
    if not await ceremonies.passkeys.use(known, count):
        _log.warning("passkey_cloned", user_id=str(known.account.user_id), passkey_id=str(known.passkey_id))
        return None
    return known


async def _challenge(user_id: UUID | None, ceremonies: Ceremonies) -> bytes:
    challenge = secrets.token_bytes(CHALLENGE_BYTES)
    await ceremonies.passkeys.begin(user_id, secret_hash(challenge.hex()), seconds=CEREMONY_SECONDS)
    return challenge


async def _used_challenge(user_id: UUID | None, answer: Mapping[str, Any], ceremonies: Ceremonies) -> bytes | None:
    """Used up before anything is verified: there is one try. None where it is not one of this kind and user."""
    challenge = challenge_of(answer["response"]["clientDataJSON"])
    if challenge is None or not await ceremonies.passkeys.use_challenge(user_id, secret_hash(challenge.hex())):
        return None
    return challenge
