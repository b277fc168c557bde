"""Words of others without the addresses and secrets in them; the rest stays readable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.kit.redaction import ELIDED, without, without_addresses, without_opaque


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("550 5.1.1 <a@b.c> unknown", "550 5.1.1 <…> unknown"),
        ("rfc822;ada@example.com is full", "rfc822;… is full"),
        ("to=ada+tag@example.com, twice ADA@example.com.", "…, twice …"),
        ('no "ada lovelace"@example.com here', "no … here"),
        ("o'brien@example.com, 'ada@example.com'", "…, …"),
        ("ada@[10.0.0.1] and 用户@例え.jp", "…[10.0.0.1] and …"),
        ("ada＠example.com ada&#64;example.com", "… …;example.com"),  # noqa: RUF001
        ("https://example.com/?to=ada%40example.com", "https:…"),
        ("bounces+ada=example.com@relay.example", "…"),
        ("452 4.2.2 https://support.example.com/mail/?p=Full x15 - gsmtp", None),
        ("400 INVALID_ARGUMENT: the message is too big", None),
        ("", None),
    ],
)
def test_an_address_goes_however_it_is_written_and_all_else_stays(words: str, kept: str | None) -> None:
    assert without_addresses(words) == (words if kept is None else kept)


AROUND = st.text(st.characters(exclude_characters="<", exclude_categories=["Cs"]))


@given(AROUND, st.from_regex(r"[a-z0-9.+'_-]{1,64}", fullmatch=True), AROUND)
def test_no_local_part_is_left_before_an_at_sign(before: str, local: str, after: str) -> None:
    kept = without_addresses(f"{before} <{local}@example.com> {after}")

    assert "@" not in kept
    assert f"<{local}" not in kept


def test_a_known_name_goes_where_it_is_a_word_and_in_any_case() -> None:
    assert without("Ada is unknown, adamant, ADA.", "ada", "") == f"{ELIDED} is unknown, adamant, {ELIDED}."
    assert without("(a.b+c)? no a.b", "a.b", "a.b+c") == f"({ELIDED})? no {ELIDED}"


def test_long_runs_are_secrets_and_identifiers_are_not() -> None:
    identifier = "01890a5d-ac96-774b-bcce-b302099a8057"
    token = "cX9:APA91b" + "k_-" * 20
    assert without_opaque(f'for {identifier}: "{token}"') == f'for {identifier}: "{ELIDED}"'
