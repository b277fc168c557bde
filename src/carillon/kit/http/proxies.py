"""Whose request it is behind proxies: believed only of proxies that the operator trusts, read from the right."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_ENTRY = re.compile(
    r"\[(?P<bracketed>[0-9A-Fa-f:.]+)\](?::\d{1,5})?|(?P<four>[0-9.]+)(?::\d{1,5})?|(?P<six>[0-9A-Fa-f:.]+)"
)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and networks (`10.0.0.0/8`). Raises ValueError."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def client_of(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """The address that the request came from; `forwarded` are the values of `X-Forwarded-For`, in order.

    Each proxy appends whom it heard from. So entries are true from the right, as long as a trusted proxy wrote them:
    the first that is no trusted proxy itself is the client, and what stands left of it was said by the client.
    What is no address ends the search at the proxy that let it pass.
    """
    address = _address(peer)
    if address is None or not _trusts(trusted, address):
        return peer
    for entry in reversed(",".join(forwarded).split(",") if forwarded else []):
        told = _told(entry.strip())
        if told is None:
            break
        address = told
        if not _trusts(trusted, told):
            break
    return str(address)


def _trusts(trusted: Sequence[Network], address: _IpAddress) -> bool:
    return any(address in network for network in trusted)


def _told(entry: str) -> _IpAddress | None:
    match = _ENTRY.fullmatch(entry)
    return _address(match["bracketed"] or match["four"] or match["six"]) if match else None


def _address(text: str) -> _IpAddress | None:
    """An IPv4 address in the clothes of IPv6 is the IPv4 address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
