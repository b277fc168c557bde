"""The world that every test of the pipeline starts from."""

import pytest

from tests.unit.delivery.world import World


@pytest.fixture
def world() -> World:
    return World()
