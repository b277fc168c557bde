"""Deliveries: one row per notification and generation, claimed before the provider is called. Forward only."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE deliveries (
            notification_id uuid NOT NULL,
            generation integer NOT NULL,
            channel text NOT NULL,
            state text NOT NULL DEFAULT 'claimed' CHECK (state IN ('claimed', 'released', 'sent', 'failed')),
            claim integer NOT NULL DEFAULT 1,
            attempt integer NOT NULL DEFAULT 1,
            lapses integer NOT NULL DEFAULT 0,
            owner text NOT NULL,
            at_most_once boolean NOT NULL,
            lease_until timestamptz NOT NULL,
            provider text,
            provider_message_id text,
            reason text,
            error text,
            claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            settled_at timestamptz,
            PRIMARY KEY (notification_id, generation, channel)
        ) WITH (fillfactor = 60)
    """)
    op.execute("COMMENT ON COLUMN deliveries.claim IS 'rises with every claim: only its holder may write the outcome'")
    op.execute("COMMENT ON COLUMN deliveries.attempt IS 'sends begun; a claim given back unused is not counted'")
    op.execute("COMMENT ON COLUMN deliveries.lapses IS 'claims that ended without an outcome: possible duplicates'")
