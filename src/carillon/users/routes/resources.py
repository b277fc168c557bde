"""What the routes of this service find in their app."""

import hashlib
import ipaddress
from dataclasses import dataclass
from typing import Final

from carillon.kit.auth import Authenticator
from carillon.kit.http.access import ApiRequest
from carillon.kit.limits import Limits
from carillon.users.actions.changing import Actor
from carillon.users.actions.looking_up import LookUps
from carillon.users.domain.people import email_key
from carillon.users.loops import Changes
from carillon.users.providers.access_tokens import AccessTokens
from carillon.users.providers.passwords import Argon2Passwords
from carillon.users.settings import UsersSettings
from carillon.users.store.categories import Categories
from carillon.users.store.consent import ConsentHistory
from carillon.users.store.credentials import Credentials
from carillon.users.store.devices import Devices
from carillon.users.store.grants import GrantsStore
from carillon.users.store.people import People
from carillon.users.store.preferences import PreferencesStore

TAG: Final = "users"
READ: Final = "users:read"
WRITE: Final = "users:write"
_IPV6_NETWORK = 64


@dataclass(frozen=True, slots=True)
class Resources:
    """Everything that is open while the service runs."""

    settings: UsersSettings
    people: People
    preferences: PreferencesStore
    consent: ConsentHistory
    categories: Categories
    devices: Devices
    credentials: Credentials
    grants: GrantsStore
    look_ups: LookUps
    changes: Changes
    passwords: Argon2Passwords
    access_tokens: AccessTokens
    limits: Limits
    identify: Authenticator


def resources(request: ApiRequest) -> Resources:
    found: Resources = request.app.state.resources
    return found


def actor(request: ApiRequest) -> Actor:
    """The caller as one who changes: themselves, or with `users:write` anybody."""
    return Actor(request.auth.caller_id, anyone=request.auth.may(WRITE), session_id=request.auth.session_id)


def client_address(request: ApiRequest) -> str:
    """What limits by client address count by."""
    return network_of(request.client.host if request.client else "")


def network_of(host: str) -> str:
    """An IPv4 address as it is; of IPv6 the network, because one client holds all addresses of it."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_NETWORK), strict=False))


def account_key(email: str) -> str:
    """An account in a key of the limits, without its address."""
    return hashlib.sha256(email_key(email).encode()).hexdigest()[:32]
