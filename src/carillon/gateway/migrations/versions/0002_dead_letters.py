"""Dead letters, and who was erased: a message of theirs may still wait in `failed.queue`."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    """
    CREATE TABLE gateway.dead_letters (
        id              uuid        NOT NULL PRIMARY KEY,
        fingerprint     uuid        NOT NULL UNIQUE,
        message_id      uuid        NOT NULL,
        notification_id uuid,
        generation      integer,
        user_id         uuid,
        channel         text,
        template_code   text,
        queue           text        NOT NULL,
        cause           text        NOT NULL,
        reason          text        NOT NULL,
        first_error     text,
        last_error      text,
        attempts        integer     NOT NULL,
        provider        text,
        published_at    timestamptz,
        died_at         timestamptz NOT NULL,
        reported        boolean     NOT NULL,
        body            bytea,
        replayed_at     timestamptz,
        replayed_by     uuid
    )
    """,
    "CREATE INDEX dead_letters_of_cause ON gateway.dead_letters (cause, id)",
    "CREATE INDEX dead_letters_of_user ON gateway.dead_letters (user_id)",
    "CREATE INDEX dead_letters_of_notification ON gateway.dead_letters (notification_id, generation)",
    """
    CREATE TABLE gateway.erased_users (
        user_id   uuid        NOT NULL PRIMARY KEY,
        erased_at timestamptz NOT NULL DEFAULT now()
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
