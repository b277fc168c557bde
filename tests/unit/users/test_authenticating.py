"""Whose token this is: sessions that ended, versions that passed, tokens that were never ours."""

import secrets
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carillon.kit.errors import Unauthenticated, Unavailable
from carillon.kit.ids import uuid7
from carillon.users.actions.authenticating import Identification, introspect, secret_hash
from carillon.users.domain.tokens import OpaqueParts, OpaqueToken, SessionState, opaque_text
from carillon.users.providers.access_tokens import AccessTokens
from carillon.users.providers.signing_keys import SigningKey
from tests.unit.users.fakes import FakeCredentials

signer = AccessTokens([SigningKey(Ed25519PrivateKey.generate())], seconds=300, clock=time.time)


def signed(credentials: FakeCredentials, *, version: int = 1) -> str:
    """An access token with a session of token version 1."""
    user_id, session_id = uuid7(), uuid7()
    credentials.sessions[session_id] = SessionState(user_id, 1)
    return signer.signed(user_id=user_id, session_id=session_id, version=version, permissions=["users:read"])


def opaque(
    credentials: FakeCredentials,
    *,
    lives: float = 60,
    abilities: tuple[str, ...] = ("notifications:*",),
    held: tuple[str, ...] = ("notifications:send",),
) -> str:
    parts = OpaqueParts(uuid7(), secrets.token_urlsafe(32))
    credentials.tokens[parts.token_id] = OpaqueToken(
        secret_hash(parts.secret), uuid7(), "application", abilities, held, time.time() + lives
    )
    return opaque_text(parts)


async def test_a_signed_token_is_its_users_while_the_session_lasts() -> None:
    credentials = FakeCredentials()
    token = signed(credentials)
    identify = Identification(credentials, credentials, signer)

    caller = await identify(token)
    assert (caller.kind, caller.permissions) == ("user", frozenset({"users:read"}))
    assert caller.session_id in credentials.sessions

    credentials.sessions.clear()
    with pytest.raises(Unauthenticated):
        await identify(token)


async def test_a_token_of_a_version_that_has_passed_is_void() -> None:
    credentials = FakeCredentials()

    with pytest.raises(Unauthenticated):
        await Identification(credentials, credentials, signer)(signed(credentials, version=0))


async def test_a_session_of_somebody_else_does_not_help() -> None:
    credentials = FakeCredentials()
    token = signed(credentials)
    session_id = signer.verified(token).session_id
    credentials.sessions[session_id] = SessionState(uuid7(), 1)

    with pytest.raises(Unauthenticated):
        await Identification(credentials, credentials, signer)(token)


async def test_while_the_database_is_away_a_signature_is_enough_and_an_opaque_token_is_not() -> None:
    credentials = FakeCredentials()
    token, bearer = signed(credentials), opaque(credentials)
    credentials.away = True
    identify = Identification(credentials, credentials, signer)

    assert (await identify(token)).permissions == {"users:read"}
    with pytest.raises(Unavailable):
        await identify(bearer)


async def test_while_the_database_is_away_a_signature_is_not_enough_for_strict_routes_nor_for_the_revoked() -> None:
    credentials = FakeCredentials()
    token = signed(credentials)
    credentials.away = True

    with pytest.raises(Unavailable):
        await Identification(credentials, credentials, signer).strictly(token)
    with pytest.raises(Unavailable):
        await Identification(credentials, credentials, signer, void=lambda *_: True)(token)


@pytest.mark.parametrize(
    ("abilities", "held"),
    [(("notifications:*",), ("notifications:send",)), (("notifications:send",), ("notifications:*", "users:*"))],
)
async def test_an_opaque_token_grants_its_abilities_as_far_as_its_owner_holds_them(
    abilities: tuple[str, ...], held: tuple[str, ...]
) -> None:
    credentials = FakeCredentials()

    caller = await Identification(credentials, credentials, signer)(opaque(credentials, abilities=abilities, held=held))

    assert (caller.kind, caller.permissions) == ("application", frozenset({"notifications:send"}))


async def test_a_wrong_secret_an_unknown_id_and_an_expired_token_are_refused() -> None:
    credentials = FakeCredentials()
    good = opaque(credentials)
    token_id = next(iter(credentials.tokens))
    identify = Identification(credentials, credentials, signer)

    for bad in (
        opaque_text(OpaqueParts(token_id, secrets.token_urlsafe(32))),
        opaque_text(OpaqueParts(uuid7(), secrets.token_urlsafe(32))),
        opaque(credentials, lives=-1),
    ):
        with pytest.raises(Unauthenticated):
            await identify(bad)
    assert (await identify(good)).kind == "application"


async def test_a_mistyped_token_costs_no_question_to_the_database() -> None:
    credentials = FakeCredentials()
    good = opaque(credentials)
    identify = Identification(credentials, credentials, signer)

    for bad in (
        "crl_",
        "crl_x",
        good[:-1],
        good + "0",
        good[:-9] + "A" + good[-8:],
        good.upper(),
        "crl_" + "\x00" * 84,
    ):
        if bad != good:
            with pytest.raises(Unauthenticated):
                await identify(bad)

    assert credentials.asked == 0


async def test_introspection_tells_of_good_tokens_and_says_no_more_of_bad_ones() -> None:
    credentials = FakeCredentials()
    identify = Identification(credentials, credentials, signer)

    said = await introspect(opaque(credentials), authenticate=identify)
    assert said.active
    assert (said.kind, said.permissions) == ("application", ["notifications:send"])

    said = await introspect("crl_nonsense", authenticate=identify)
    assert (said.active, said.caller_id, said.kind, said.permissions, said.expires_at) == (False, None, None, [], None)
