"""A provider that is away while notifications wait: the short form of `python -m tests.chaos.provider_down`."""

import pytest

from tests.chaos.provider_down import run
from tests.support.platform import QUICK

COUNT = 200
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_what_waited_while_the_provider_was_away_is_delivered_once_and_told() -> None:
    seen = run("embedded", seconds=15, count=COUNT, environment=QUICK)

    assert dict(seen.statuses) == {"delivered": COUNT}
    assert (len(seen.received), set(seen.received.values())) == (COUNT, {1})
    assert seen.breakers["open"] > 0
    assert {"attempt_failed", "waiting", "delivered"} <= set(seen.timeline)
    assert max(seen.attempts) < 8
    assert seen.attempts[1] > COUNT // 2, "waiting used up attempts"
