"""`carillon up`: every service in one process on an embedded PostgreSQL, with a mailbox to look at."""

import contextlib
import os
import secrets
import shlex
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

import carillon.simulators.app
import carillon.templates.app
import carillon.users.app
from carillon.kit.broker.postgres.schema import end_leases as end_broker_leases
from carillon.kit.broker.postgres.schema import migrate_broker
from carillon.kit.embedded_postgres import embedded_postgres, ensure_role_and_schema
from carillon.kit.service import Service, bind, serve
from carillon.kit.settings import Settings, in_file, load, variable
from carillon.process_settings import PlatformSettings
from carillon.services import SERVICES, Entry

_UNKNOWN = "postgresql://not-yet-known"
SIMULATORS = Entry("simulators", "SimulatorsSettings")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the platform is reached, and where it keeps its state."""

    url: str
    data_dir: Path

    @property
    def credentials(self) -> Path:
        return self.data_dir / "credentials.json"


async def up(settings: PlatformSettings, on_ready: Callable[[Address, UUID], None]) -> None:
    """Run until SIGTERM or SIGINT; `on_ready` is told the administrator's id.

    Raises OSError (busy port), SettingsError and EmbeddedPostgresError.
    """
    with (
        contextlib.closing(bind(settings.host, settings.port)) as listening,
        contextlib.closing(bind("127.0.0.1", 0)) as smtp,
    ):
        address = Address(_url(settings.host, listening.getsockname()[1]), settings.data_dir.absolute())
        given = _defaults(address, smtp.getsockname()[1])
        read = {name: load(entry.settings, name, **given[name]) for name, entry in _entries().items()}
        async with _databases(address.data_dir, read) as (known, embedded):
            await _prepare(known, embedded, address)
            services = _build(known, smtp)
            await serve(services, listening, on_ready=lambda: on_ready(address, _administrator(address)))


def _entries() -> dict[str, Entry]:
    return {**SERVICES, SIMULATORS.schema: SIMULATORS}


def _url(host: str, port: int) -> str:
    reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{reached}:{port}"


def _defaults(address: Address, smtp_port: int) -> dict[str, dict[str, Any]]:
    """What one process makes true: everybody is found at the front door, mail and pushes go to the simulators."""
    data_dir = address.data_dir
    known: dict[str, str | Path] = {
        "database_url": _UNKNOWN,
        "broker_url": _UNKNOWN,
        "users_url": address.url,
        "templates_url": address.url,
        "gateway_url": address.url,
        "public_url": address.url,
    }
    known |= {"signing_key_file": data_dir / "signing_key.pem", "encryption_key_file": data_dir / "encryption.key"}
    known |= {"service_account_file": _account(data_dir)}
    known |= {"simulated_account_file": _account(data_dir), "database_pool": "4", "database_connections": "5"}
    known |= {"smtp_url": f"smtp://127.0.0.1:{smtp_port}?tls=none", "fcm_url": f"{address.url}/simulators/fcm"}
    return {
        name: {
            field: str(value)
            for field, value in {**known, "token_file": data_dir / "tokens" / f"{name}.token"}.items()
            if field in entry.settings.__struct_fields__
        }
        for name, entry in _entries().items()
    }


def _account(data_dir: Path) -> Path:
    """The push simulator's own service account; a real one that the operator names is never written to."""
    return data_dir / "fcm.json"


@contextlib.asynccontextmanager
async def _databases(data_dir: Path, read: dict[str, Settings]) -> AsyncIterator[tuple[dict[str, Any], set[str]]]:
    """Give every service without a database of its own one in the embedded PostgreSQL; no need of it, no PostgreSQL.

    Yields the settings and the addresses that lie in the embedded PostgreSQL.
    """
    if not any(_UNKNOWN in _addresses(settings) for settings in read.values()):
        yield read, set()
        return
    async with embedded_postgres(data_dir) as postgres:
        urls = {}
        for name in ("broker", *read):
            urls[name] = await ensure_role_and_schema(postgres, name=name, password=secrets.token_urlsafe(24))
        yield {name: _with_addresses(it, urls[name], urls["broker"]) for name, it in read.items()}, set(urls.values())


def _addresses(settings: Settings) -> tuple[str, str]:
    """The database's and the broker's; empty where the service has none."""
    return getattr(settings, "database_url", ""), getattr(settings, "broker_url", "")


def _with_addresses(settings: Settings, database_url: str, broker_url: str) -> Settings:
    found = {"database_url": database_url, "broker_url": broker_url}
    return msgspec.structs.replace(
        settings, **{field: url for field, url in found.items() if getattr(settings, field, None) == _UNKNOWN}
    )


async def _prepare(known: dict[str, Any], embedded: set[str], address: Address) -> None:
    """Schemas, secrets and the first templates: idempotent, and done before anything answers."""
    brokers = {url for _, url in map(_addresses, known.values()) if url.startswith("postgres")}
    for url in brokers:
        await migrate_broker(url)
    for name, entry in _entries().items():
        await entry.migrate(known[name])
    await _end_leases(known, brokers, embedded)
    await carillon.users.app.bootstrap(known["users"], address.data_dir)
    await carillon.templates.app.seed(known["templates"])
    await carillon.templates.app.seed_account_mails(known["templates"])
    carillon.simulators.app.ensure_service_account(_account(address.data_dir), address.url)


async def _end_leases(known: dict[str, Any], brokers: set[str], embedded: set[str]) -> None:
    """The owner of the data folder is alone: what its database says to be in hand died with the owner before."""
    for url in brokers & embedded:
        await end_broker_leases(url)
    for name, entry in _entries().items():
        if entry.end_leases is not None and known[name].database_url in embedded:
            await entry.end_leases(known[name])


def _build(known: dict[str, Any], smtp: socket.socket) -> list[Service]:
    services = [entry.build(known[name]) for name, entry in SERVICES.items()]
    return [*services, carillon.simulators.app.build(known["simulators"], smtp_socket=smtp)]


def unknown_variables() -> list[str]:
    """`CARILLON_*` variables that nobody reads: most often a spelling mistake."""
    known = {variable("", field) for field in PlatformSettings.__struct_fields__} | {
        variable(service, field)
        for name, entry in _entries().items()
        for field in entry.settings.__struct_fields__
        for service in (name, "")
    }
    known |= {in_file(name) for name in known}
    return sorted(name for name in os.environ if name.startswith("CARILLON_") and name not in known)


def _administrator(address: Address) -> UUID:
    return msgspec.json.decode(address.credentials.read_bytes(), type=_Administrator).admin_user_id


class _Administrator(msgspec.Struct):
    admin_user_id: UUID


def first_curl(address: Address, user_id: UUID) -> str:
    """A line that sends a mail to this user and works when pasted; it reads the token, it does not show it."""
    read = 'import json, sys; print(json.load(sys.stdin)["application_token"])'
    body = {
        "notification_type": "email",
        "user_id": user_id,
        "template_code": "welcome",
        "variables": {"name": "Ada", "link": f"{address.url}/docs"},
        "request_id": "first-'$(date +%s)'",
    }
    token = f"python3 -c {shlex.quote(read)} < {shlex.quote(str(address.credentials))}"
    return (
        f"curl -s {address.url}/api/v1/notifications/ -H 'Content-Type: application/json' "
        f"-H \"Authorization: Bearer $({token})\" -d '{msgspec.json.encode(body).decode()}'"
    )
