"""Signing in: one answer and the same work for everybody who does not get in."""

import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carillon.kit.ids import uuid7
from carillon.users.actions.renewing import Opening
from carillon.users.actions.signing_in import sign_in
from carillon.users.domain.tokens import Account, Client
from carillon.users.errors import WrongCredentials
from carillon.users.providers.access_tokens import AccessTokens
from carillon.users.providers.signing_keys import SigningKey
from tests.unit.users.fakes import FakeCredentials, FakePasswords

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
        email, "secret", accounts=accounts, passwords=passwords, opening=Opening(accounts, signer, 3600), client=HERE
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
            opening=Opening(accounts, signer, 3600),
            client=HERE,
        )

    assert refusal.value.message == "The e-mail address or the password is wrong."
    assert len(passwords.looked_at) == 1
    assert accounts.sessions == {}
