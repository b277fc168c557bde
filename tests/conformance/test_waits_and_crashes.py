"""The delivery pipeline on every broker: waiting costs a message nothing, only crashes count as crashes."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import msgspec

from carillon.contracts.dead_letters import ATTEMPTS_HEADER, CAUSE_HEADER
from carillon.contracts.quiet_hours import QuietHours
from carillon.contracts.templates import Content, Retry
from carillon.delivery import crashes
from carillon.delivery.consumer import LaneConsumer
from carillon.delivery.domain import Failed, Policy
from carillon.kit.broker.port import REASON_HEADER, Broker, Delivery, Message, Outcome
from tests.support.brokers import Ground, Inbox, consuming
from tests.support.waiting import eventually
from tests.unit.delivery.world import START, World

QUIET = QuietHours(f"{START - timedelta(hours=1):%H:%M}", f"{START + timedelta(hours=9):%H:%M}", "UTC")
BROKEN = Content(subject="crash", body_text="x")


class Lane:
    """A lane's consumer that remembers what it was handed; the rungs are the ground's."""

    def __init__(self, world: World, broker: Broker) -> None:
        self.seen: list[Delivery] = []
        self._consumer = LaneConsumer(broker, world.tools, service="test", lane="normal", size=10, in_flight=1)

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[Outcome]:
        self.seen += batch
        return await self._consumer.handle(batch)


async def test_a_message_that_waited_for_long_has_all_its_crashes_before_it(ground: Ground) -> None:
    world = World()
    world.limits = replace(world.limits, ladder=ground.topology.retry_delays)
    user_id = world.person()
    awake = world.contacts.people[user_id]
    world.contacts.people[user_id] = msgspec.structs.replace(awake, quiet_hours=QUIET)
    looks = max(world.policy.max_attempts, ground.topology.delivery_limit) + 2

    async with ground.open() as broker:
        lane = Lane(world, broker)
        async with consuming(broker, ground.work, lane):
            await broker.publish([Message(ground.work, msgspec.json.encode(world.request(user_id)))])
            await eventually(lambda: len(lane.seen) >= looks, within=30)
            assert world.deliveries.rows == {}, "nothing was tried"

            world.templates.publish(content=BROKEN)
            world.contacts.people[user_id] = awake
            await eventually(lambda: crashes.counted(lane.seen[-1].headers) == 1, within=30)
            world.templates.publish()
            await eventually(lambda: world.provider.sent, within=30)

    assert lane.seen[-1].headers[REASON_HEADER] == "worker_error"
    assert {report.status for report in world.reports.told} == {"pending", "delivered"}


async def test_the_attempts_of_a_template_end_its_message_and_the_dead_letter_says_so(ground: Ground) -> None:
    world, grave = World(), Inbox()
    world.limits = replace(world.limits, ladder=ground.topology.retry_delays)
    world.templates.publish(retry=Retry(attempts=2, base_seconds=0.1))
    world.provider.always = Failed("recipient_deferred", "451 later")

    async with ground.open() as broker:
        lane = Lane(world, broker)
        async with consuming(broker, ground.work, lane), consuming(broker, ground.dead, grave):
            await broker.publish([Message(ground.work, msgspec.json.encode(world.request()))])
            await eventually(lambda: grave.deliveries, within=30)

    headers = grave.deliveries[0].headers
    assert len(world.provider.sent) == 2
    assert (headers[REASON_HEADER], headers[ATTEMPTS_HEADER]) == ("recipient_deferred", "2")
    assert headers[CAUSE_HEADER] == "recipient_deferred: all 2 attempts used"


async def test_a_message_that_always_crashes_its_worker_dies_after_its_attempts(ground: Ground) -> None:
    world, grave = World(), Inbox()
    world.policy = Policy(max_attempts=3)
    world.templates.publish(content=BROKEN)

    async with ground.open() as broker:
        lane = Lane(world, broker)
        async with consuming(broker, ground.work, lane), consuming(broker, ground.dead, grave):
            await broker.publish([Message(ground.work, msgspec.json.encode(world.request()))])
            await eventually(lambda: grave.deliveries, within=30)

    assert len(lane.seen) == world.policy.max_attempts
    assert grave.deliveries[0].headers[REASON_HEADER] == "worker_error"
    assert world.reports.told[-1].status == "failed"
