"""Messages between releases: what one side does not know of yet is passed over, what it misses has a default."""

import msgspec
import pytest

from carillon.contracts.messages import DeliveryReported, DeliveryRequested
from carillon.kit.ids import uuid7

_REQUESTED = {
    "notification_id": str(uuid7()),
    "generation": 0,
    "channel": "email",
    "user_id": str(uuid7()),
    "template_code": "welcome",
    "variables": {},
    "priority": 5,
    "accepted_at": "2026-01-01T00:00:00Z",
    "correlation_id": "c",
}
_REPORTED = {"notification_id": str(uuid7()), "generation": 0, "rank": 1, "status": "delivered"}


@pytest.mark.parametrize(("kind", "sent"), [(DeliveryRequested, _REQUESTED), (DeliveryReported, _REPORTED)])
def test_a_message_of_another_release_is_read(
    kind: type[DeliveryRequested | DeliveryReported], sent: dict[str, object]
) -> None:
    known = msgspec.json.decode(msgspec.json.encode(sent), type=kind)

    assert msgspec.json.decode(msgspec.json.encode({**sent, "of_tomorrow": 1}), type=kind) == known
    assert known.traceparent is msgspec.UNSET


def test_what_is_not_traced_carries_nothing_of_traces() -> None:
    known = msgspec.json.decode(msgspec.json.encode(_REQUESTED), type=DeliveryRequested)
    traced = msgspec.structs.replace(known, traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01")

    assert b"traceparent" not in msgspec.json.encode(known)
    assert msgspec.json.decode(msgspec.json.encode(traced), type=DeliveryRequested) == traced
