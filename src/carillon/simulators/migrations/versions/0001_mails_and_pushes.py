"""What was captured: mails as they came over the wire, pushes as they were posted. Forward only."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = (
    """
    CREATE TABLE simulators.mails (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id uuid NOT NULL UNIQUE,
        received_at timestamptz NOT NULL DEFAULT now(),
        sender text NOT NULL,
        recipients text[] NOT NULL,
        recipient_keys text[] NOT NULL,
        raw bytea NOT NULL
    )
    """,
    "CREATE INDEX mails_by_recipient ON simulators.mails USING gin (recipient_keys)",
    # json and not jsonb: a push is kept as it was written, in its order
    """
    CREATE TABLE simulators.pushes (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id uuid NOT NULL UNIQUE,
        received_at timestamptz NOT NULL DEFAULT now(),
        project text NOT NULL,
        token text,
        message json NOT NULL
    )
    """,
    "CREATE INDEX pushes_by_token ON simulators.pushes (token, seq)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
