"""The mailbox's documented routes answer as documented, whatever is asked."""

import asyncio

import pytest

from tests.integration.simulators.conftest import Simulators, mail
from tests.support.fuzzing import fuzz


@pytest.mark.timeout(180)
async def test_fuzzing_finds_no_500_and_no_undocumented_answer(running: Simulators) -> None:
    await running.send(mail(html="<p>Hello</p>"), "ada@example.com")

    await asyncio.to_thread(fuzz, f"{running.url}/openapi.json", examples=25)
