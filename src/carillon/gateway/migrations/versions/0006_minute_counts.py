"""What each process of the gateway has counted in a minute, so that one tells what all of them know."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE gateway.minute_counts (
            minute     bigint  NOT NULL,
            process_id uuid    NOT NULL,
            accepted   integer NOT NULL,
            delivered  integer NOT NULL,
            failed     integer NOT NULL,
            suppressed integer NOT NULL,
            PRIMARY KEY (minute, process_id)
        ) WITH (fillfactor = 50)
    """)
    op.execute(
        "COMMENT ON COLUMN gateway.minute_counts.minute IS 'whole minutes since 1970, by the clock of the process'"
    )
