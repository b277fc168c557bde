"""The templates service on a real PostgreSQL, asked over real HTTP; callers are told by their token's name."""

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from carillon.kit.auth import Caller
from carillon.kit.database import open_database
from carillon.kit.errors import Unauthenticated
from carillon.kit.ids import uuid7
from carillon.templates.app import migrate, running
from carillon.templates.settings import TemplatesSettings
from tests.support.http import serving
from tests.support.servers import PostgresServer

PERMISSIONS = {
    "author": frozenset({"templates:read", "templates:write"}),
    "trusted": frozenset({"templates:*"}),
    "worker": frozenset({"templates:read"}),
    "stranger": frozenset[str](),
}
CALLERS = {name: uuid7() for name in PERMISSIONS}
WELCOME = {
    "code": "welcome",
    "channel": "email",
    "language": "en",
    "subject": "Hello {{ name }}",
    "body_text": "See {{ link }}",
    "body_html": "<p>{{ name }}</p>",
}


async def authenticate(token: str) -> Caller:
    if token not in PERMISSIONS:
        raise Unauthenticated
    return Caller(CALLERS[token], "user", PERMISSIONS[token], time.time() + 60)


@pytest.fixture(scope="session")
def pattern(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.pattern(lambda dsn: migrate(_settings(dsn))) as dsn:
        yield dsn


@pytest.fixture
async def settings(postgres_server: PostgresServer, pattern: str) -> AsyncIterator[TemplatesSettings]:
    async with postgres_server.database(copy_of=pattern) as dsn:
        yield _settings(dsn)


def _settings(dsn: str) -> TemplatesSettings:
    return TemplatesSettings(database_url=dsn, broker_url=dsn, token_file=Path("unused"))


@pytest.fixture
async def url(settings: TemplatesSettings) -> AsyncIterator[str]:
    async with (
        open_database(settings.database_url, name="templates-test", size=5) as database,
        serving(running(settings, database, authenticate).app) as address,
    ):
        yield address


class Author:
    """Speaks to the service; an answer is its status, body and headers."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def __call__(
        self, method: str, path: str, body: Any = None, *, token: str = "author", headers: dict[str, str] | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        sent = {"Authorization": f"Bearer {token}", **(headers or {})}
        async with self._session.request(method, f"/api/v1/templates{path}", json=body, headers=sent) as answer:
            said = await answer.json() if answer.status != 304 else None
            return answer.status, said, answer.headers

    async def data(self, method: str, path: str, body: Any = None) -> Any:
        status, said, _ = await self(method, path, body)
        assert status < 300, said
        return said["data"]

    async def publish(self, code: str, number: int) -> Any:
        return await self.data("POST", f"/{code}/versions/{number}/publish")

    async def published(self, code: str, query: str) -> Any:
        return await self.data("GET", f"/{code}/published?{query}")


@pytest.fixture
async def author(url: str) -> AsyncIterator[Author]:
    async with aiohttp.ClientSession(url) as session:
        yield Author(session)
