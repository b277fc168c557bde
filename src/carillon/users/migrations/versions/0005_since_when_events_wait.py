"""Since when an event waits in the outbox: whoever tells that all was told must know.

Forward only.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE users.outbox ADD COLUMN written_at timestamptz NOT NULL DEFAULT now()")
