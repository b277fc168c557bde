"""Dead letters of three causes by the hundred: the short form of `python -m tests.chaos.many_dead`."""

from collections import Counter

import pytest

from tests.chaos.many_dead import CAUSES, run

COUNT = 200
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_what_died_is_grouped_rehearsed_and_replayed_by_cause_and_nothing_goes_out_twice() -> None:
    seen = run("embedded", count=COUNT)

    counts = {cause: int(COUNT * share) for cause, share in CAUSES.items()}
    assert seen.dead == counts
    assert {cause: found["replayed"] + found["not_allowed"] for cause, found in seen.rehearsed.items()} == counts
    assert seen.before == {"failed": COUNT}, "a dry run changed something"
    assert seen.unwilling > 0
    assert sum(found["replayed"] for found in seen.replayed.values()) == COUNT - seen.unwilling
    assert seen.again == {"not_allowed": seen.unwilling}
    assert seen.statuses == {"delivered": COUNT - seen.unwilling, "failed": seen.unwilling}
    assert seen.taken == Counter({1: COUNT - seen.unwilling, 0: seen.unwilling})
    assert seen.taken_of_unwilling == 0
    assert seen.timeline.index("failed") < seen.timeline.index("replayed") < seen.timeline.index("delivered")
