"""Where a Web Push may be sent: of an address that a stranger gives us we take only a name on the public net."""

import re
from typing import Final

LONGEST_ENDPOINT: Final = 2048
_ENDPOINT = re.compile(
    r"https://(?P<host>[a-z0-9.-]{1,253})(?P<port>:[0-9]{1,5})?(?P<rest>/[!-~]*)?", re.ASCII | re.IGNORECASE
)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_HTTPS = ":443"
# Names that mean something inside a network only, or nothing anywhere (RFC 6761, 6762, 8375, 9476, and habit).
_INSIDE = frozenset(
    {
        *("alt", "arpa", "example", "home", "internal", "invalid", "local", "localhost", "onion", "test"),
        *("corp", "intranet", "lan", "localdomain", "private", "svc"),
    }
)


class NotPublic(ValueError):
    """The sentence says what is wrong; it never quotes the address, which is a secret of the device."""


def public_endpoint(text: str) -> str:
    """An `https` address with a public name, in one spelling: host in small letters, no port. Raises NotPublic.

    Looks at the text alone. What the name stands for is known when something is sent, and may have changed by then.
    """
    if len(text) > LONGEST_ENDPOINT:
        raise NotPublic(f"At most {LONGEST_ENDPOINT} characters are taken.")
    match = _ENDPOINT.fullmatch(text)
    if match is None or "\\" in text or "#" in text:
        raise NotPublic("Expected: https://, a host name, a path; no user, no fragment, letters of ASCII alone.")
    if match["port"] not in {None, _HTTPS}:
        raise NotPublic("Push services answer on port 443; no other port is taken.")
    host = match["host"].lower()
    if fault := _fault(host):
        raise NotPublic(fault)
    return f"https://{host}{match['rest'] or '/'}"


def _fault(host: str) -> str | None:
    labels = host.split(".")
    if any(_LABEL.fullmatch(label) is None for label in labels):
        return "The host is no name: each part has letters, digits and hyphens, 63 at most."
    if _NUMBER.fullmatch(labels[-1]):  # what ends in a number is an IPv4 address to some reader, in some base
        return "The host is an address, or looks like one; a push service has a name."
    if len(labels) == 1 or labels[-1] in _INSIDE:
        return "The host is a name inside a network, not one on the public net."
    return None
