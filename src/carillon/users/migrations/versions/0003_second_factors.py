"""A second factor at the login: one secret of a person's authenticator, recovery codes, logins that wait for a code.

Forward only. A release that knows nothing of these tables goes on working, and asks nobody for a code.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# secret is encrypted. It counts once confirmed_at is set; last_step is the time step of the last code that was right,
# of which no code is taken again. Between retry_at and the last try no code is looked at.
SECOND_FACTORS = """
CREATE TABLE users.second_factors (
    id           uuid        PRIMARY KEY,
    user_id      uuid        NOT NULL UNIQUE REFERENCES users.users ON DELETE CASCADE,
    secret       bytea       NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    confirmed_at timestamptz,
    last_step    bigint      NOT NULL DEFAULT 0,
    failures     integer     NOT NULL DEFAULT 0,
    retry_at     timestamptz NOT NULL DEFAULT now()
)
"""

RECOVERY_CODES = """
CREATE TABLE users.recovery_codes (
    id         uuid        PRIMARY KEY,
    user_id    uuid        NOT NULL REFERENCES users.users ON DELETE CASCADE,
    code_hash  bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz,
    UNIQUE (user_id, code_hash)
)
"""

# Who has shown the password and not yet a code; token_version as it was then, so that a reset of the password voids it.
LOGIN_CHALLENGES = """
CREATE TABLE users.login_challenges (
    id            uuid        PRIMARY KEY,
    user_id       uuid        NOT NULL REFERENCES users.users ON DELETE CASCADE,
    secret_hash   bytea       NOT NULL UNIQUE,
    token_version integer     NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL
)
"""

INDEXES = (
    "CREATE INDEX login_challenges_of_user ON users.login_challenges (user_id)",
    "CREATE INDEX login_challenges_by_end ON users.login_challenges (expires_at)",
)


def upgrade() -> None:
    for statement in (SECOND_FACTORS, RECOVERY_CODES, LOGIN_CHALLENGES, *INDEXES):
        op.execute(statement)
