"""What every test of the gateway on real servers starts from."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.gateway.house import Around, House, open_house, prepared


@pytest.fixture
async def around(database: str) -> Around:
    return await prepared(database)


@pytest.fixture
async def house(around: Around) -> AsyncIterator[House]:
    async with open_house(around) as house:
        yield house
