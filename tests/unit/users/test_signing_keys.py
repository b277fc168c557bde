"""The file of signing keys: which one signs, what a rotation adds and drops, and that a broken file changes nothing."""

import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carillon.kit.errors import Unauthenticated
from carillon.kit.ids import uuid7
from carillon.kit.settings import SettingsError
from carillon.users.providers.access_tokens import AccessTokens
from carillon.users.providers.installation import key_file, rotate_signing_keys
from carillon.users.providers.signing_keys import (
    ALWAYS,
    SigningKey,
    described,
    new_keys,
    parsed,
    read_signing_keys,
    rendered,
    signing_now,
    with_new_key,
)


def key(signs_from: float = ALWAYS) -> SigningKey:
    return SigningKey(Ed25519PrivateKey.generate(), signs_from)


def signed(tokens: AccessTokens) -> str:
    return tokens.signed(user_id=uuid7(), session_id=uuid7(), version=1, permissions=[])


def test_the_key_with_the_latest_time_that_has_come_signs() -> None:
    first, second, third = key(), key(100), key(200)
    keys = [third, first, second]

    assert [signing_now(keys, now) for now in (0, 99.9, 100, 199, 200, 1e9)] == [
        first, first, second, second, third, third,
    ]  # fmt: skip
    assert signing_now([third, second], 0) == second, "before every time, the first of them"


def test_what_is_written_is_read_again_whatever_stands_around_it() -> None:
    keys = [key(), key(1_900_000_000), key(1_900_000_060.0)]

    again = parsed(b"# kept by the operator\r\n" + rendered(keys) + b"\nthe end\n")

    assert [(one.kid, one.signs_from) for one in again] == [(one.kid, one.signs_from) for one in keys]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"signs from 2030-01-01T00:00:00Z\n",
        b"signs from tomorrow\n" + new_keys(),
        b"signs from 2030-01-01T00:00:00\n" + new_keys(),
        b"signs from\n" + new_keys(),
        new_keys()[:-40],
        new_keys() + new_keys()[:60],
        new_keys().replace(b"MC4", b"!!!"),
        new_keys() + b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ],
    ids=["empty", "no key", "no time", "no zone", "nothing", "cut", "second cut", "not base64", "no such key"],
)
def test_a_file_that_is_not_whole_is_refused_without_quoting_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.pem"
    path.write_bytes(content)

    with pytest.raises(SettingsError, match="CARILLON_USERS_SIGNING_KEY_FILE") as refusal:
        read_signing_keys(path)

    assert "MC4" not in str(refusal.value)


def test_the_same_key_twice_is_refused() -> None:
    once = new_keys()
    with pytest.raises(ValueError, match="twice"):
        parsed(once + once)


def test_a_rotation_adds_a_key_that_signs_in_a_minute_and_drops_what_nobody_needs() -> None:
    keys = [key()]
    rotated = with_new_key(keys, now=1_000, lead_seconds=60, life_seconds=300)
    assert [one.signs_from for one in rotated] == [ALWAYS, 1_060]

    for now, left in ((1_000 + 60 + 300 + 59, 3), (1_000 + 60 + 300 + 60, 2)):
        after = with_new_key(rotated, now=now, lead_seconds=60, life_seconds=300)
        assert len(after) == left, "the first key's last token ended at 1360"
        assert rotated[1] in after


def test_tokens_of_every_listed_key_are_good_and_those_of_a_dropped_one_are_not() -> None:
    now = 0.0
    old, new = key(), key(100)
    tokens = AccessTokens([old], seconds=300, clock=lambda: now)
    before = signed(tokens)

    tokens.use([old, new])
    assert [one["kid"] for one in tokens.jwks()["keys"]] == [old.kid, new.kid]
    assert jwt.get_unverified_header(signed(tokens))["kid"] == old.kid
    now = 100.0
    after = signed(tokens)
    assert jwt.get_unverified_header(after)["kid"] == new.kid
    for token in (before, after):
        tokens.verified(token)

    tokens.use([new])
    tokens.verified(after)
    with pytest.raises(Unauthenticated):
        tokens.verified(before)


def test_a_running_process_takes_up_a_rotation_and_keeps_its_keys_when_the_file_breaks(tmp_path: Path) -> None:
    path = tmp_path / "keys.pem"
    path.write_bytes(new_keys())
    file = key_file(path)
    tokens = AccessTokens(file.keys(), seconds=300, clock=time.time)
    assert not file.look(tokens), "nothing has changed"

    rotate_signing_keys(path, now=time.time(), life_seconds=300)
    assert file.look(tokens)
    assert len(tokens.jwks()["keys"]) == 2
    assert path.stat().st_mode & 0o777 == 0o600

    for broken in (b"", b"nonsense", None):
        if broken is None:
            path.unlink()
        else:
            path.write_bytes(broken)
        assert not file.look(tokens)
        assert len(tokens.jwks()["keys"]) == 2
    path.write_bytes(new_keys())
    assert file.look(tokens)
    assert len(tokens.jwks()["keys"]) == 1


def test_a_list_for_people_says_what_each_key_does_and_no_secret() -> None:
    keys = [key(), key(100), key(1_000)]

    lines = described(keys, 500)

    assert [line.partition("  ")[2].partition(",")[0] for line in lines] == ["verifies", "signs", "will sign"]
    assert [line.partition("  ")[0] for line in lines] == [one.kid for one in keys]
