"""Indexes of tables that may be large, and whose message the outbox holds already: nobody has to wait for it."""

from typing import Any
from uuid import UUID

from sqlalchemy import text

from carillon.kit.index_building import Index, beside_the_writers, build_indexes

revision = "0009"
down_revision = "0008"

INDEXES = (
    Index("outbox_turns", "outbox", "(queue, caller_id, available_at)"),
    Index("notifications_of_broadcast", "notifications", "(broadcast_id, id) WHERE broadcast_id IS NOT NULL"),
    Index("broadcast_recipients_of_user", "broadcast_recipients", "(user_id)"),
    Index("dead_letters_replayed", "dead_letters", "(replayed_at) WHERE replayed_at IS NOT NULL"),
)

_NOBODY = UUID(int=0)
_BITE = text("""
WITH bite AS MATERIALIZED (
    SELECT notification_id FROM gateway.outbox
    WHERE notification_id > :after ORDER BY notification_id LIMIT 5000
), named AS (
    UPDATE gateway.outbox o SET caller_id = n.caller_id
    FROM gateway.notifications n
    WHERE o.notification_id = ANY(ARRAY(SELECT notification_id FROM bite)) AND o.caller_id = :nobody
        AND n.id = o.notification_id
)
SELECT notification_id FROM bite ORDER BY notification_id DESC LIMIT 1
""")


def upgrade() -> None:
    beside_the_writers(_name_callers)
    build_indexes("gateway", INDEXES)


def _name_callers(connection: Any) -> None:
    """In bites, each committed: no relay waits for longer than one."""
    after: UUID | None = _NOBODY
    while after is not None:
        after = connection.scalar(_BITE, {"after": after, "nobody": _NOBODY})
