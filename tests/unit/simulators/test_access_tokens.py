"""Access tokens are for the holder of the service account's key alone, and for as long as they last."""

import json
import stat
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from carillon.kit.settings import SettingsError
from carillon.simulators.actions import GRANT, AccessRefused, AccessTokens
from carillon.simulators.service_account import ensure_service_account, load_public_key, read_service_account

NOW = 1_800_000_000.0
URI = "http://127.0.0.1:8000/simulators/fcm/token"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CLAIMS: dict[str, Any] = {
    "iss": "a@p.example",
    "aud": URI,
    "scope": "https://www.googleapis.com/auth/firebase.messaging",
    "iat": NOW,
    "exp": NOW + 3600,
}


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> AccessTokens:
    return AccessTokens(KEY.public_key(), email="a@p.example", audience=URI, seconds=600, clock=clock)


def signed(key: Any = KEY, algorithm: str = "RS256", **changes: Any) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm)


def test_a_signed_assertion_becomes_a_token_that_ends(tokens: AccessTokens, clock: Clock) -> None:
    token = tokens.grant(GRANT, signed())

    assert tokens.knows(token)
    assert token != tokens.grant(GRANT, signed())
    clock.now += 599
    assert tokens.knows(token)
    clock.now += 1
    assert not tokens.knows(token)
    assert not tokens.knows("")
    assert not tokens.knows("ya29.invented")


@pytest.mark.parametrize(
    ("assertion", "error"),
    [
        (signed(OTHER), "invalid_grant"),
        (signed("secret" * 10, "HS256"), "invalid_grant"),
        (jwt.encode(CLAIMS, "", algorithm="none"), "invalid_grant"),
        ("nonsense", "invalid_grant"),
        ("", "invalid_grant"),
        (signed(iss="other@p.example"), "invalid_grant"),
        (signed(aud="https://elsewhere.example/token"), "invalid_grant"),
        (signed(exp=NOW - 3600, iat=NOW - 7200), "invalid_grant"),
        (signed(exp=NOW + 7200), "invalid_grant"),
        (signed(iat=NOW + 600, exp=NOW + 1200), "invalid_grant"),
        (signed(exp=None), "invalid_grant"),
        (signed(iat="soon"), "invalid_grant"),
        (signed(scope="https://www.googleapis.com/auth/drive"), "invalid_scope"),
        (signed(scope=None), "invalid_scope"),
    ],
)
def test_an_assertion_that_google_would_refuse_is_refused(tokens: AccessTokens, assertion: str, error: str) -> None:
    with pytest.raises(AccessRefused) as refused:
        tokens.grant(GRANT, assertion)
    assert refused.value.error == error


def test_another_grant_is_refused(tokens: AccessTokens) -> None:
    with pytest.raises(AccessRefused) as refused:
        tokens.grant("client_credentials", signed())
    assert refused.value.error == "unsupported_grant_type"


def test_the_service_account_is_made_once_and_follows_the_address(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "fcm.json"
    ensure_service_account(path, "http://127.0.0.1:8000/")
    first = json.loads(path.read_text())

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first["token_uri"] == URI
    assert {"type", "project_id", "private_key_id", "private_key", "client_email"} <= first.keys()
    ensure_service_account(path, "http://127.0.0.1:8000")
    assert json.loads(path.read_text()) == first
    ensure_service_account(path, "http://127.0.0.1:9000")
    second = json.loads(path.read_text())
    assert second == {**first, "token_uri": "http://127.0.0.1:9000/simulators/fcm/token"}
    assert [each.name for each in path.parent.iterdir()] == ["fcm.json"]


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"project_id": "p", "client_email": "c", "private_key": "k"}'])
def test_a_broken_service_account_says_so_and_is_made_anew(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "fcm.json"
    path.write_text(broken)

    with pytest.raises(SettingsError, match="SIMULATED_ACCOUNT_FILE"):
        load_public_key(read_service_account(path))
    ensure_service_account(path, "http://127.0.0.1:8000")
    load_public_key(read_service_account(path))


def test_a_missing_service_account_says_who_makes_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="carillon up"):
        read_service_account(tmp_path / "none.json")
