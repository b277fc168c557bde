"""The mailbox asks for no token, so it is shown on this machine only, and under this machine's own names."""

import msgspec
import pytest

from carillon.simulators.settings import SimulatorsSettings
from tests.integration.simulators.conftest import Simulators, simulators

PATHS = ("/mailbox", "/mailbox/messages", "/mailbox/pushes")


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_that_leads_a_browser_here_under_its_own_name_sees_nothing(running: Simulators, path: str) -> None:
    async with running.session.get(running.url + path, headers={"Host": "evil.example"}) as answer:
        assert (answer.status, (await answer.json())["error"]) == (403, "forbidden")
    async with running.session.delete(running.url + "/mailbox/messages", headers={"Host": "evil.example"}) as answer:
        assert answer.status == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000"])
async def test_this_machines_own_names_are_served(running: Simulators, host: str) -> None:
    async with running.session.get(running.url + "/mailbox/messages", headers={"Host": host}) as answer:
        assert answer.status == 200


async def test_an_operator_can_open_it(settings: SimulatorsSettings) -> None:
    opened = msgspec.structs.replace(settings, mailbox_open=True)
    async with (
        simulators(opened) as running,
        running.session.get(running.url + "/mailbox/messages", headers={"Host": "mail.example"}) as answer,
    ):
        assert answer.status == 200
