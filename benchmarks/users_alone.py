"""The users service by itself, pinned to a core of its own, and people to look up in it."""

import contextlib
import os
import secrets
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import uvloop

from benchmarks.platforms import post
from carillon.kit.broker.postgres.schema import migrate_broker
from carillon.kit.ids import uuid7
from carillon.users.actions.authenticating import secret_hash
from carillon.users.app import bootstrap, migrate
from carillon.users.domain.tokens import OpaqueParts, opaque_text
from carillon.users.settings import UsersSettings
from tests.support.platform import CARILLON, Platform, clean_environment
from tests.support.processes import free_port
from tests.support.servers import postgres_server


@dataclass
class Users:
    """The users service by itself, on a core of its own."""

    process: subprocess.Popen[bytes]
    address: tuple[str, int]
    dsn: str
    admin_email: str
    admin_password: str

    @property
    def host(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    def log_in(self) -> str:
        body = {"email": self.admin_email, "password": self.admin_password}
        token: str = post(f"http://{self.host}/api/v1/auth/login", "", body)["access_token"]
        return token

    async def people(self, count: int) -> list[str]:
        """That many users with preferences, in no order."""
        async with _connected(self.dsn) as sql:
            await sql.execute(_PEOPLE, count)
            await sql.execute(
                "INSERT INTO users.notification_preferences (user_id) SELECT id FROM users.users ON CONFLICT DO NOTHING"
            )
            await sql.execute("ANALYZE")
            rows = await sql.fetch("SELECT id FROM users.users WHERE name = 'bench' ORDER BY random()")
        return [str(row["id"]) for row in rows]

    async def personal_access_token(self) -> str:
        """One of the administrator's, that may read."""
        parts = OpaqueParts(uuid7(), secrets.token_urlsafe(32))
        async with _connected(self.dsn) as sql:
            await sql.execute(_TOKEN, parts.token_id, secret_hash(parts.secret), self.admin_email)
        return opaque_text(parts)


_PEOPLE = """
INSERT INTO users.users (id, name, email, email_key)
SELECT gen_random_uuid(), 'bench', format('bench%s@example.com', n), format('bench%s@example.com', n)
FROM generate_series(1, $1) n
"""
_PREFERENCES = """
INSERT INTO users.notification_preferences (user_id) SELECT id FROM users.users ON CONFLICT DO NOTHING
"""
_TOKEN = """
INSERT INTO users.personal_access_tokens (id, user_id, name, abilities, secret_hash, expires_at)
SELECT $1, id, 'bench', '{users:read}', $2, now() + interval '1 hour' FROM users.users WHERE email = $3
"""


@contextlib.asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=120)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


@contextlib.contextmanager
def users_alone(**changed: str) -> Iterator[Users]:
    """The users service on the first core, with `changed` settings; PostgreSQL, and whoever asks, on the others."""
    cores = sorted(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        os.sched_setaffinity(0, cores[1:] or cores)
        stack.callback(os.sched_setaffinity, 0, cores)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="carillon-bench-")))
        postgres = stack.enter_context(postgres_server(settings={}))
        dsn, port = uvloop.run(postgres.create_database()), free_port()
        url = f"http://127.0.0.1:{port}"
        settings = UsersSettings(
            database_url=dsn,
            broker_url=dsn,
            signing_key_file=str(folder / "signing_key.pem"),
            encryption_key_file=str(folder / "encryption.key"),
        )
        uvloop.run(_founded(settings, folder))
        environment = {
            "CARILLON_USERS_DATABASE_URL": dsn,
            "CARILLON_BROKER_URL": dsn,
            "CARILLON_USERS_PORT": str(port),
            "CARILLON_SIGNING_KEY_FILE": settings.signing_key_file,
            "CARILLON_USERS_TOKEN_FILE": str(folder / "tokens" / "users.token"),
            "CARILLON_ENCRYPTION_KEY_FILE": settings.encryption_key_file,
            "READY_URL": url,
            "CARILLON_LOGINS_PER_MINUTE": "0",
            "CARILLON_LOG_LEVEL": "warning",
            **changed,
        }
        alone = Platform(folder, url, url, url, folder / "users.log")
        alone.environments["users"] = ([*CARILLON, "run", "users"], clean_environment(**environment))
        stack.callback(alone.stop)
        alone.start("users")
        process = alone.processes["users"]
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores[:1])
        known = alone.credentials
        yield Users(process, ("127.0.0.1", port), dsn, known["admin_email"], known["admin_password"])


async def _founded(settings: UsersSettings, folder: Path) -> None:
    await migrate_broker(settings.database_url)
    await migrate(settings)
    await bootstrap(settings, folder)
