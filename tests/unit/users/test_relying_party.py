"""A recorded ceremony, a registration and a login of the same passkey, is verified; bent in any one place it is not."""

import base64
import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.users.domain.passkeys import challenge_of, decoded
from carillon.users.providers.relying_party import RelyingParty
from tests.support.authenticator import base64url, raw

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "recorded_ceremony.json").read_text())
PARTY = RelyingParty(RECORDED["origin"])
FIRST, SECOND = (raw(RECORDED[name]["challenge"]) for name in ("registration", "login"))
MADE = PARTY.registered(RECORDED["registration"]["credential"], FIRST)
assert MADE is not None
PUBLIC_KEY = MADE.public_key


def _client_data(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def bend(response: dict[str, Any]) -> None:
        said = {**json.loads(raw(response["clientDataJSON"])), **changes}
        response["clientDataJSON"] = base64url(json.dumps(said).encode())

    return bend


def _byte(name: str, at: int, flip: int = 1) -> Callable[[dict[str, Any]], None]:
    def bend(response: dict[str, Any]) -> None:
        content = bytearray(raw(response[name]))
        content[at] ^= flip
        response[name] = base64url(bytes(content))

    return bend


def bent(name: str, bend: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    credential: dict[str, Any] = copy.deepcopy(RECORDED[name]["credential"])
    bend(credential["response"])
    return credential


def test_the_recorded_ceremony_is_verified() -> None:
    assert MADE is not None
    assert MADE.credential_id == raw(RECORDED["login"]["credential"]["rawId"])
    assert MADE.sign_count == 7
    assert PARTY.shown(RECORDED["login"]["credential"], SECOND, PUBLIC_KEY) == 8


@pytest.mark.parametrize(
    "bend",
    [
        _client_data(origin="https://people.example.evil"),
        _client_data(origin="http://people.example"),
        _client_data(type="webauthn.create"),
        _client_data(challenge=base64url(FIRST)),
        _byte("signature", -1),
        _byte("authenticatorData", 0),
        _byte("authenticatorData", 32, 0x01),
        _byte("authenticatorData", 32, 0x04),
        _byte("authenticatorData", 36),
    ],
    ids=["origin", "scheme", "type", "challenge", "signature", "rp id", "presence", "verification", "count"],
)
def test_a_bent_login_is_refused(bend: Callable[[dict[str, Any]], None]) -> None:
    assert PARTY.shown(bent("login", bend), SECOND, PUBLIC_KEY) is None


@pytest.mark.parametrize(
    "bend",
    [
        _client_data(origin="https://elsewhere.example"),
        _client_data(type="webauthn.get"),
        _client_data(challenge=base64url(SECOND)),
        lambda response: response.update(attestationObject="AQID"),
        lambda response: response.update(attestationObject=base64url(b"\xbf" * 1000)),
        lambda response: response.update(clientDataJSON=base64url(b"[" * 100_000)),
    ],
    ids=["origin", "type", "challenge", "no object", "deep object", "deep JSON"],
)
def test_a_bent_registration_is_refused(bend: Callable[[dict[str, Any]], None]) -> None:
    assert PARTY.registered(bent("registration", bend), FIRST) is None


def test_flags_of_a_registration_are_looked_at_too() -> None:
    content = raw(RECORDED["registration"]["credential"]["response"]["attestationObject"])
    at = content.index(b"authData") + len(b"authData") + 2 + 32
    assert content[at] == 0x45
    for flags in (0x44, 0x41, 0x05):
        swapped = content[:at] + bytes([flags]) + content[at + 1 :]

        credential = bent("registration", partial(dict.update, attestationObject=base64url(swapped)))

        assert PARTY.registered(credential, FIRST) is None


@pytest.mark.parametrize(
    "public_url", ["https://elsewhere.example", "http://people.example", "https://people.example:8443"]
)
def test_for_another_address_the_same_ceremony_is_worth_nothing(public_url: str) -> None:
    party = RelyingParty(public_url)

    assert party.registered(RECORDED["registration"]["credential"], FIRST) is None
    assert party.shown(RECORDED["login"]["credential"], SECOND, PUBLIC_KEY) is None


@given(key=st.binary(max_size=80))
def test_another_key_or_none_verifies_nothing(key: bytes) -> None:
    assert PARTY.shown(RECORDED["login"]["credential"], SECOND, key) is None


@pytest.mark.parametrize(
    ("public_url", "rp_id", "origin"),
    [
        ("https://people.example/c/", "people.example", "https://people.example"),
        ("https://People.Example:443", "people.example", "https://people.example"),
        ("http://localhost:8000", "localhost", "http://localhost:8000"),
        ("http://localhost:80/", "localhost", "http://localhost"),
        ("https://bücher.example", "xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ],
)
def test_who_we_are_is_what_browsers_call_us(public_url: str, rp_id: str, origin: str) -> None:
    party = RelyingParty(public_url)

    assert (party.rp_id, party.origin) == (rp_id, origin)


def test_the_options_ask_for_a_passkey_that_knows_its_account_and_verifies_its_owner() -> None:
    user_id = UUID(RECORDED["user_id"])

    options = PARTY.to_register(FIRST, user_id, address="ada@example.com", name="Ada", known=[b"one"])
    login = PARTY.to_sign_in(SECOND)

    assert options["rp"] == {"name": "Carillon", "id": "people.example"}
    assert raw(options["user"]["id"]) == user_id.bytes
    assert raw(options["challenge"]) == FIRST
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["authenticatorSelection"]["userVerification"] == login["userVerification"] == "required"
    assert [raw(one["id"]) for one in options["excludeCredentials"]] == [b"one"]
    assert (raw(login["challenge"]), login["rpId"], login.get("allowCredentials", [])) == (SECOND, "people.example", [])


@given(said=st.binary(max_size=200) | st.text(max_size=40).map(lambda text: json.dumps({"challenge": text}).encode()))
def test_a_challenge_is_read_from_whatever_is_sent_and_nothing_else(said: bytes) -> None:
    found = challenge_of(base64url(said))

    assert found is None or len(found) >= 16


@pytest.mark.parametrize(
    "text", ["", "AQID", base64url(b"[" * 100_000), base64url(b'{"challenge": 1}'), "====", "\u00e9"]
)
def test_what_holds_no_challenge_has_none(text: str) -> None:
    assert challenge_of(text) is None


@given(content=st.binary(max_size=64))
def test_bytes_come_back_as_they_were(content: bytes) -> None:
    assert decoded(base64.urlsafe_b64encode(content).rstrip(b"=").decode()) == content
