"""Signing in: one answer and the same work for everybody who does not get in."""

import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carillon.kit.ids import uuid7
from carillon.users.actions.renewing import Opening
from carillon.users.actions.signing_in import sign_in
from carillon.users.domain.tokens import Account, Client
from carillon.users.errors import SecondFactorRequired, WrongCredentials
from carillon.users.providers.access_tokens import AccessTokens
from carillon.users.providers.signing_keys import SigningKey
from tests.unit.users.fakes import FakeChallenges, FakeCredentials, FakePasswords

ADA = Account(uuid7(), "active", "hash of secret", 4, ("users:*", "roles:*"))
HERE = Client("tests", "127.0.0.1")
signer = AccessTokens([SigningKey(Ed25519PrivateKey.generate())], seconds=300, clock=time.time)


def credentials() -> FakeCredentials:
    return FakeCredentials(
        accounts={
            "ada@example.com": ADA,
            "off@example.com": Account(uuid7(), "suspended", "hash of secret", 1, ()),
            "contact@example.com": Account(uuid7(), "active", None, 1, ()),
        }
    )


@pytest.mark.parametrize("email", ["ada@example.com", "ADA@Example.com", " ada@example.com "])
async def test_the_right_password_opens_a_session_and_the_token_names_it(email: str) -> None:
    accounts, passwords = credentials(), FakePasswords()

    signed = await sign_in(
        email,
        "secret",
        accounts=accounts,
        passwords=passwords,
        challenges=FakeChallenges(),
        opening=Opening(accounts, signer, 3600),
        client=HERE,
    )

    claims = signer.verified(signed.access_token)
    assert accounts.sessions[claims.session_id].user_id == ADA.user_id == claims.user_id
    assert (claims.version, claims.permissions) == (4, frozenset({"users:*", "roles:*"}))
    assert (signed.expires_in, signed.refresh_expires_in) == (300, 3600)


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("ada@example.com", "Secret"),
        ("nobody@example.com", "secret"),
        ("off@example.com", "secret"),
        ("contact@example.com", "secret"),
        ("no address at all", "secret"),
        ("\x00", "secret"),
        ("", ""),
    ],
)
async def test_everybody_else_gets_the_same_answer_after_one_look_at_a_password(email: str, password: str) -> None:
    accounts, passwords = credentials(), FakePasswords()

    with pytest.raises(WrongCredentials) as refusal:
        await sign_in(
            email,
            password,
            accounts=accounts,
            passwords=passwords,
            challenges=FakeChallenges(),
            opening=Opening(accounts, signer, 3600),
            client=HERE,
        )

    assert refusal.value.message == "The e-mail address or the password is wrong."
    assert len(passwords.looked_at) == 1
    assert accounts.sessions == {}


@pytest.mark.parametrize("password", ["secret", "Secret"])
async def test_with_a_second_factor_the_right_password_opens_nothing_and_a_wrong_one_tells_nothing(
    password: str,
) -> None:
    bob = Account(uuid7(), "active", "hash of secret", 4, (), second_factor=True)
    accounts, challenges = FakeCredentials(accounts={"bob@example.com": bob}), FakeChallenges()

    with pytest.raises((SecondFactorRequired, WrongCredentials)) as refusal:
        await sign_in(
            "bob@example.com",
            password,
            accounts=accounts,
            passwords=FakePasswords(),
            challenges=challenges,
            opening=Opening(accounts, signer, 3600),
            client=HERE,
        )

    right = password == "secret"
    assert (refusal.value.code, refusal.value.status) == (
        ("second_factor_required", 401) if right else ("invalid_credentials", 401)
    )
    assert accounts.sessions == {}
    assert [(one.user_id, one.version) for one in challenges.begun] == ([(bob.user_id, 4)] if right else [])
