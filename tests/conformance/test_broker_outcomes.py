"""What becomes of a message: done, retried, dead, or handed out again because no outcome came back."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from carillon.kit.broker.port import (
    DEAD_AT_HEADER,
    DELIVERY_LIMIT_REASON,
    PUBLISHED_AT_HEADER,
    REASON_HEADER,
    RETRIES_HEADER,
    SOURCE_QUEUE_HEADER,
    Broker,
    DeadLetter,
    Delivery,
    Done,
    Message,
    Outcome,
    RetryAfter,
)
from tests.support.brokers import BRISK, Ground, Inbox, consuming
from tests.support.waiting import eventually


def retry_once(delay: float) -> Inbox:
    return Inbox(lambda delivery: Done() if delivery.delivery_count else RetryAfter(delay, "try later"))


async def is_empty(broker: Broker) -> bool:
    depths = await broker.depths()
    return all(depth.ready == 0 and depth.in_flight == 0 for depth in depths.values())


async def has_ready(broker: Broker, queue: str, count: int) -> bool:
    return (await broker.depths())[queue].ready == count


async def test_a_retry_comes_back_after_its_delay_with_body_headers_and_id_kept(ground: Ground) -> None:
    message = Message(ground.work, b"hello", {"x-correlation-id": "c-1"})
    inbox = retry_once(0.3)
    times: list[float] = []

    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        times.append(time.monotonic())
        return await inbox(batch)

    async with ground.open() as broker, consuming(broker, ground.work, handle):
        await broker.publish([message])
        await eventually(lambda: len(inbox.deliveries) == 2)

    again = inbox.deliveries[1]
    assert times[1] - times[0] >= 0.29
    assert (again.queue, again.body, again.message_id) == (ground.work, b"hello", message.message_id)
    assert again.headers == {"x-correlation-id": "c-1", REASON_HEADER: "try later", RETRIES_HEADER: "1"}
    assert (again.redelivered, again.delivery_count) == (False, 1)


async def test_a_delay_between_two_rungs_is_never_cut_short(ground: Ground) -> None:
    inbox = retry_once(0.4)
    times: list[float] = []

    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        times.append(time.monotonic())
        return await inbox(batch)

    async with ground.open() as broker, consuming(broker, ground.work, handle):
        await broker.publish([Message(ground.work, b"hello")])
        await eventually(lambda: len(inbox.deliveries) == 2)

    assert times[1] - times[0] >= 0.39


async def test_retries_do_not_use_up_the_delivery_limit(ground: Ground) -> None:
    enough = ground.topology.delivery_limit + 3
    inbox = Inbox(lambda d: Done() if d.delivery_count >= enough else RetryAfter(0.01, "busy"))

    async with ground.open() as broker, consuming(broker, ground.work, inbox):
        await broker.publish([Message(ground.work, b"patient")])
        await eventually(lambda: len(inbox.deliveries) == enough + 1, within=20)
        await eventually(lambda: is_empty(broker))

    assert inbox.deliveries[-1].headers[RETRIES_HEADER] == str(enough)


async def test_what_a_retry_or_a_death_notes_travels_with_the_message_from_then_on(ground: Ground) -> None:
    def noted(delivery: Delivery) -> Outcome:
        forged = {RETRIES_HEADER: "7", REASON_HEADER: "forged"}
        return (
            RetryAfter(0.1, "first", {"count": "1", **forged}),
            RetryAfter(0.1, "second"),
            DeadLetter("enough", {"last words": "café", SOURCE_QUEUE_HEADER: "forged", **forged}),
        )[delivery.delivery_count]

    inbox, grave = Inbox(noted), Inbox()
    async with (
        ground.open() as broker,
        consuming(broker, ground.work, inbox),
        consuming(broker, ground.dead, grave),
    ):
        await broker.publish([Message(ground.work, b"hello", {"k": "v", "count": "0"})])
        await eventually(lambda: grave.deliveries)

    _, once, twice = inbox.deliveries
    assert once.headers == {"k": "v", "count": "1", REASON_HEADER: "first", RETRIES_HEADER: "1"}
    assert twice.headers == {"k": "v", "count": "1", REASON_HEADER: "second", RETRIES_HEADER: "2"}
    dead = grave.deliveries[0].headers
    assert (dead["count"], dead["last words"]) == ("1", "café")
    assert (dead[REASON_HEADER], dead[SOURCE_QUEUE_HEADER]) == ("enough", ground.work)


async def test_hand_outs_without_an_outcome_do_not_count_after_a_retry(ground: Ground) -> None:
    seen = 0

    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        nonlocal seen
        seen += 1
        if seen == limit + 1:
            return [RetryAfter(0.1, "try later")]
        if seen <= 2 * limit + 1:
            raise RuntimeError("out of luck")
        return [Done() for _ in batch]

    limit = ground.topology.delivery_limit
    async with ground.open() as broker, consuming(broker, ground.work, handle):
        await broker.publish([Message(ground.work, b"patient")])
        await eventually(lambda: seen == 2 * limit + 2, within=20)
        await eventually(lambda: is_empty(broker))


async def test_a_dead_letter_tells_its_reason_its_queue_and_its_times(ground: Ground) -> None:
    message = Message(ground.work, b"poison", {"x-correlation-id": "c-1"})
    grave = Inbox()
    before = datetime.now(UTC) - timedelta(seconds=2)

    async with ground.open() as broker:
        async with consuming(broker, ground.work, Inbox(lambda _: DeadLetter("address unknown"))):
            await broker.publish([message])
            await eventually(lambda: has_ready(broker, ground.dead, 1))
        async with consuming(broker, ground.dead, grave):
            await eventually(lambda: grave.deliveries)

    (dead,) = grave.deliveries
    assert (dead.queue, dead.body, dead.message_id) == (ground.dead, b"poison", message.message_id)
    assert dead.headers["x-correlation-id"] == "c-1"
    assert dead.headers[REASON_HEADER] == "address unknown"
    assert dead.headers[SOURCE_QUEUE_HEADER] == ground.work
    published, died = (datetime.fromisoformat(dead.headers[name]) for name in (PUBLISHED_AT_HEADER, DEAD_AT_HEADER))
    assert before <= published <= died <= datetime.now(UTC)


async def test_each_message_of_a_batch_has_its_own_outcome(ground: Ground) -> None:
    def decide(delivery: Delivery) -> Outcome:
        if delivery.body.startswith(b"retry") and not delivery.delivery_count:
            return RetryAfter(0.1, "later")
        return DeadLetter("dead") if delivery.body.startswith(b"dead") else Done()

    inbox, grave = Inbox(decide), Inbox()
    bodies = [b"%s %d" % (word, number) for number in range(10) for word in (b"done", b"retry", b"dead")]

    async with ground.open() as broker:
        await broker.publish([Message(ground.work, body) for body in bodies])
        async with consuming(broker, ground.work, inbox, size=30), consuming(broker, ground.dead, grave):
            await eventually(lambda: len(inbox.deliveries) == 40 and len(grave.deliveries) == 10)
            await eventually(lambda: is_empty(broker))

    assert grave.bodies == sorted(body for body in bodies if body.startswith(b"dead"))
    again = sorted(delivery.body for delivery in inbox.deliveries if delivery.delivery_count)
    assert again == sorted(body for body in bodies if body.startswith(b"retry"))


async def test_a_handler_that_raises_gets_its_batch_again_marked_as_redelivered(ground: Ground) -> None:
    seen: list[Delivery] = []

    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        seen.extend(batch)
        if not batch[0].redelivered:
            raise RuntimeError("out of luck")
        return [Done() for _ in batch]

    async with ground.open() as broker, consuming(broker, ground.work, handle):
        await broker.publish([Message(ground.work, b"once more")])
        await eventually(lambda: len(seen) == 2)
        await eventually(lambda: is_empty(broker))

    assert [(delivery.redelivered, delivery.delivery_count) for delivery in seen] == [(False, 0), (True, 1)]


async def test_a_message_whose_handler_always_raises_ends_among_the_dead_letters(ground: Ground) -> None:
    attempts = 0

    async def raises(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        nonlocal attempts
        attempts += len(batch)
        raise RuntimeError("poison")

    grave = Inbox()
    async with (
        ground.open() as broker,
        consuming(broker, ground.work, raises),
        consuming(broker, ground.dead, grave),
    ):
        await broker.publish([Message(ground.work, b"poison", {"k": "v"})])
        await eventually(lambda: grave.deliveries, within=20)

    (dead,) = grave.deliveries
    assert attempts == ground.topology.delivery_limit + 1
    assert (dead.body, dead.headers["k"]) == (b"poison", "v")
    assert dead.headers[REASON_HEADER] == DELIVERY_LIMIT_REASON
    assert dead.headers[SOURCE_QUEUE_HEADER] == ground.work


async def test_the_reason_of_an_earlier_retry_does_not_hide_the_delivery_limit(ground: Ground) -> None:
    async def retries_then_raises(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        if batch[0].delivery_count:
            raise RuntimeError("poison")
        return [RetryAfter(0.1, "try later")]

    grave = Inbox()
    async with (
        ground.open() as broker,
        consuming(broker, ground.work, retries_then_raises),
        consuming(broker, ground.dead, grave),
    ):
        await broker.publish([Message(ground.work, b"poison")])
        await eventually(lambda: grave.deliveries, within=20)

    assert grave.deliveries[0].headers[REASON_HEADER] == DELIVERY_LIMIT_REASON


async def test_a_handler_that_answers_the_wrong_number_of_outcomes_has_not_answered(ground: Ground) -> None:
    calls = 0

    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        nonlocal calls
        calls += 1
        return [] if calls == 1 else [Done() for _ in batch]

    async with ground.open() as broker, consuming(broker, ground.work, handle):
        await broker.publish([Message(ground.work, b"count me")])
        await eventually(lambda: calls == 2)
        await eventually(lambda: is_empty(broker))


async def test_a_dead_letter_that_dies_again_stays_among_the_dead_letters(ground: Ground) -> None:
    again = DeadLetter("the recorder cannot read it", {"noted": "once"})
    grave = Inbox(lambda d: Done() if d.delivery_count else again)

    async with ground.open() as broker, consuming(broker, ground.dead, grave):
        await broker.publish([Message(ground.dead, b"dead", {"k": "v"})])
        await eventually(lambda: len(grave.deliveries) == 2)

    assert (grave.deliveries[1].headers["k"], grave.deliveries[1].headers["noted"]) == ("v", "once")
    assert grave.deliveries[1].queue == ground.dead


async def test_dead_letters_have_no_delivery_limit(ground: Ground) -> None:
    enough = ground.topology.delivery_limit + 3
    attempts = 0

    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        nonlocal attempts
        attempts += 1
        if attempts <= enough:
            raise RuntimeError("the recorder's database is away")
        return [Done() for _ in batch]

    async with ground.open() as broker, consuming(broker, ground.dead, handle):
        await broker.publish([Message(ground.dead, b"dead")])
        await eventually(lambda: attempts == enough + 1, within=20)
        await eventually(lambda: is_empty(broker))


async def test_settling_a_later_batch_does_not_settle_an_earlier_one(ground: Ground) -> None:
    never = asyncio.Event()
    first: list[bytes] = []
    later: list[bytes] = []

    async def handle(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        if not first:
            first.extend(delivery.body for delivery in batch)
            await never.wait()
        later.extend(delivery.body for delivery in batch)
        return [Done() for _ in batch]

    bodies = [b"%02d" % number for number in range(20)]
    async with ground.open(replace(BRISK, drain_timeout=0.2)) as broker:
        await broker.publish([Message(ground.work, body) for body in bodies])
        async with consuming(broker, ground.work, handle, size=5, in_flight=2):
            await eventually(lambda: len(first) + len(later) == 20)
            await eventually(lambda: has_ready(broker, ground.work, 0))
        inbox = Inbox()
        async with consuming(broker, ground.work, inbox):
            await eventually(lambda: set(inbox.bodies) == set(first))
            await eventually(lambda: is_empty(broker))

    assert sorted(first + later) == bodies
    assert all(delivery.redelivered for delivery in inbox.deliveries)
