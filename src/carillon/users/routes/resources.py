"""What the routes of this service find in their app."""

import hashlib
import ipaddress
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from carillon.clients.revocations import Revocations
from carillon.kit.bulkhead import Bulkhead
from carillon.kit.errors import Forbidden
from carillon.kit.http.access import ApiRequest
from carillon.kit.limits import Limits, enforced
from carillon.kit.remembered_tokens import RememberedTokens
from carillon.users.actions.authenticating import Identification
from carillon.users.actions.looking_up import LookUps
from carillon.users.actions.noting import TokensUsed
from carillon.users.actions.rotating import KeyFile
from carillon.users.domain.people import email_key
from carillon.users.domain.roles import Actor
from carillon.users.loops import Changes
from carillon.users.providers.access_tokens import AccessTokens
from carillon.users.providers.passwords import Argon2Passwords
from carillon.users.providers.relying_party import RelyingParty
from carillon.users.providers.signing_keys import SigningKey
from carillon.users.providers.vault import Vault
from carillon.users.settings import UsersSettings
from carillon.users.store.stores import Stores

TAG: Final = "users"
READ: Final = "users:read"
WRITE: Final = "users:write"
_IPV6_NETWORK = 64


@dataclass(frozen=True, slots=True)
class Resources:
    """Everything that is open while the service runs."""

    settings: UsersSettings
    stores: Stores
    look_ups: LookUps
    counting: Bulkhead
    changes: Changes
    passwords: Argon2Passwords
    access_tokens: AccessTokens
    limits: Limits
    identify: Identification
    remembered: RememberedTokens
    revocations: Revocations
    used: TokensUsed
    keys: KeyFile[SigningKey]
    vault: Vault
    relying_party: RelyingParty


def resources(request: ApiRequest) -> Resources:
    found: Resources = request.app.state.resources
    return found


def actor(request: ApiRequest) -> Actor:
    """The caller as one who changes: themselves, or with `users:write` anybody."""
    caller = request.auth
    return Actor(caller.caller_id, anyone=caller.may(WRITE), holds=caller.may, session_id=caller.session_id)


def own_session(request: ApiRequest) -> UUID:
    """The session of the caller; for routes that need LOGGED_IN."""
    if request.auth.session_id is None:
        raise Forbidden("This needs somebody who has logged in.")
    return request.auth.session_id


async def counted(here: Resources, name: str, key: str, per_minute: int, *, strict: bool = False) -> dict[str, str]:
    """Count one against a limit; the headers that tell of it. Raises TooManyRequests."""
    return enforced(name, await here.limits.check(f"{name}:{key}", per_minute, strict=strict))


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
