"""What the reconciler remembers: how far it has looked, whom it watches; and the message that outlives the outbox."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = (
    "ALTER TABLE gateway.idempotency_keys ADD COLUMN message bytea",
    """
    CREATE TABLE gateway.watched_notifications (
        notification_id uuid        NOT NULL PRIMARY KEY,
        look_at         timestamptz NOT NULL DEFAULT now(),
        quiet_since     timestamptz,
        requeued        integer     NOT NULL DEFAULT 0
    ) WITH (fillfactor = 60)
    """,
    "CREATE INDEX watched_notifications_due ON gateway.watched_notifications (look_at)",
    """
    CREATE TABLE gateway.watch_marks (
        name  text NOT NULL PRIMARY KEY,
        up_to uuid NOT NULL
    )
    """,
    """
    INSERT INTO gateway.watch_marks (name, up_to) VALUES
        ('first', '00000000-0000-0000-0000-000000000000'), ('second', '00000000-0000-0000-0000-000000000000')
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
