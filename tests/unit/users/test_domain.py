"""Addresses, names, opaque tokens and grants, as values."""

import re
import secrets
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.contracts.preferences import Choices
from carillon.contracts.users import Device
from carillon.kit.errors import Invalid
from carillon.kit.ids import uuid7
from carillon.users.domain.people import ONE_LINE, address, checked_attributes, email_key
from carillon.users.domain.preferences import Person, contact_of
from carillon.users.domain.tokens import OpaqueParts, granted, opaque_parts, opaque_text

permissions = st.sampled_from(["users:read", "users:write", "users:*", "notifications:send", "notifications:*", "*"])


@pytest.mark.parametrize(
    ("text", "shown", "key"),
    [
        ("Ada@Example.COM", "Ada@example.com", "ada@example.com"),
        ("admin@carillon.local", "admin@carillon.local", "admin@carillon.local"),
        ("Admin@Carillon.LOCAL", "Admin@carillon.local", "admin@carillon.local"),
        ("someone@mail.test", "someone@mail.test", "someone@mail.test"),
        ("a@x.example", "a@x.example", "a@x.example"),
        ("Straße@example.com", "Straße@example.com", "strasse@example.com"),
        ("Ada@STRASSE.example", "Ada@strasse.example", "ada@strasse.example"),
        ("Ada@straße.example", "Ada@xn--strae-oqa.example", "ada@xn--strae-oqa.example"),
        ("jose\u0301@bu\u0308cher.example", "jos\u00e9@xn--bcher-kva.example", "jos\u00e9@xn--bcher-kva.example"),
        ("ada@XN--BCHER-KVA.example", "ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
        ("ada@\u0430\u0440\u0440\u04cf\u0435.example", "ada@xn--80ak6aa92e.example", "ada@xn--80ak6aa92e.example"),
    ],
)
def test_an_address_keeps_its_looks_and_has_one_key(text: str, shown: str, key: str) -> None:
    found = address(text)

    assert (found.shown, found.key) == (shown, key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "ada@",
        "@example.com",
        "ada@localhost",
        "ada@.local",
        "ada@example..com",
        "ada example@example.com",
        "Ada <ada@example.com>",
        "ada@example.com\r\nBcc: all@example.com",
        "ada\x00@example.com",
        "a\u202eda@example.com",
        "a\u200bda@example.com",
        "ada@[127.0.0.1]",
        "a" * 300 + "@example.com",
        "ada@" + "b." * 500 + "com",
    ],
)
def test_what_is_no_address_is_refused_with_the_field(text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        address(text)

    assert refusal.value.details[0].field == "email"


@given(st.text() | st.builds("{}@{}".format, st.text(), st.text()))
def test_the_key_of_a_key_is_the_key(text: str) -> None:
    assert email_key(email_key(text)) == email_key(text)


@given(st.text(st.characters(max_codepoint=127)))
def test_case_makes_no_other_key(text: str) -> None:
    """In ASCII: beyond it upper case does not always lead back, as from the dotless i."""
    assert email_key(text.upper()) == email_key(text.lower()) == email_key(text)


@pytest.mark.parametrize(
    "name", ["Ada", " Ada", "Ada Lovelace", "Ærøskøbing", "李小龍", "O'Brien-Smith, Jr.", "👩‍💻 Ada"]
)
def test_a_name_may_be_any_line_of_text(name: str) -> None:
    assert re.search(ONE_LINE, name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "\u3000",
        "Ada\n",
        "Ada\r\nBcc: x",
        "Ada\x00",
        "\x1b[31mAda",
        "Ada\u202egnp",
        "A\u2066da",
        "Ada\u2028",
        "\x7f",
    ],
)
def test_a_name_holds_nothing_that_is_not_seen(name: str) -> None:
    assert not re.search(ONE_LINE, name)


@given(st.integers(0, 2**128 - 1))
def test_an_opaque_token_can_be_read_back(number: int) -> None:
    parts = OpaqueParts(UUID(int=number), secrets.token_urlsafe(32))

    assert opaque_parts(opaque_text(parts)) == parts


@given(st.integers(0, 87), st.characters(codec="ascii"))
def test_a_token_with_a_wrong_character_is_known_to_be_wrong_without_asking(place: int, character: str) -> None:
    text = opaque_text(OpaqueParts(uuid7(), secrets.token_urlsafe(32)))
    spoiled = text[:place] + character + text[place + 1 :]

    assert opaque_parts(spoiled) is None or spoiled == text


@given(st.text(max_size=200))
def test_nonsense_is_no_token(text: str) -> None:
    assert opaque_parts(text) is None
    assert opaque_parts("crl_" + text) is None


@given(st.frozensets(permissions), st.frozensets(permissions))
def test_a_token_never_grants_more_than_its_owner_holds(abilities: frozenset[str], held: frozenset[str]) -> None:
    concrete = ["users:read", "users:write", "notifications:send", "roles:write"]

    def may(names: frozenset[str], permission: str) -> bool:
        return any(name in {permission, "*"} or name == permission.partition(":")[0] + ":*" for name in names)

    for permission in concrete:
        assert may(granted(abilities, held), permission) == (may(abilities, permission) and may(held, permission))


@pytest.mark.parametrize(
    "attributes",
    [{"a": "\x00"}, {"\x00": 1}, {"a": [{"b": "x\x00y"}]}, {"a": "x" * 20_000}, {"a": "\ud800"}],
)
def test_attributes_that_could_not_be_kept_are_refused(attributes: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="attributes"):
        checked_attributes(attributes)


def test_attributes_are_kept_to_a_depth() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5_000):
        deep = {"a": deep}
    with pytest.raises(Invalid, match="levels"):
        checked_attributes(deep)
    assert checked_attributes({"city": "Ghent", "tags": ["a", {"b": None}], "age": 36})


def person(**fields: Any) -> Person:
    known: dict[str, Any] = {
        "user_id": uuid7(), "name": "Ada", "email": "ada@example.com", "locale": None, "status": "active", "version": 3,
        "choices": Choices(), "suppressed": False, "devices": [Device(uuid7(), "fcm", "token")],
    }  # fmt: skip
    return Person(**{**known, **fields})


def test_a_contact_shows_only_what_its_channel_needs() -> None:
    ada = person()

    assert contact_of(ada, "email", None, None).devices == []
    assert contact_of(ada, "push", None, None).email is None
    assert contact_of(ada, "push", None, None).devices == ada.devices


@pytest.mark.parametrize(
    ("fields", "email_layer", "push_layer"),
    [
        ({}, "channel_default", "channel_default"),
        ({"suppressed": True}, "suppressed_address", "channel_default"),
        ({"devices": []}, "channel_default", "unreachable"),
        ({"email": None}, "unreachable", "channel_default"),
        ({"status": "suspended"}, "unreachable", "unreachable"),
    ],
)
def test_what_keeps_one_channel_from_a_person_leaves_the_other(
    fields: dict[str, Any], email_layer: str, push_layer: str
) -> None:
    someone = person(**fields)

    assert contact_of(someone, "email", None, None).decision.layer == email_layer
    assert contact_of(someone, "push", None, None).decision.layer == push_layer
