"""The door of the package: a running PostgreSQL for as long as the context is open."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from carillon.kit.embedded_postgres.cluster import SUPERUSER, ensure_cluster
from carillon.kit.embedded_postgres.errors import explained
from carillon.kit.embedded_postgres.folder import claimed
from carillon.kit.embedded_postgres.installation import Installation, install
from carillon.kit.embedded_postgres.ports import HOST, socket_folder
from carillon.kit.embedded_postgres.supervisor import Supervisor, supervised


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """What a running one tells; host, port and password stay the same when the server is brought back."""

    host: str
    port: int
    socket_dir: Path
    pid_file: Path
    superuser: str
    superuser_password: str = field(repr=False)

    @property
    def pid(self) -> int:
        """The server process of this moment; FileNotFoundError while it is being brought back."""
        return int(self.pid_file.read_text().split()[0])

    def dsn(self, *, database: str, user: str, password: str) -> str:
        """Write the address over TCP on the loopback interface."""
        return f"postgresql://{quote(user, '')}:{quote(password, '')}@{self.host}:{self.port}/{quote(database, '')}"

    def superuser_dsn(self, *, database: str = "postgres") -> str:
        return self.dsn(database=database, user=self.superuser, password=self.superuser_password)


@asynccontextmanager
async def embedded_postgres(
    data_dir: Path, *, settings: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[EmbeddedPostgres]:
    """Run the PostgreSQL of `data_dir`; `settings` override the server's configuration parameters.

    Raises EmbeddedPostgresError for everything that can be expected to go wrong, also later: when the server dies
    and cannot be brought back, the body is cancelled and the error raised in its place.
    """
    with claimed(data_dir) as folder:
        with explained(folder.path):
            installation = await asyncio.to_thread(install, folder, settings)
            await ensure_cluster(installation)
        with socket_folder(folder, installation.user) as socket_dir:
            supervisor = Supervisor(installation, socket_dir=socket_dir)
            try:
                await supervisor.start()
                async with supervised(supervisor):
                    yield _describe(installation, supervisor, socket_dir)
            finally:
                await supervisor.stop()


def _describe(installation: Installation, supervisor: Supervisor, socket_dir: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(
        host=HOST,
        port=supervisor.port,
        socket_dir=socket_dir,
        pid_file=installation.pid_file,
        superuser=SUPERUSER,
        superuser_password=installation.folder.identity().superuser_password,
    )
