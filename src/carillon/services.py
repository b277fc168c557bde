"""The table of services: how each is configured, migrated and built. `carillon run` and `carillon up` read it.

A service is imported when it is asked for: all five take seconds and tens of MiB that a process of one does not need.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from carillon.kit.migrations import trouble_with
from carillon.kit.service import Service
from carillon.kit.settings import Settings


@dataclass(frozen=True, slots=True)
class Entry:
    """One service: `schema` names its package, its tables' home and its role in the embedded PostgreSQL."""

    schema: str
    settings_name: str

    @property
    def settings(self) -> type[Settings]:
        found: type[Settings] = getattr(import_module(f"carillon.{self.schema}.settings"), self.settings_name)
        return found

    def build(self, settings: Any) -> Service:
        built: Service = self._app.build(settings)
        return built

    async def migrate(self, settings: Any) -> None:
        await self._app.migrate(settings)

    async def trouble_with_schema(self, settings: Any) -> str:
        """What is to be done about its tables, in one line; empty when they are as this code needs them."""
        folder = Path(__file__).parent / self.schema / "migrations"
        return await trouble_with(settings.database_url, self.schema, folder)

    @property
    def end_leases(self) -> Callable[[Any], Awaitable[None]] | None:
        """What takes back what a dead process still holds; None where nothing is ever held."""
        return getattr(self._app, "end_leases", None)

    @property
    def _app(self) -> ModuleType:
        return import_module(f"carillon.{self.schema}.app")


SERVICES: dict[str, Entry] = {
    entry.schema: entry
    for entry in (
        Entry("users", "UsersSettings"),
        Entry("templates", "TemplatesSettings"),
        Entry("gateway", "GatewaySettings"),
        Entry("email_worker", "EmailWorkerSettings"),
        Entry("push_worker", "PushWorkerSettings"),
    )
}
