"""Passkeys: public keys of authenticators that sign in without a password, and the ceremonies under way.

Forward only.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# sign_count is the authenticator's own; one that does not rise tells of a copy. Where it stays 0 there is none.
PASSKEYS = """
CREATE TABLE users.passkeys (
    id            uuid        PRIMARY KEY,
    user_id       uuid        NOT NULL REFERENCES users.users ON DELETE CASCADE,
    name          text        NOT NULL,
    credential_id bytea       NOT NULL UNIQUE,
    public_key    bytea       NOT NULL,
    sign_count    bigint      NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    last_used_at  timestamptz
)
"""

# Of a registration user_id is who registers; of a login, which nobody has a name in, it is null.
CHALLENGES = """
CREATE TABLE users.passkey_challenges (
    id             uuid        PRIMARY KEY,
    user_id        uuid        REFERENCES users.users ON DELETE CASCADE,
    challenge_hash bytea       NOT NULL UNIQUE,
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL
)
"""

INDEXES = (
    "CREATE INDEX passkeys_of_user ON users.passkeys (user_id)",
    "CREATE INDEX passkey_challenges_of_user ON users.passkey_challenges (user_id)",
    "CREATE INDEX passkey_challenges_by_end ON users.passkey_challenges (expires_at)",
)


def upgrade() -> None:
    for statement in (PASSKEYS, CHALLENGES, *INDEXES):
        op.execute(statement)
