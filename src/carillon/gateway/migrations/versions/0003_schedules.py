"""When a notification is to be sent and when it expires; whether a message of the outbox may have gone out already."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    "ALTER TABLE gateway.notifications ADD COLUMN send_at timestamptz, ADD COLUMN expires_at timestamptz",
    "ALTER TABLE gateway.outbox ADD COLUMN maybe_sent boolean NOT NULL DEFAULT false",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
