"""Confirmed publishes through a window: many unconfirmed at a time, each accounted for, written together."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from carillon.kit.broker.rabbitmq import frames
from carillon.kit.broker.rabbitmq.tap import Contents, Tap

WINDOW = 256
NO_QUEUE = "RabbitMQ has no queue for it"
LOST = "the connection was lost"
LATE = "not confirmed in time"


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message on its way to an exchange; `routing_key` names the queue it is for.

    Without a `message_id` it is an announcement: for whoever listens now, and gone then.
    """

    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    message_id: UUID | None = None
    published_at: datetime | None = None


@dataclass(slots=True, eq=False)
class _Shipment:
    """The parcels of one call; `failures` has a reason for each position that is not known to be durable."""

    parcels: Sequence[Parcel]
    over: "asyncio.Future[None]"
    failures: dict[int, str]
    written: int = 0
    unconfirmed: int = 0


@dataclass(slots=True)
class _Sent:
    shipment: _Shipment
    position: int
    wire_id: str | None
    returned: bool = False


class Publisher(Contents):
    """Publishes on one confirming channel until it is `lost`; shared by all tasks of a broker."""

    def __init__(self, tap: Tap, channel: int, *, largest_frame: int) -> None:
        super().__init__()
        self._tap = tap
        self._channel = channel
        self._largest = largest_frame
        self._tag = 0
        self._sent: dict[int, _Sent] = {}
        self._by_id: dict[str, _Sent] = {}
        self._touched: set[_Shipment] = set()
        self._stalled: set[_Shipment] = set()
        self._lost = False

    async def publish(self, parcels: Sequence[Parcel], *, within: float) -> dict[int, str]:
        """Publish all; return the reason for each position that is not known to be durable, within `within` seconds."""
        if self._lost:
            return dict.fromkeys(range(len(parcels)), LOST)
        failures = dict.fromkeys(range(len(parcels)), LATE)
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        shipment = _Shipment(parcels, over, failures)
        self._fill(shipment)
        try:
            await asyncio.wait([over], timeout=within)
        finally:
            over.cancel()
            self._stalled.discard(shipment)
        return dict(failures)

    def lost(self) -> None:
        """Nothing is confirmed any more: what was under way may have arrived or not."""
        self._lost = True
        shipments = {sent.shipment for sent in self._sent.values()} | self._stalled
        self._sent.clear()
        self._by_id.clear()
        self._stalled.clear()
        for shipment in shipments:
            waiting = [position for position, reason in shipment.failures.items() if reason == LATE]
            shipment.failures.update(dict.fromkeys(waiting, LOST))
            _end(shipment)

    def told(self, method: int, payload: bytes) -> bool:
        if method == frames.CHANNEL_CLOSE:  # the library answers it, and nothing may be written behind that
            self.lost()
        if method not in (frames.ACK, frames.NACK):
            return False
        tag, multiple = frames.settled(payload)
        for each in self._tags_until(tag) if multiple else (tag,):
            self._confirmed(each, refused=method == frames.NACK)
        return True

    def complete(self, method: bytes, header: bytes, body: bytes) -> None:
        """A message came back: there is no queue for it. Its confirm is still to come, and says nothing of this."""
        del method, body
        sent = self._by_id.get(frames.properties_of(header).message_id or "")
        if sent is not None:
            sent.returned = True

    def read(self) -> None:
        touched, self._touched = self._touched, set()
        for shipment in touched:
            self._fill(shipment)

    def resumed(self) -> None:
        stalled, self._stalled = self._stalled, set()
        for shipment in stalled:
            self._fill(shipment)

    def _tags_until(self, tag: int) -> list[int]:
        tags = []
        for each in self._sent:  # in the order of sending, which is ascending
            if each > tag:
                break
            tags.append(each)
        return tags

    def _confirmed(self, tag: int, *, refused: bool) -> None:
        sent = self._sent.pop(tag, None)
        if sent is None:
            return
        if sent.wire_id is not None:
            del self._by_id[sent.wire_id]
        shipment = sent.shipment
        shipment.unconfirmed -= 1
        self._touched.add(shipment)
        if sent.returned:
            shipment.failures[sent.position] = NO_QUEUE
        elif refused:
            key = shipment.parcels[sent.position].routing_key
            shipment.failures[sent.position] = f"the queue for {key} refuses messages now"
        else:
            shipment.failures.pop(sent.position, None)

    def _fill(self, shipment: _Shipment) -> None:
        """Write what the window allows in one go; the last confirm ends the waiting."""
        if shipment.over.done():
            return
        if shipment.written < len(shipment.parcels) and self._tap.clogged:
            self._stalled.add(shipment)
            return
        if shipment.unconfirmed <= WINDOW // 2:
            self._write(shipment)
        if not shipment.unconfirmed:
            _end(shipment)

    def _write(self, shipment: _Shipment) -> None:
        pieces: list[bytes] = []
        try:
            while shipment.unconfirmed < WINDOW and shipment.written < len(shipment.parcels):
                position = shipment.written
                shipment.written += 1
                try:
                    pieces += self._packed(shipment, position)
                except ValueError as error:  # a name that is too long, a text that cannot be encoded
                    shipment.failures[position] = f"it cannot be put into AMQP: {type(error).__name__}"
        finally:  # whatever else fails: what has its tag is written, or later confirms would be another's
            if pieces:
                self._tap.write(b"".join(pieces))

    def _packed(self, shipment: _Shipment, position: int) -> tuple[bytes, bytes]:
        parcel = shipment.parcels[position]
        wire_id = None if parcel.message_id is None else str(parcel.message_id)
        if wire_id in self._by_id:  # two messages of one id at once: a returned one is known by its id
            wire_id = f"{wire_id}#{secrets.token_hex(4)}"
        properties = frames.properties(
            persistent=wire_id is not None,
            headers=parcel.headers,
            message_id=wire_id,
            published_at=parcel.published_at,
        )
        packed = (
            frames.publish(self._channel, parcel.exchange, parcel.routing_key, mandatory=wire_id is not None),
            frames.content(self._channel, properties, parcel.body, largest=self._largest),
        )
        sent = _Sent(shipment, position, wire_id)
        self._tag += 1
        self._sent[self._tag] = sent
        if wire_id is not None:
            self._by_id[wire_id] = sent
        shipment.unconfirmed += 1
        return packed


def _end(shipment: _Shipment) -> None:
    if not shipment.over.done():
        shipment.over.set_result(None)
