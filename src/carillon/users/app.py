"""Wires the users service together."""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from carillon.clients.own_token import own_token
from carillon.clients.revocations import Revocations
from carillon.clients.user_events import follow
from carillon.contracts.channels import topology
from carillon.kit.broker.open import open_broker
from carillon.kit.broker.port import Broker
from carillon.kit.bulkhead import Bulkhead
from carillon.kit.database import Database, open_database
from carillon.kit.errors import Invalid
from carillon.kit.http.app import build_app
from carillon.kit.http.limiting import CallerLimit
from carillon.kit.http.proxies import Network, networks
from carillon.kit.http.system import HealthCheck
from carillon.kit.limits import Limits, RedisLimits, open_limits
from carillon.kit.migrations import migrate as migrate_schema
from carillon.kit.remembered_tokens import RememberedTokens
from carillon.kit.service import Running, Service
from carillon.kit.settings import SettingsError
from carillon.users.actions.authenticating import Identification
from carillon.users.actions.founding import found
from carillon.users.actions.looking_up import LookUps
from carillon.users.actions.mailing import Terms
from carillon.users.actions.noting import TokensUsed
from carillon.users.actions.rotating import KeyFile
from carillon.users.domain.people import Address, address
from carillon.users.loops import Changes, announce, mail, note_used, shorten, tidy, watch_keys
from carillon.users.providers.access_tokens import AccessTokens
from carillon.users.providers.installation import (
    Installation,
    ensure_encryption_key,
    ensure_signing_key,
    key_file,
    rotate_signing_keys,
)
from carillon.users.providers.passwords import Argon2Passwords, open_passwords
from carillon.users.providers.relying_party import RelyingParty
from carillon.users.providers.shared_people import SharedPeople, open_shared_people
from carillon.users.providers.signing_keys import SigningKey, described, read_signing_keys
from carillon.users.providers.vault import Vault, read_vault
from carillon.users.routes import (
    account_pages,
    administration,
    applications,
    authentication,
    categories,
    contacts,
    devices,
    history,
    imports,
    passkeys,
    people,
    preferences,
    profile,
    roles,
    second_factors,
    sessions,
    suppressions,
    tokens,
)
from carillon.users.routes import passwords as password_routes
from carillon.users.routes.resources import Resources
from carillon.users.settings import UsersSettings
from carillon.users.store.foundation import Foundation
from carillon.users.store.stores import Stores

NAME = "users"
PATHS = (
    "/api/v1/users",
    "/api/v1/auth",
    "/api/v1/contacts",
    "/api/v1/applications",
    "/api/v1/roles",
    "/api/v1/permissions",
    "/api/v1/categories",
    "/api/v1/audit_events",
    "/api/v1/suppressions",
    "/account",
    "/.well-known",
    "/api/v1/.well-known",
)
HANDLERS = [
    *people.HANDLERS,
    *profile.HANDLERS,
    *preferences.HANDLERS,
    *history.HANDLERS,
    *categories.HANDLERS,
    *devices.HANDLERS,
    *contacts.HANDLERS,
    *authentication.HANDLERS,
    *second_factors.HANDLERS,
    *passkeys.HANDLERS,
    *sessions.HANDLERS,
    *tokens.HANDLERS,
    *applications.HANDLERS,
    *password_routes.HANDLERS,
    *account_pages.HANDLERS,
    *imports.HANDLERS,
    *roles.HANDLERS,
    *administration.HANDLERS,
    *suppressions.HANDLERS,
]


def build(settings: UsersSettings) -> Service:
    """Raises SettingsError for what can be seen to be wrong before anything opens."""
    _admin(settings)
    _proxies(settings)
    return Service(NAME, partial(_open, settings), PATHS)


async def migrate(settings: UsersSettings) -> None:
    """Bring the schema `users` to its newest version."""
    await migrate_schema(settings.database_url, NAME, Path(__file__).parent / "migrations")


async def bootstrap(settings: UsersSettings, data_dir: Path) -> None:
    """Make what the first start needs, replace what does not work; on a migrated schema, as often as you like.

    Leaves the signing and the encryption key, `data_dir/credentials.json` and `data_dir/tokens/<service>.token`.
    """
    await ensure_signing_key(Path(settings.signing_key_file))
    await ensure_encryption_key(Path(settings.encryption_key_file))
    async with (
        open_database(settings.database_url, name=NAME, size=1) as database,
        open_passwords(threads=1, waiting=2) as passwords,
    ):
        await found(
            _admin(settings),
            layer=Foundation(database),
            passwords=passwords,
            keeper=Installation(data_dir),
            token_days=settings.service_token_days,
        )


def rotate_keys(settings: UsersSettings) -> list[str]:
    """Add a signing key that signs in a minute, drop those of which no token lives; a line for each that there is.

    Raises SettingsError.
    """
    now, path = time.time(), Path(settings.signing_key_file)
    return described(rotate_signing_keys(path, now=now, life_seconds=settings.access_token_seconds), now)


def list_keys(settings: UsersSettings) -> list[str]:
    """A line for each signing key. Raises SettingsError."""
    return described(read_signing_keys(Path(settings.signing_key_file)), time.time())


@contextlib.asynccontextmanager
async def _open(settings: UsersSettings) -> AsyncIterator[Running]:
    token = own_token(settings.token_file, NAME)
    keys = key_file(Path(settings.signing_key_file))
    vault = read_vault(Path(settings.encryption_key_file))
    async with (
        open_database(settings.database_url, name=NAME, size=settings.database_pool) as database,
        open_broker(settings.broker_url, topology(settings.retry_delays), name=NAME) as broker,
        open_passwords(threads=settings.hashing_threads, waiting=settings.hashing_queue) as passwords,
        open_limits(settings.redis_url, prefix=f"carillon:{NAME}:") as limits,
        open_shared_people(settings.redis_url) as shared,
    ):
        here = _resources(settings, Stores(database), _Outside(keys, vault, passwords, limits, shared))
        yield _running(here, database, broker, token)
        await here.look_ups.drain()
        await here.used.flush(here.stores.opaque_tokens)


@dataclass(frozen=True, slots=True)
class _Outside:
    """What is open beside the database."""

    keys: KeyFile[SigningKey]
    vault: Vault
    passwords: Argon2Passwords
    limits: Limits
    shared: SharedPeople | None


def _resources(settings: UsersSettings, stores: Stores, outside: _Outside) -> Resources:
    look_ups = LookUps(
        stores.preferences,
        stores.categories,
        fresh_seconds=settings.cache_seconds,
        stale_seconds=settings.cache_stale_seconds,
        fills=settings.cache_fills,
        shared=outside.shared,
    )
    access_tokens = AccessTokens(outside.keys.keys(), seconds=settings.access_token_seconds, clock=time.time)
    revocations, used = Revocations(), TokensUsed()
    identify = Identification(stores.credentials, stores.sessions, access_tokens, void=revocations.void, used=used)
    remembered = RememberedTokens(identify, service=NAME, seconds=settings.remembered_token_seconds)
    revocations.guard(remembered)
    return Resources(
        settings=settings,
        stores=stores,
        look_ups=look_ups,
        counting=Bulkhead(2, patience=2, says="Others are counting people at this moment."),
        changes=Changes(look_ups, remembered),
        passwords=outside.passwords,
        access_tokens=access_tokens,
        limits=outside.limits,
        identify=identify,
        remembered=remembered,
        revocations=revocations,
        used=used,
        keys=outside.keys,
        vault=outside.vault,
        relying_party=RelyingParty(settings.public_url),
    )


def _running(here: Resources, database: Database, broker: Broker, token: str) -> Running:
    stores, settings, per_minute = here.stores, here.settings, here.settings.requests_per_minute
    checks = _checks(database, broker, here.limits)
    shortcut = preferences.preferences_shortcut(here.look_ups, here.remembered, counted=per_minute > 0)
    app = build_app(
        NAME,
        HANDLERS,
        authenticate=here.remembered,
        verify=here.identify.strictly,
        state={"resources": here},
        checks=checks,
        title="Carillon users",
        limit=CallerLimit(here.limits, per_minute) if per_minute else None,
        trusted_proxies=_proxies(settings),
    )
    loops = {
        "announce": partial(announce, stores.outbox, broker, here.changes),
        "note_used": partial(note_used, here.used, stores.opaque_tokens),
        "watch_keys": partial(watch_keys, here.keys, here.access_tokens),
        "tidy": partial(tidy, stores),
        **({"shorten": partial(shorten, stores.audit_trail, settings.audit_days)} if settings.audit_days else {}),
        "mail": partial(
            mail, stores.account_mails, stores.one_time_tokens, _terms(settings), settings.gateway_url, token
        ),
        "listen": partial(follow, broker, here.look_ups, here.revocations, standing=here.changes.hearing),
    }
    return Running(app, loops, checks, [shortcut])


def _terms(settings: UsersSettings) -> Terms:
    return Terms(
        settings.public_url,
        settings.password_reset_seconds,
        settings.email_verification_seconds,
        contacts_too=settings.registration == "open",
    )


def _checks(database: Database, broker: Broker, limits: Limits) -> dict[str, HealthCheck]:
    checks = {
        "database": HealthCheck(
            database.ping, "access tokens are verified by signature, preferences read lately are answered", vital=True
        ),
        "broker": HealthCheck(broker.ping, "everything works; other services notice changes later"),
    }
    if isinstance(limits, RedisLimits):
        without = (
            "limits count in each process, those of logins are cut to a quarter; look-ups ask the database, "
            "a bounded number at a time"
        )
        checks["redis"] = HealthCheck(limits.ping, without)
    return checks


def _admin(settings: UsersSettings) -> Address:
    try:
        return address(settings.admin_email)
    except Invalid as error:
        raise SettingsError(f"CARILLON_USERS_ADMIN_EMAIL: {error}") from None


def _proxies(settings: UsersSettings) -> tuple[Network, ...]:
    try:
        return networks(settings.trusted_proxies)
    except ValueError as error:
        raise SettingsError(f"CARILLON_TRUSTED_PROXIES: {error}.") from None
