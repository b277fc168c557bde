"""Codes of RFC 6238 and recovery codes: what is right, once, and at what pace."""

import base64
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.kit.errors import Unavailable
from carillon.kit.ids import uuid7
from carillon.kit.settings import SettingsError
from carillon.users.domain.second_factors import (
    GUESSED_AT,
    WAITS,
    code_at,
    enrolment,
    recovery_hash,
    recovery_text,
    right_step,
)
from carillon.users.providers.installation import ensure_encryption_key
from carillon.users.providers.vault import Vault, new_key, read_vault

SECRET = b"12345678901234567890"
# RFC 6238, appendix B, of which six digits are the last six of eight.
KNOWN = {
    59: "287082",
    1111111109: "081804",
    1111111111: "050471",
    1234567890: "005924",
    2000000000: "279037",
    20000000000: "353130",
}


@pytest.mark.parametrize(("at", "code"), KNOWN.items())
def test_the_codes_are_those_of_the_standard(at: int, code: str) -> None:
    assert right_step(code, SECRET, now=at, last_step=0) == at // 30


@given(step=st.integers(10, 1 << 33), away=st.integers(-5, 5), within=st.floats(0, 29.99))
def test_a_code_is_right_one_step_around_its_own_and_no_longer(step: int, away: int, within: float) -> None:
    now = (step + away) * 30 + within

    found = right_step(code_at(SECRET, step), SECRET, now=now, last_step=0)

    alike = {
        other for other in range(step + away - 1, step + away + 2) if code_at(SECRET, other) == code_at(SECRET, step)
    }
    assert found == (max(alike) if alike else None)
    assert abs(away) > 1 or found is not None


@given(step=st.integers(10, 1 << 33), used=st.integers(-3, 3))
def test_of_a_step_that_was_used_and_of_those_before_no_code_is_right(step: int, used: int) -> None:
    found = right_step(code_at(SECRET, step), SECRET, now=step * 30, last_step=step + used)

    assert found is None or found > step + used
    assert used >= 0 or found is not None


@pytest.mark.parametrize(
    "code", ["", "28708", "2870820", "28708\n", "287 82", "\uff12\uff18\uff17\uff10\uff18\uff12", "\x00" * 6, "-87082"]
)
def test_what_is_no_code_is_not_right(code: str) -> None:
    assert right_step(code, SECRET, now=59, last_step=0) is None


def test_whoever_guesses_waits_ever_longer_and_never_for_ever() -> None:
    assert list(WAITS) == sorted(WAITS)
    assert [wait > 0 for wait in WAITS].index(True) + 1 == GUESSED_AT
    assert max(WAITS) == 3600, "24 guesses of a million a day"


def test_an_authenticator_reads_the_address() -> None:
    made = enrolment(SECRET, "ada+1@example.com")

    parts = urlsplit(made.uri)
    asked = parse_qs(parts.query)
    assert (parts.scheme, parts.netloc, parts.path) == ("otpauth", "totp", "/Carillon:ada%2B1%40example.com")
    assert asked["secret"] == [made.secret] == [base64.b32encode(SECRET).decode()]
    assert (asked["issuer"], asked["digits"], asked["period"]) == (["Carillon"], ["6"], ["30"])


@given(random=st.binary(min_size=10, max_size=10), user=st.uuids())
def test_a_recovery_code_is_the_same_however_it_is_typed(random: bytes, user: UUID) -> None:
    text = recovery_text(random)

    assert re.fullmatch(r"[a-z2-7]{4}(-[a-z2-7]{4}){3}", text)
    typed = {text, text.upper(), text.replace("-", ""), text.replace("-", " "), f" {text} "}
    assert len({recovery_hash(user, one) for one in typed}) == 1
    assert recovery_hash(uuid7(), text) != recovery_hash(user, text), "the same code of two people is kept differently"


def test_what_was_sealed_opens_for_its_owner_and_with_its_key_alone() -> None:
    key, ada, bob = b"k" * 32, uuid7(), uuid7()
    sealed = Vault(key).seal(ada, SECRET)

    assert Vault(key).unseal(ada, sealed) == SECRET
    assert SECRET not in sealed
    assert Vault(key).seal(ada, SECRET) != sealed
    for vault, owner, text in (
        (Vault(key), bob, sealed),
        (Vault(b"l" * 32), ada, sealed),
        (Vault(key), ada, sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (Vault(key), ada, b""),
    ):
        with pytest.raises(Unavailable):
            vault.unseal(owner, text)


async def test_the_key_is_made_once_and_a_broken_one_is_told_of_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "encryption.key"
    await ensure_encryption_key(path)
    made = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600

    await ensure_encryption_key(path)

    assert path.read_bytes() == made != new_key()
    for broken in (b"", b"\xff", b"short", made * 2, b"x" * 100):
        path.write_bytes(broken)
        with pytest.raises(SettingsError, match="CARILLON_USERS_ENCRYPTION_KEY_FILE"):
            await ensure_encryption_key(path)
        assert path.read_bytes() == broken
    path.unlink()
    with pytest.raises(SettingsError, match="carillon migrate"):
        read_vault(path)
