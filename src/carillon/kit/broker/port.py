"""What every broker promises: durable publishes, batches with an outcome per message, delayed retries, dead letters.

The conformance suite is the full text of these promises; an adapter that passes it can be swapped for another.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID, uuid4

REASON_HEADER = "x-carillon-reason"
"""Why the message was retried or dead-lettered, in the words of the outcome."""
RETRIES_HEADER = "x-carillon-retries"
"""How many `RetryAfter` outcomes the message has had: a hint, not a count to decide on."""
SOURCE_QUEUE_HEADER = "x-carillon-source-queue"
"""The queue in which a dead letter died."""
PUBLISHED_AT_HEADER = "x-carillon-published-at"
"""When a dead letter was first published (ISO 8601, UTC)."""
DEAD_AT_HEADER = "x-carillon-dead-at"
"""When a dead letter died (ISO 8601, UTC)."""

DELIVERY_LIMIT_REASON = "delivery_limit"
"""The reason on a message that was handed out too often without any outcome coming back."""


class BrokerError(Exception):
    """Something the broker promised did not come about."""


class BrokerUnavailable(BrokerError):
    """The server cannot be reached now; the adapter keeps trying in the background."""


class TopologyMismatch(BrokerError):
    """The server already holds a queue or an exchange of that name with other properties."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Which exchanges and queues there are: plain data, given by the application.

    A message is routed by the name of its queue. `retry_delays` are seconds, ascending; each is one rung.
    """

    exchange: str
    queues: tuple[str, ...]
    dead_letter_queue: str
    retry_exchange: str
    retry_delays: tuple[float, ...]
    topics_exchange: str
    delivery_limit: int = 20

    @property
    def all_queues(self) -> tuple[str, ...]:
        """The work queues and the dead-letter queue."""
        return (*self.queues, self.dead_letter_queue)


@dataclass(frozen=True, slots=True)
class Tuning:
    """Time bounds of an adapter, in seconds. The defaults suit production; tests shorten them."""

    connect_timeout: float = 5.0
    publish_timeout: float = 15.0
    """How long a publish may take, waiting for the server included."""
    drain_timeout: float = 20.0
    """How long a cancelled consumer waits for the handlers that are running."""
    lease: float = 30.0
    """After how long a dead consumer's messages come back (PostgreSQL; RabbitMQ notices the lost connection)."""
    redelivery_delay: float = 1.0
    """How long a batch rests whose handler raised."""
    heartbeat: float = 2.0
    """How often a subscription asks whether its server is there, and how long it waits for the answer."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is published: `queue` is one of the topology's; `message_id` stays the same over every redelivery."""

    queue: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    message_id: UUID = field(default_factory=uuid4)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is handed out. `redelivered`: handed out before without an outcome, so it may have been half done.

    `delivery_count` is how often it was handed out before, retries included, as far as the broker knows.
    """

    queue: str
    body: bytes
    headers: Mapping[str, str]
    message_id: UUID
    redelivered: bool
    delivery_count: int


@dataclass(frozen=True, slots=True)
class Done:
    """The message is finished and leaves the queue."""


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Hand the message out again, not before `delay` seconds; a broker with a ladder rounds up to its next rung.

    A delay past the longest rung waits on the longest. `headers` travel with the message from then on, over every
    further retry; the broker's own ones stay its own.
    """

    delay: float
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Nothing more can be done here: move the message to the dead-letter queue.

    `headers` go with it, as with a `RetryAfter`; they are hints, so two outcomes that differ in them alone are equal.
    """

    reason: str
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)


Outcome = Done | RetryAfter | DeadLetter
OUTCOMES: Mapping[type[Outcome], str] = {Done: "done", RetryAfter: "retried", DeadLetter: "dead"}
"""The words for them in figures and logs."""

Handler = Callable[[Sequence[Delivery]], Awaitable[Sequence[Outcome]]]
"""Handles one batch and answers one outcome per delivery, in the order of the batch."""


@dataclass(frozen=True, slots=True)
class Announced:
    """Something announced on the topic."""

    topic: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Reconnected:
    """From here on announcements arrive; those before may have been missed: forget what was remembered."""


@dataclass(frozen=True, slots=True)
class LinkLost:
    """Announcements do not arrive now; what is remembered may be older than a change, until `Reconnected`."""


Event = Announced | Reconnected | LinkLost


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How full a queue is. A figure the broker cannot know is None.

    `in_flight` counts what is handed out and not settled; on RabbitMQ only what this process holds.
    """

    ready: int
    in_flight: int
    delayed: int | None
    oldest_age_seconds: float | None


class PublishFailed(BrokerError):
    """Some messages are not known to be durable: publish them again; some of them may then come twice."""

    def __init__(self, failed: Sequence[Message], reason: str) -> None:
        queues = ", ".join(sorted({message.queue for message in failed}))
        super().__init__(f"{len(failed)} message(s) for {queues} could not be published: {reason}")
        self.failed = tuple(failed)
        self.reason = reason


class Broker(Protocol):
    """A connection to the broker, obtained from `open_broker`; safe to share between the tasks of one loop."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return once all messages are durable.

        Raises `BrokerUnavailable` when none was handed over and `PublishFailed` when some could not be settled,
        both within a bounded time. A message nobody can receive is a failure.
        """
        ...

    async def consume(self, queue: str, handle: Handler, *, size: int, in_flight: int) -> None:
        """Hand out batches of at most `size`, at most `in_flight` at a time, until cancelled; never wait to fill one.

        On cancellation nothing new is fetched, running handlers finish (bounded by `Tuning.drain_timeout`) and are
        settled, then CancelledError is raised again. A batch whose handler raises is handed out again after a short
        rest; past the topology's delivery limit it goes to the dead-letter queue with reason "delivery_limit".
        """
        ...

    async def announce(self, topic: str, body: bytes) -> None:
        """Tell everyone subscribed to `topic` now; raises `BrokerUnavailable` when it could not be handed over."""
        ...

    def subscribe(self, topic: str) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Events of one topic; `Reconnected` comes first and again after every gap.

        `LinkLost` comes once at the beginning of a gap: within twice `Tuning.heartbeat`, also when the server or the
        network died without a word.
        """
        ...

    async def depths(self) -> Mapping[str, QueueDepth]:
        """How full each queue of the topology is, the dead-letter queue included."""
        ...

    async def lengths(self, queues: Sequence[str], *, most: int) -> Mapping[str, int]:
        """How many are ready in each of these queues, counted no further than `most`: cheap, however much is there.

        Raises `BrokerUnavailable`.
        """
        ...

    async def ping(self) -> None:
        """Return when the server answers; raises `BrokerUnavailable`."""
        ...
