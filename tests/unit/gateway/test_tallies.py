"""What is counted by the minute, and what is told of it."""

from collections import Counter
from uuid import uuid4

from carillon.contracts.messages import DeliveryReported
from carillon.gateway.actions.measure import Backlog
from carillon.gateway.actions.share import share
from carillon.gateway.actions.tally import TalliedReports, Tallies, stats_of
from carillon.kit.broker.port import QueueDepth
from carillon.kit.errors import Unavailable
from tests.unit.gateway.tables import Tables


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Away:
    async def exchange(self, own: object) -> dict[int, Counter[str]]:
        raise Unavailable(f"{own} is not taken")


def test_counts_are_by_the_minute_and_leave_after_an_hour() -> None:
    clock = Clock()
    tallies = Tallies(clock)
    tallies.count({"accepted": 2})
    clock.now += 60
    tallies.count({"accepted": 1, "delivered": 3, "retrying": 9})
    tallies.count({"failed": 1, "suppressed": 2})

    first, second = tallies.minutes()
    assert (first.accepted, first.delivered) == (2, 0)
    assert (second.accepted, second.delivered, second.failed, second.suppressed) == (1, 3, 1, 2)
    assert (second.at - first.at).total_seconds() == 60
    clock.now += 59 * 60
    assert tallies.minutes() == [second]
    clock.now += 60
    assert tallies.minutes() == []


def test_a_clock_that_is_set_back_loses_no_count_of_the_present() -> None:
    clock = Clock()
    tallies = Tallies(clock)
    tallies.count({"accepted": 1})
    clock.now -= 3600
    tallies.count({"accepted": 2})

    assert [minute.accepted for minute in tallies.minutes()] == [2]


def test_what_the_others_told_is_added_and_leaves_after_an_hour_too() -> None:
    clock = Clock()
    tallies = Tallies(clock)
    minute = int(clock.now) // 60
    tallies.count({"accepted": 2, "failed": 1})
    tallies.others = {
        minute: Counter(accepted=3, delivered=4),
        minute - 1: Counter(suppressed=1),
        minute - 60: Counter(failed=9),
    }

    before, now = tallies.minutes()

    assert (before.suppressed, before.failed) == (1, 0)
    assert (now.accepted, now.delivered, now.failed) == (5, 4, 1)


def test_a_minute_is_told_until_all_of_it_was() -> None:
    clock = Clock()
    tallies = Tallies(clock)
    tallies.count({"accepted": 1})
    under_way = tallies.untold()
    tallies.count({"accepted": 1})

    tallies.told(under_way)
    assert [dict(counts) for counts in tallies.untold().values()] == [{"accepted": 2}]
    tallies.told(tallies.untold())
    assert tallies.untold() == {}


async def test_while_the_database_is_away_nothing_is_forgotten() -> None:
    tallies, away = Tallies(Clock()), Away()
    tallies.others = {int(Clock.now) // 60: Counter(delivered=1)}
    tallies.count({"accepted": 1})

    await share(tallies, away)

    (minute,) = tallies.minutes()
    assert (minute.accepted, minute.delivered, len(tallies.untold())) == (1, 1, 1)


async def test_reports_on_what_nobody_knows_are_not_counted() -> None:
    tallies = Tallies()
    report = DeliveryReported(notification_id=uuid4(), generation=0, rank=3000, status="delivered")

    await TalliedReports(Tables(), tallies).record([report], [])

    assert sum(minute.delivered for minute in tallies.minutes()) == 0


def test_the_ratio_is_of_what_was_tried_and_what_is_not_known_is_null() -> None:
    tallies, backlog = Tallies(), Backlog(most=1)
    empty = stats_of(tallies, backlog)
    assert (empty.delivery_ratio, empty.outbox_waiting, empty.queues) == (None, None, None)

    tallies.count({"delivered": 3, "failed": 1, "suppressed": 5})
    backlog.waiting, backlog.depths = 7, {"email.queue": QueueDepth(2, 1, None, 0.5)}
    told = stats_of(tallies, backlog)

    assert (told.delivery_ratio, told.outbox_waiting) == (0.75, 7)
    assert told.queues is not None
    assert [(queue.queue, queue.ready, queue.oldest_age_seconds) for queue in told.queues] == [("email.queue", 2, 0.5)]
