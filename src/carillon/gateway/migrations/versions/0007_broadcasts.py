"""Broadcasts, the ids that were given for them, and what became of their notifications.

A trigger notes each ending of a notification that belongs to one, whichever statement writes it: a row is added in that
statement's transaction, so that an ending counts once or not at all. Other notifications cost a comparison.
"""

from alembic import op

revision = "0007"
down_revision = "0006"

STATEMENTS = (
    """
    CREATE TABLE gateway.broadcasts (
        id              uuid        NOT NULL PRIMARY KEY,
        caller_id       uuid        NOT NULL,
        request_id      text        NOT NULL,
        body_hash       bytea       NOT NULL,
        body            bytea       NOT NULL,
        correlation_id  text        NOT NULL,
        status          text        NOT NULL,
        reason          text,
        total           integer     NOT NULL,
        enqueued        integer     NOT NULL DEFAULT 0,
        delivered       integer     NOT NULL DEFAULT 0,
        failed          integer     NOT NULL DEFAULT 0,
        suppressed      integer     NOT NULL DEFAULT 0,
        cancelled       integer     NOT NULL DEFAULT 0,
        expired         integer     NOT NULL DEFAULT 0,
        sent_before     integer     NOT NULL DEFAULT 0,
        failed_before   integer     NOT NULL DEFAULT 0,
        position        uuid,
        lease_until     timestamptz,
        turned_at       timestamptz NOT NULL DEFAULT now(),
        created_at      timestamptz NOT NULL,
        updated_at      timestamptz NOT NULL,
        finished_at     timestamptz,
        UNIQUE (caller_id, request_id)
    )
    """,
    "CREATE INDEX broadcasts_under_way ON gateway.broadcasts (turned_at) WHERE status IN ('running', 'cancelling')",
    """
    CREATE TABLE gateway.broadcast_recipients (
        broadcast_id uuid NOT NULL,
        user_id      uuid NOT NULL,
        PRIMARY KEY (broadcast_id, user_id)
    )
    """,
    """
    CREATE TABLE gateway.broadcast_changes (
        id           bigint NOT NULL PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
        broadcast_id uuid   NOT NULL,
        was          text   NOT NULL,
        becomes      text   NOT NULL
    )
    """,
    "ALTER TABLE gateway.notifications ADD COLUMN broadcast_id uuid",
    """
    CREATE FUNCTION gateway.note_broadcast_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO gateway.broadcast_changes (broadcast_id, was, becomes)
        VALUES (NEW.broadcast_id, OLD.status, NEW.status);
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER broadcast_changes AFTER UPDATE OF status ON gateway.notifications
    FOR EACH ROW WHEN (NEW.broadcast_id IS NOT NULL AND NEW.status <> OLD.status)
    EXECUTE FUNCTION gateway.note_broadcast_change()
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
