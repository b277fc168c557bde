"""Sessions that renew, categories, the history of consent, single-use tokens, one answer per idempotency key.

Forward only. Columns that are added have defaults, so that the release before goes on working.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# An address waits in pending_email until its owner has shown that mail arrives there. password_changed_at is set by
# people's own changes alone: the administrator's first password has none.
PEOPLE = (
    "ALTER TABLE users.users ADD email_verified_at timestamptz",
    "ALTER TABLE users.users ADD pending_email text",
    "ALTER TABLE users.users ADD password_changed_at timestamptz",
    "ALTER TABLE users.users DROP CONSTRAINT users_status_check",
    "UPDATE users.users SET status = 'suspended' WHERE status = 'disabled'",
    "ALTER TABLE users.users ADD CHECK (status IN ('active', 'suspended', 'erased'))",
)

# refresh_hash is of the newest refresh token; each is derived from the one before it with refresh_salt, so that a
# spent one can be told from an invented one without keeping them.
SESSIONS = (
    "ALTER TABLE users.sessions ADD refresh_hash bytea",
    "ALTER TABLE users.sessions ADD refresh_salt bytea",
    "ALTER TABLE users.sessions ADD generation integer NOT NULL DEFAULT 0",
    "ALTER TABLE users.sessions ADD refreshed_at timestamptz NOT NULL DEFAULT now()",
    "ALTER TABLE users.sessions ADD user_agent text NOT NULL DEFAULT ''",
    "ALTER TABLE users.sessions ADD address text NOT NULL DEFAULT ''",
    "ALTER TABLE users.sessions ADD revoked_reason text",
)

TOKENS = ("ALTER TABLE users.personal_access_tokens ADD last_used_at timestamptz",)

# Roles that came with Carillon keep their names.
ROLES = (
    "ALTER TABLE users.roles ADD seeded boolean NOT NULL DEFAULT false",
    "ALTER TABLE users.roles ADD version bigint NOT NULL DEFAULT 1",
)
SEEDED = "UPDATE users.roles SET seeded = true WHERE name IN ('admin', 'operator', 'application', 'user')"

# What a device needs besides its token: the keys of a Web Push subscription.
DEVICES = (
    "ALTER TABLE users.devices ADD name text NOT NULL DEFAULT ''",
    "ALTER TABLE users.devices ADD keys jsonb",
)

CATEGORIES = """
CREATE TABLE users.categories (
    id                uuid        PRIMARY KEY,
    code              text        NOT NULL UNIQUE,
    description       text        NOT NULL,
    allowed           boolean     NOT NULL DEFAULT true,
    required_channels text[]      NOT NULL DEFAULT '{}',
    urgent            boolean     NOT NULL DEFAULT false,
    version           bigint      NOT NULL DEFAULT 1,
    updated_at        timestamptz NOT NULL DEFAULT now()
)
"""

# One row per change, the whole state after it: what was agreed to at any time, by whom and how.
PREFERENCE_CHANGES = """
CREATE TABLE users.preference_changes (
    id             uuid        PRIMARY KEY,
    user_id        uuid        NOT NULL REFERENCES users.users ON DELETE CASCADE,
    at             timestamptz NOT NULL DEFAULT now(),
    actor_id       uuid,
    session_id     uuid,
    source         text        NOT NULL,
    preferences    jsonb       NOT NULL,
    version        bigint      NOT NULL,
    correlation_id text        NOT NULL DEFAULT ''
)
"""

# A secret sent by mail: kept as a hash, good for one purpose, once.
ONE_TIME_TOKENS = """
CREATE TABLE users.one_time_tokens (
    id          uuid        PRIMARY KEY,
    user_id     uuid        NOT NULL REFERENCES users.users ON DELETE CASCADE,
    purpose     text        NOT NULL CHECK (purpose IN ('password_reset', 'email_verification')),
    secret_hash bytea       NOT NULL UNIQUE,
    email       text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    used_at     timestamptz
)
"""

# The same key of the same caller makes one thing; fingerprint is a hash of what was asked for.
IDEMPOTENCY_KEYS = """
CREATE TABLE users.idempotency_keys (
    id          uuid        PRIMARY KEY,
    caller      bytea       NOT NULL,
    key         text        NOT NULL,
    fingerprint bytea       NOT NULL,
    resource_id uuid        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (caller, key)
)
"""

INDEXES = (
    "CREATE INDEX preference_changes_of_user ON users.preference_changes (user_id, at DESC)",
    "CREATE INDEX one_time_tokens_of_user ON users.one_time_tokens (user_id, purpose)",
    "CREATE INDEX one_time_tokens_by_end ON users.one_time_tokens (expires_at)",
    "CREATE INDEX idempotency_keys_by_age ON users.idempotency_keys (created_at)",
    "CREATE INDEX audit_events_of_actor ON users.audit_events (actor_id, id)",
    "CREATE INDEX audit_events_by_action ON users.audit_events (action, id)",
)

# What everybody had agreed to before the history began.
FIRST_CHANGES = """
INSERT INTO users.preference_changes (id, user_id, at, actor_id, source, preferences, version)
SELECT gen_random_uuid(), p.user_id, p.updated_at, NULL, 'before_history',
       jsonb_build_object('email', p.email, 'push', p.push, 'categories', p.categories, 'quiet_hours', p.quiet_hours),
       u.version
FROM users.notification_preferences p JOIN users.users u ON u.id = p.user_id
"""

SEED_CATEGORIES = """
INSERT INTO users.categories (id, code, description, required_channels, urgent) VALUES
    (gen_random_uuid(), 'account', 'Passwords, addresses and sign-ins: nobody can opt out', '{email}', true),
    (gen_random_uuid(), 'email_verification', 'Confirms an address, and goes to the one that waits', '{email}', true)
"""

SEED_PERMISSIONS = """
INSERT INTO users.permissions (id, name, description)
SELECT gen_random_uuid(), name, description FROM (VALUES
    ('users:suspend', 'Suspend and restore users'),
    ('users:import', 'Import users with their password hashes'),
    ('users:erase', 'Erase a user for good'),
    ('templates:account', 'Change the templates of mails about accounts, whose links open them'),
    ('applications:*', 'Everything about applications'),
    ('applications:read', 'See applications and their tokens, never the secrets'),
    ('applications:write', 'Make applications, and tokens for them'),
    ('categories:*', 'Everything about categories'),
    ('categories:write', 'Make and change categories of notifications'),
    ('audit:*', 'Everything about the audit trail'),
    ('audit:read', 'See who did what'),
    ('suppressions:*', 'Everything about suppressed addresses'),
    ('suppressions:write', 'Suppress an address, or lift a suppression')
) AS seed (name, description)
"""

SEED_ROLES = """
INSERT INTO users.roles (id, name, description) VALUES
    (gen_random_uuid(), 'operator', 'Sees everything, keeps templates, people and suppressions in order'),
    (gen_random_uuid(), 'application', 'Sends notifications and sees them')
"""

SEED_ROLE_PERMISSIONS = """
INSERT INTO users.role_permissions (role_id, permission_id)
SELECT r.id, p.id FROM users.roles r JOIN (VALUES
    ('admin', 'applications:*'), ('admin', 'categories:*'), ('admin', 'audit:*'), ('admin', 'suppressions:*'),
    ('operator', 'users:read'), ('operator', 'users:suspend'), ('operator', 'templates:read'),
    ('operator', 'templates:write'), ('operator', 'notifications:read'), ('operator', 'roles:read'),
    ('operator', 'applications:read'), ('operator', 'categories:write'), ('operator', 'audit:read'),
    ('operator', 'suppressions:write'),
    ('application', 'notifications:send'), ('application', 'notifications:read')
) AS seed (role, permission) ON seed.role = r.name
JOIN users.permissions p ON p.name = seed.permission
"""


def upgrade() -> None:
    tables = (CATEGORIES, PREFERENCE_CHANGES, ONE_TIME_TOKENS, IDEMPOTENCY_KEYS)
    seeds = (FIRST_CHANGES, SEED_CATEGORIES, SEED_PERMISSIONS, SEED_ROLES, SEED_ROLE_PERMISSIONS, SEEDED)
    for statement in (*PEOPLE, *SESSIONS, *TOKENS, *ROLES, *DEVICES, *tables, *INDEXES, *seeds):
        op.execute(statement)
