"""What limits count by: clients by their network, accounts without their address."""

import pytest

from carillon.users.routes.resources import account_key, network_of


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        ("a unix socket", "a unix socket"),
    ],
)
def test_all_addresses_of_one_ipv6_network_are_one_client(host: str, network: str) -> None:
    assert network_of(host) == network


def test_every_spelling_of_an_account_is_one_key_that_does_not_show_it() -> None:
    assert account_key("Ada@Example.com") == account_key(" ada@example.COM ")
    assert account_key("ada@example.com") != account_key("bob@example.com")
    assert "ada" not in account_key("ada@example.com")
