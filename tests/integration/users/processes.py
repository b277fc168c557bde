"""The users service as processes of its own, on one database, one Redis and one broker."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from carillon.users.settings import UsersSettings
from tests.integration.users.client import UsersApi
from tests.support.platform import clean_environment
from tests.support.processes import end, free_port, spawn
from tests.support.waiting import eventually


@contextlib.asynccontextmanager
async def process(settings: UsersSettings, folder: Path, **environment: str) -> AsyncIterator[UsersApi]:
    """`carillon run users`, ready; `environment` has the last word."""
    port, log = free_port(), folder / "users.log"
    variables = {
        "CARILLON_USERS_PORT": str(port),
        "CARILLON_USERS_DATABASE_URL": settings.database_url,
        "CARILLON_BROKER_URL": settings.broker_url,
        "CARILLON_SIGNING_KEY_FILE": settings.signing_key_file,
        "CARILLON_USERS_TOKEN_FILE": str(settings.token_file),
        "CARILLON_ENCRYPTION_KEY_FILE": settings.encryption_key_file,
        "CARILLON_REDIS_URL": settings.redis_url or "",
        "CARILLON_REGISTRATIONS_PER_MINUTE": "0",
        "CARILLON_LOGINS_PER_MINUTE": "0",
        "CARILLON_LOG_LEVEL": "warning",
        **environment,
    }
    child = spawn([sys.executable, "-m", "carillon", "run", "users"], log=log, env=clean_environment(**variables))
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            api = UsersApi(session, folder)
            await eventually(lambda: _ready(api, child), within=60, says=f"see {log}")
            yield api
    finally:
        await asyncio.to_thread(end, child)


async def _ready(api: UsersApi, child: subprocess.Popen[bytes]) -> bool:
    assert child.poll() is None, "the process ended"
    try:
        return (await api.call("GET", "/ready")).status == 200
    except aiohttp.ClientError:
        return False
