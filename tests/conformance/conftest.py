"""The adapters the suite runs against. A third one is added here, and nowhere else."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from tests.support.brokers import Ground, postgresql_ground, rabbitmq_ground

ADAPTERS: dict[str, tuple[Callable[[Any], AbstractAsyncContextManager[Ground]], str]] = {
    "postgresql": (postgresql_ground, "postgres_server"),
    "rabbitmq": (rabbitmq_ground, "rabbitmq_server"),
}


async def _ground(adapter: str, request: pytest.FixtureRequest) -> AsyncIterator[Ground]:
    make, server = ADAPTERS[adapter]
    async with make(request.getfixturevalue(server)) as ground:
        yield ground


@pytest.fixture(params=sorted(ADAPTERS))
async def ground(request: pytest.FixtureRequest) -> AsyncIterator[Ground]:
    """Run the test once per adapter, on empty queues."""
    async for ground in _ground(request.param, request):
        yield ground


@pytest.fixture
async def postgresql(request: pytest.FixtureRequest) -> AsyncIterator[Ground]:
    async for ground in _ground("postgresql", request):
        yield ground


@pytest.fixture
async def rabbitmq(request: pytest.FixtureRequest) -> AsyncIterator[Ground]:
    async for ground in _ground("rabbitmq", request):
        yield ground
