"""A whole Carillon whose mail goes, a little slowly, to a server that outlives it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.fcm import fake_fcm
from tests.fakes.smtp import FakeSmtp, fake_smtp
from tests.support.platform import Platform, all_in_one, towards


@pytest.fixture
def smtp() -> Iterator[FakeSmtp]:
    with fake_smtp() as server:
        server.seconds_a_mail = 0.02
        yield server


@pytest.fixture
def platform(tmp_path: Path, smtp: FakeSmtp) -> Iterator[Platform]:
    with fake_fcm() as fcm, all_in_one(tmp_path, towards(smtp, fcm, tmp_path)) as platform:
        yield platform
