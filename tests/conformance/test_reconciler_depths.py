"""What a broker tells of its queues is enough for the reconciler: a message that waits is no hole, a purged one is."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from carillon.contracts.channels import FAILED_QUEUE, STATUS_QUEUE
from carillon.gateway.watching import Bounds, QueuedAnew, WaitsOn, judge, passing
from carillon.kit.broker.port import Broker, Message, QueueDepth
from tests.support.brokers import Ground, Inbox, consuming
from tests.support.waiting import eventually
from tests.unit.gateway.test_watching import watched

BOUNDS = Bounds(overdue=600.0, give_up=86_400.0)


async def depths(broker: Broker, ground: Ground) -> Mapping[str, QueueDepth]:
    """The ground's queues under the names that the gateway knows."""
    told = await broker.depths()
    names = {ground.work: "email.queue", ground.topology.queues[1]: STATUS_QUEUE, ground.dead: FAILED_QUEUE}
    return {name: told[queue] for queue, name in names.items()}


async def test_a_message_that_waits_is_not_taken_for_lost_and_one_that_was_purged_is(ground: Ground) -> None:
    asked_at = datetime.now(UTC)
    later = asked_at + timedelta(hours=2)
    silent = watched(quiet_since=asked_at + timedelta(hours=1), created_at=asked_at)
    async with ground.open() as broker:
        before = passing({}, await depths(broker, ground), asked_at, {})
        await broker.publish([Message(ground.work, b"{}")])

        async def waits() -> bool:
            return bool((await depths(broker, ground))["email.queue"].ready)

        await eventually(waits)
        # Its broker tells its age, or none; it was put there an hour before the silence began.
        behind = {
            name: QueueDepth(d.ready, d.in_flight, d.delayed, d.oldest_age_seconds and 7200.0)
            for name, d in (await depths(broker, ground)).items()
        }
        meanwhile = passing(before, behind, later, {})
        assert isinstance(judge(silent, later, meanwhile, BOUNDS), WaitsOn)

        purged = Inbox()
        async with consuming(broker, ground.work, purged):
            await eventually(lambda: purged.bodies)

        async def empty() -> bool:
            return not (await depths(broker, ground))["email.queue"].ready

        await eventually(empty)
        at_last = passing(meanwhile, await depths(broker, ground), later, {})
        assert isinstance(judge(silent, later, at_last, BOUNDS), QueuedAnew)


async def test_where_a_lane_is_never_empty_its_age_tells_or_what_has_arrived_of_it(ground: Ground) -> None:
    asked_at = datetime.now(UTC)
    silent = watched(quiet_since=asked_at - timedelta(hours=1), created_at=asked_at - timedelta(hours=2))
    async with ground.open() as broker:
        await broker.publish([Message(ground.work, b"{}")])

        async def waits() -> bool:
            return bool((await depths(broker, ground))["email.queue"].ready)

        await eventually(waits)
        now = await depths(broker, ground)
        behind = {"email.queue": silent.created_at}  # what arrived last had been put there before the silent one
        unknown = now["email.queue"].oldest_age_seconds is None
        before = judge(silent, asked_at, passing({}, now, asked_at, behind), BOUNDS)
        assert isinstance(before, WaitsOn if unknown else QueuedAnew)

        arrived = {"email.queue": asked_at - timedelta(minutes=10)}
        assert isinstance(judge(silent, asked_at, passing({}, now, asked_at, arrived), BOUNDS), QueuedAnew)
