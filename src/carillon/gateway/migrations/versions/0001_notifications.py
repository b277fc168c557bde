"""Notifications by month, their timeline, the keys that make requests idempotent, and the outbox."""

from alembic import op

revision = "0001"
down_revision = None

# A status update changes no indexed column and finds room on its own page: a heap-only update.
_ROOM = "WITH (fillfactor = 60)"

# Mostly empty, with a great turnover: dead rows are swept early, and no statistics are collected that would be wrong
# by the time they are used (the connections' settings make the plan certain instead).
_QUEUE = """WITH (
    fillfactor = 50,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_analyze_threshold = 2000000000,
    autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = false
)"""

STATEMENTS = (
    """
    CREATE TABLE gateway.notifications (
        id               uuid        NOT NULL PRIMARY KEY,
        caller_id        uuid        NOT NULL,
        request_id       text        NOT NULL,
        channel          text        NOT NULL,
        user_id          uuid        NOT NULL,
        template_code    text        NOT NULL,
        priority         smallint    NOT NULL,
        category         text,
        metadata         json,
        correlation_id   text        NOT NULL,
        status           text        NOT NULL DEFAULT 'pending',
        stage            text,
        generation       integer     NOT NULL DEFAULT 0,
        rank             integer     NOT NULL DEFAULT 0,
        attempts         integer     NOT NULL DEFAULT 0,
        reason           text,
        error            text,
        next_expected_at timestamptz,
        created_at       timestamptz NOT NULL,
        updated_at       timestamptz NOT NULL
    ) PARTITION BY RANGE (id)
    """,
    "CREATE INDEX notifications_of_caller ON gateway.notifications (caller_id, id)",
    "CREATE INDEX notifications_of_user ON gateway.notifications (user_id, id)",
    f"CREATE TABLE gateway.notifications_default PARTITION OF gateway.notifications DEFAULT {_ROOM}",
    """
    CREATE TABLE gateway.notification_events (
        notification_id uuid        NOT NULL,
        key             text        NOT NULL,
        kind            text        NOT NULL,
        at              timestamptz NOT NULL,
        reason          text,
        attempt         integer,
        provider        text,
        detail          json,
        PRIMARY KEY (notification_id, key)
    ) PARTITION BY RANGE (notification_id)
    """,
    "CREATE TABLE gateway.notification_events_default PARTITION OF gateway.notification_events DEFAULT",
    """
    CREATE TABLE gateway.idempotency_keys (
        caller_id       uuid  NOT NULL,
        request_id      text  NOT NULL,
        notification_id uuid  NOT NULL,
        body_hash       bytea NOT NULL,
        PRIMARY KEY (caller_id, request_id)
    )
    """,
    f"""
    CREATE TABLE gateway.outbox (
        notification_id uuid        NOT NULL PRIMARY KEY,
        generation      integer     NOT NULL DEFAULT 0,
        queue           text        NOT NULL,
        correlation_id  text        NOT NULL,
        body            bytea       NOT NULL,
        available_at    timestamptz NOT NULL DEFAULT now(),
        lease_until     timestamptz
    ) {_QUEUE}
    """,
    "CREATE INDEX outbox_due ON gateway.outbox (available_at)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
