"""Access tokens: only our own, for us, of the right type and in time."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carillon.kit.errors import Unauthenticated
from carillon.kit.ids import uuid7
from carillon.kit.settings import SettingsError
from carillon.users.providers.access_tokens import AccessTokens
from carillon.users.providers.signing_keys import SigningKey, new_keys, read_signing_keys

KEY = Ed25519PrivateKey.generate()
tokens = AccessTokens([SigningKey(KEY)], seconds=300, clock=time.time)
KID = tokens.jwks()["keys"][0]["kid"]


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    whole = {
        "iss": "carillon", "aud": "carillon", "sub": str(uuid7()), "sid": str(uuid7()), "ver": 1, "scope": "users:read",
        "iat": now, "exp": now + 60,
    }  # fmt: skip
    return {name: value for name, value in {**whole, **changed}.items() if value is not None}


def made(payload: dict[str, Any], *, key: Any = KEY, alg: str = "EdDSA", typ: str = "at+jwt", kid: str = KID) -> str:
    return jwt.encode(payload, key, algorithm=alg, headers={"typ": typ, "kid": kid})


def unsigned(payload: dict[str, Any], alg: str) -> str:
    parts = ({"alg": alg, "typ": "at+jwt", "kid": KID}, payload)
    text = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    return f"{text}."


def test_what_is_signed_is_verified_and_carries_its_claims() -> None:
    user_id, session_id = uuid7(), uuid7()

    token = tokens.signed(user_id=user_id, session_id=session_id, version=7, permissions=["b:write", "a:*"])

    found = tokens.verified(token)
    assert (found.user_id, found.session_id, found.version) == (user_id, session_id, 7)
    assert found.permissions == {"a:*", "b:write"}
    assert 290 < found.expires_at - time.time() <= 300
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "at+jwt", "kid": KID}


def test_anybody_can_verify_with_the_published_key() -> None:
    token = tokens.signed(user_id=uuid7(), session_id=uuid7(), version=1, permissions=[])

    key = jwt.PyJWKSet.from_dict(tokens.jwks())[KID]

    assert jwt.decode(token, key.key, algorithms=["EdDSA"], audience="carillon", issuer="carillon")["ver"] == 1
    assert "d" not in tokens.jwks()["keys"][0], "the private part is never published"


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "\x00",
        "é.ü.ß",
        "x" * 8000,
        made(claims()) + "x",
        made(claims())[:-4],
        unsigned(claims(), "none"),
        unsigned(claims(), "None"),
        unsigned(claims(), "EdDSA"),
        made(claims(), key=Ed25519PrivateKey.generate()),
        made(claims(), key="a shared secret of more than thirty-two bytes", alg="HS256"),
        made(claims(), typ="JWT"),
        made(claims(), kid="another"),
        made(claims(iss="elsewhere")),
        made(claims(aud="elsewhere")),
        made(claims(aud=["elsewhere"])),
        made(claims(exp=int(time.time()) - 1)),
        made(claims(sub="no uuid")),
        made(claims(sid="no uuid")),
        made(claims(ver="x")),
        *(made(claims(**{name: None})) for name in ("iss", "aud", "sub", "sid", "ver", "scope", "iat", "exp")),
    ],
)
def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verified(token)


def test_a_token_signed_with_the_public_key_as_a_secret_is_refused() -> None:
    public = KEY.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    with pytest.raises(Unauthenticated):
        tokens.verified(made(claims(), key=public, alg="HS256"))


def test_a_token_ends_by_the_clock() -> None:
    now = 1_000_000.0
    timed = AccessTokens([SigningKey(KEY)], seconds=300, clock=lambda: now)
    token = timed.signed(user_id=uuid7(), session_id=uuid7(), version=1, permissions=[])

    now += 299
    assert timed.verified(token).expires_at == 1_000_300
    now += 1
    with pytest.raises(Unauthenticated):
        timed.verified(token)


def test_a_key_file_that_is_missing_or_of_another_kind_is_told_with_its_setting(tmp_path: Path) -> None:
    of_another_kind = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "key.pem"
    for content in (None, b"", b"nonsense", of_another_kind):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SettingsError, match="CARILLON_USERS_SIGNING_KEY_FILE") as refusal:
            read_signing_keys(path)
        assert "PRIVATE KEY" not in str(refusal.value)

    path.write_bytes(new_keys())
    assert isinstance(read_signing_keys(path)[0].private, Ed25519PrivateKey)
