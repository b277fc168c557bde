"""Which passwords are refused, and which spellings are the same password."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.users.domain.passwords import check_password, comparable, normalised
from carillon.users.errors import WeakPassword
from carillon.users.providers.common_passwords import CommonPasswords, make

COMMON = CommonPasswords()


def check(password: str) -> None:
    check_password(password, email="Ada.Lovelace@Example.com", name="Ada King Lovelace", is_common=COMMON.__contains__)


@pytest.mark.parametrize("password", ["password", "PASSWORD", "pass\uff57ord", "1234567890", "Qwertyuiop", "iloveyou"])
def test_the_common_ones_are_refused_in_whatever_case_and_width(password: str) -> None:
    with pytest.raises(WeakPassword, match="most common"):
        check(password)


@pytest.mark.parametrize(
    "password",
    ["ada.lovelace@example.com", "ADA.LOVELACE", "Ada King Lovelace", "adakinglovelace", "\uff21da.lovelace"],
)
def test_one_s_own_address_and_name_are_refused(password: str) -> None:
    with pytest.raises(WeakPassword, match="your own"):
        check(password)


@pytest.mark.parametrize("password", ["seven77", "x" * 257, "\ufdfa" * 20, "\u1100\u1161\u11a8" * 7])
def test_lengths_count_after_normalisation(password: str) -> None:
    with pytest.raises(WeakPassword, match="8 to 256"):
        check(password)


@pytest.mark.parametrize("password", ["correct horse battery", "x" * 256, "\U0001f514" * 8, "a\u0308" * 8, "        "])
def test_everything_else_is_taken(password: str) -> None:
    check(password)


@given(st.text())
def test_what_is_normalised_stays_as_it_is(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)
    assert comparable(comparable(text)) == comparable(text)


def test_the_file_holds_ten_thousand_and_finds_each_of_its_words(tmp_path: Path) -> None:
    assert len(COMMON) == 10_000
    words = ["Sunshine1", "short", "sunshine1", "\uff53unshine2", "dragonfly"]
    file = tmp_path / "few.bin"
    file.write_bytes(make(words))

    few = CommonPasswords(file)

    assert len(few) == 3
    assert all(word in few for word in ("sunshine1", "SUNSHINE2", "dragonfly"))
    assert not any(word in few for word in ("short", "sunshine3", "", "zzzzzzzzzz", "!"))


@given(st.text(min_size=12))
def test_what_nobody_uses_is_not_taken_for_common(text: str) -> None:
    assert f"{text} by nobody else" not in COMMON
