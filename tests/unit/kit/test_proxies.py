"""Only a trusted proxy is believed, and only about whom it heard from itself."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.kit.http.proxies import client_of, networks

TRUSTED = networks(["10.0.0.0/8", "192.0.2.1", "2001:db8:ff::/48"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("203.0.113.9", ["10.0.0.1"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1", "10.9.9.9,192.0.2.1"], "198.51.100.1"),
        ("10.0.0.1", ["10.7.7.7, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1:51000"], "198.51.100.1"),
        ("10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", ["[2001:db8::7]"], "2001:db8::7"),
        ("10.0.0.1", ["[2001:DB8::7]:443"], "2001:db8::7"),
        ("2001:db8:ff::1", ["198.51.100.1, [2001:db8:ff::2]:1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.2,"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("", ["198.51.100.1"], ""),
        ("a unix socket", ["198.51.100.1"], "a unix socket"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_trusted_proxy(
    peer: str, forwarded: list[str], client: str
) -> None:
    assert client_of(peer, forwarded, TRUSTED) == client


@pytest.mark.parametrize(
    "garbage",
    [
        "", "unknown", "_hidden", "1.2.3", "1.2.3.4.5", "999.1.1.1", "[::1", "::1]", "[::1]x", "1.2.3.4:",
        "1.2.3.4:123456", "fe80::1%eth0", "[1.2.3.4", "for=1.2.3.4", '"1.2.3.4"', "1.2.3.4;5.6.7.8", "0x7f.0.0.1",
        "\u0661.2.3.4", "\x00", "x" * 9000,
    ],
)  # fmt: skip
def test_garbage_is_counted_against_the_proxy_that_let_it_pass(garbage: str) -> None:
    assert client_of("10.0.0.1", [f"198.51.100.1, {garbage}"], TRUSTED) == "10.0.0.1"
    assert client_of("10.0.0.1", ["198.51.100.1", garbage, "10.0.0.2"], TRUSTED) == "10.0.0.2"
    assert client_of("10.0.0.1", [f"{garbage}, 198.51.100.1"], TRUSTED) == "198.51.100.1"


@given(said=st.lists(st.text(max_size=30), max_size=5), real=st.ip_addresses())
def test_whatever_a_client_says_of_itself_changes_nothing(
    said: list[str], real: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    if any(real in network for network in TRUSTED) or getattr(real, "ipv4_mapped", None):
        return

    assert client_of("10.0.0.1", [*said, str(real)], TRUSTED) == str(real)
    assert client_of(str(real), said, TRUSTED) == str(real)
    assert client_of(str(real), said, ()) == str(real)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "proxy.example.com", "*", ""])
def test_a_network_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"does not appear|has host bits"):
        networks([text])
