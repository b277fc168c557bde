"""The table of services: how each is configured, migrated and built. `carillon run` and `carillon up` read it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import carillon.email_worker.app
import carillon.email_worker.settings
import carillon.gateway.app
import carillon.gateway.settings
import carillon.push_worker.app
import carillon.push_worker.settings
import carillon.templates.app
import carillon.templates.settings
import carillon.users.app
import carillon.users.settings
from carillon.kit.service import Service
from carillon.kit.settings import Settings


@dataclass(frozen=True, slots=True)
class Entry:
    """One service: `schema` names its tables' home and its role in the embedded PostgreSQL.

    `end_leases` takes back what a dead process still holds; None where nothing is ever held.
    """

    schema: str
    settings: type[Settings]
    build: Callable[[Any], Service]
    migrate: Callable[[Any], Awaitable[None]]
    end_leases: Callable[[Any], Awaitable[None]] | None = None


def _entry(name: str, app: Any, settings: type[Settings]) -> Entry:
    return Entry(name, settings, app.build, app.migrate, getattr(app, "end_leases", None))


SERVICES: dict[str, Entry] = {
    entry.schema: entry
    for entry in (
        _entry("users", carillon.users.app, carillon.users.settings.UsersSettings),
        _entry("templates", carillon.templates.app, carillon.templates.settings.TemplatesSettings),
        _entry("gateway", carillon.gateway.app, carillon.gateway.settings.GatewaySettings),
        _entry("email_worker", carillon.email_worker.app, carillon.email_worker.settings.EmailWorkerSettings),
        _entry("push_worker", carillon.push_worker.app, carillon.push_worker.settings.PushWorkerSettings),
    )
}
