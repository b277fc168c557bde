"""What dies on either broker reaches the gateway's table with its reason, also while the table cannot be written."""

from collections.abc import Sequence

import msgspec

from carillon.contracts.dead_letters import FIRST_ERROR_HEADER, LAST_ERROR_HEADER, REPORTED_HEADER
from carillon.contracts.messages import DeliveryReported, DeliveryRequested, Step
from carillon.gateway.dead_letter_consumer import dead_letters_handler
from carillon.gateway.dead_letters import Letter
from carillon.kit.broker.port import Broker, DeadLetter, Delivery, Message, Outcome, RetryAfter
from carillon.kit.errors import Unavailable
from tests.support.brokers import Ground, Inbox, consuming
from tests.support.waiting import eventually
from tests.unit.delivery.world import World


class Tables:
    """Keeps what the handler writes; `away` for as many writes as it says."""

    def __init__(self, *, away: int = 0) -> None:
        self.away = away
        self.letters: dict[object, Letter] = {}
        self.reports: list[DeliveryReported] = []

    async def keep(self, letters: Sequence[Letter]) -> None:
        if self.away:
            self.away -= 1
            raise Unavailable("The database is away.")
        self.letters.update({letter.fingerprint: letter for letter in letters})

    async def record(self, reports: Sequence[DeliveryReported], steps: Sequence[tuple[object, Step]]) -> set[object]:
        self.reports += reports
        return {key for key, _ in steps}


def request() -> DeliveryRequested:
    return World().request()


async def publish(broker: Broker, ground: Ground, asked: DeliveryRequested) -> None:
    await broker.publish([Message(ground.work, msgspec.json.encode(asked), message_id=asked.notification_id)])


async def test_what_nobody_answered_for_is_kept_with_the_brokers_reason_and_its_last_words(ground: Ground) -> None:
    tables, asked = Tables(), request()

    async def dies(batch: Sequence[Delivery]) -> Sequence[Outcome]:
        if not batch[0].delivery_count:
            return [RetryAfter(0.1, "busy", {FIRST_ERROR_HEADER: "451 later", LAST_ERROR_HEADER: "451 later"})]
        raise RuntimeError("poison")

    async with (
        ground.open() as broker,
        consuming(broker, ground.work, dies),
        consuming(broker, ground.dead, dead_letters_handler(tables, tables)),  # type: ignore[arg-type]
    ):
        await publish(broker, ground, asked)
        await eventually(lambda: tables.letters, within=20)

    (letter,) = tables.letters.values()
    assert (letter.cause, letter.queue, letter.notification_id) == (
        "delivery_limit",
        ground.work,
        asked.notification_id,
    )
    assert (letter.first_error, letter.reported) == ("451 later", False)
    (report,) = tables.reports
    assert (report.status, report.reason, report.error) == ("failed", "delivery_limit", "451 later")


async def test_a_letter_that_cannot_be_kept_yet_waits_and_keeps_its_reason(ground: Ground) -> None:
    tables, asked = Tables(away=1), request()
    gives_up = Inbox(lambda _: DeadLetter("recipient_refused", {LAST_ERROR_HEADER: "550 no", REPORTED_HEADER: "1"}))

    async with (
        ground.open() as broker,
        consuming(broker, ground.work, gives_up),
        consuming(broker, ground.dead, dead_letters_handler(tables, tables)),  # type: ignore[arg-type]
    ):
        await publish(broker, ground, asked)
        await eventually(lambda: tables.letters, within=30)

    (letter,) = tables.letters.values()
    assert (letter.cause, letter.last_error, letter.reported) == ("recipient_refused", "550 no", True)
    assert letter.published_at is not None
    assert letter.published_at <= letter.died_at
    assert tables.reports == []
