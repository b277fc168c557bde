"""Whose message it is, so that callers take turns while more waits than the relay takes at once."""

from alembic import op

revision = "0004"
down_revision = "0003"

# The default is for rows that a process of the release before still writes; what is there already, and the index, come
# in a revision of their own, for which nobody has to wait.
STATEMENTS = (
    "ALTER TABLE gateway.outbox ADD COLUMN caller_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
