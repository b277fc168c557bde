"""People, how they are reached, what they agreed to, tokens and permissions. Forward only.

E-mail addresses are unique by `email_key`, made in Python: SQL's lower() depends on the server's locale.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PEOPLE = """
CREATE TABLE users.users (
    id            uuid        PRIMARY KEY,
    name          text        NOT NULL,
    email         text,
    email_key     text        UNIQUE,
    password_hash text,
    status        text        NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled', 'erased')),
    locale        text,
    timezone      text,
    attributes    jsonb       NOT NULL DEFAULT '{}',
    version       bigint      NOT NULL DEFAULT 1,
    token_version integer     NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CHECK ((email IS NULL) = (email_key IS NULL))
) WITH (fillfactor = 85)
"""

PREFERENCES = """
CREATE TABLE users.notification_preferences (
    user_id     uuid        PRIMARY KEY REFERENCES users.users ON DELETE CASCADE,
    email       boolean     NOT NULL DEFAULT true,
    push        boolean     NOT NULL DEFAULT true,
    categories  jsonb       NOT NULL DEFAULT '{}',
    quiet_hours jsonb,
    updated_at  timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 85)
"""

# A token is one device of one user; is_push_token marks the one that the route of that name sets.
DEVICES = """
CREATE TABLE users.devices (
    id             uuid        PRIMARY KEY,
    user_id        uuid        NOT NULL REFERENCES users.users ON DELETE CASCADE,
    platform       text        NOT NULL,
    token          text        NOT NULL,
    is_push_token  boolean     NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    invalid_at     timestamptz,
    invalid_reason text,
    UNIQUE (platform, token)
)
"""

SUPPRESSED_ADDRESSES = """
CREATE TABLE users.suppressed_addresses (
    id           uuid        PRIMARY KEY,
    address_hash bytea       NOT NULL UNIQUE,
    reason       text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
)
"""

ROLES = """
CREATE TABLE users.roles (
    id          uuid PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    description text NOT NULL
)
"""

PERMISSIONS = """
CREATE TABLE users.permissions (
    id          uuid PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    description text NOT NULL
)
"""

ROLE_PERMISSIONS = """
CREATE TABLE users.role_permissions (
    role_id       uuid NOT NULL REFERENCES users.roles ON DELETE CASCADE,
    permission_id uuid NOT NULL REFERENCES users.permissions ON DELETE CASCADE,
    PRIMARY KEY (role_id, permission_id)
)
"""

USER_ROLES = """
CREATE TABLE users.user_roles (
    user_id uuid NOT NULL REFERENCES users.users ON DELETE CASCADE,
    role_id uuid NOT NULL REFERENCES users.roles ON DELETE CASCADE,
    PRIMARY KEY (user_id, role_id)
)
"""

USER_PERMISSIONS = """
CREATE TABLE users.user_permissions (
    user_id       uuid NOT NULL REFERENCES users.users ON DELETE CASCADE,
    permission_id uuid NOT NULL REFERENCES users.permissions ON DELETE CASCADE,
    PRIMARY KEY (user_id, permission_id)
)
"""

SESSIONS = """
CREATE TABLE users.sessions (
    id         uuid        PRIMARY KEY,
    user_id    uuid        NOT NULL REFERENCES users.users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
)
"""

SERVICE_ACCOUNTS = """
CREATE TABLE users.service_accounts (
    id          uuid        PRIMARY KEY,
    name        text        NOT NULL UNIQUE,
    kind        text        NOT NULL CHECK (kind IN ('application', 'service')),
    permissions text[]      NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz
)
"""

PERSONAL_ACCESS_TOKENS = """
CREATE TABLE users.personal_access_tokens (
    id                 uuid        PRIMARY KEY,
    user_id            uuid        REFERENCES users.users ON DELETE CASCADE,
    service_account_id uuid        REFERENCES users.service_accounts ON DELETE CASCADE,
    name               text        NOT NULL,
    abilities          text[]      NOT NULL,
    secret_hash        bytea       NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT now(),
    expires_at         timestamptz NOT NULL,
    revoked_at         timestamptz,
    CHECK (num_nonnulls(user_id, service_account_id) = 1)
)
"""

AUDIT_EVENTS = """
CREATE TABLE users.audit_events (
    id             uuid        PRIMARY KEY,
    at             timestamptz NOT NULL DEFAULT now(),
    actor_id       uuid,
    action         text        NOT NULL,
    subject_id     uuid,
    detail         jsonb       NOT NULL DEFAULT '{}',
    correlation_id text        NOT NULL DEFAULT ''
)
"""

OUTBOX = """
CREATE TABLE users.outbox (
    id           uuid        PRIMARY KEY,
    topic        text        NOT NULL,
    body         jsonb       NOT NULL,
    available_at timestamptz NOT NULL DEFAULT now()
)
"""

INDEXES = (
    "CREATE INDEX devices_of_user ON users.devices (user_id)",
    "CREATE UNIQUE INDEX one_push_token ON users.devices (user_id) WHERE is_push_token",
    "CREATE INDEX roles_by_permission ON users.role_permissions (permission_id)",
    "CREATE INDEX users_by_role ON users.user_roles (role_id)",
    "CREATE INDEX users_by_permission ON users.user_permissions (permission_id)",
    "CREATE INDEX sessions_of_user ON users.sessions (user_id)",
    "CREATE INDEX sessions_by_end ON users.sessions (expires_at)",
    "CREATE INDEX tokens_of_user ON users.personal_access_tokens (user_id) WHERE user_id IS NOT NULL",
    "CREATE INDEX tokens_of_account ON users.personal_access_tokens (service_account_id) WHERE user_id IS NULL",
    "CREATE INDEX audit_events_of_subject ON users.audit_events (subject_id, id)",
    "CREATE INDEX outbox_claim ON users.outbox (available_at)",
)

SEED_PERMISSIONS = """
INSERT INTO users.permissions (id, name, description)
SELECT gen_random_uuid(), name, description FROM (VALUES
    ('users:*', 'Everything about users'),
    ('users:read', 'See any user'),
    ('users:write', 'Change any user, make contacts'),
    ('users:contact', 'Ask how a user is reached'),
    ('templates:*', 'Everything about templates'),
    ('templates:read', 'See templates'),
    ('templates:write', 'Make, publish and delete templates'),
    ('notifications:*', 'Everything about notifications'),
    ('notifications:send', 'Ask for notifications'),
    ('notifications:read', 'See any notification'),
    ('notifications:report', 'Report what became of a notification'),
    ('roles:*', 'Everything about roles and permissions'),
    ('roles:read', 'See roles and permissions'),
    ('roles:write', 'Give and take roles and permissions'),
    ('tokens:*', 'Everything about tokens'),
    ('tokens:introspect', 'Ask whose token this is'),
    ('devices:*', 'Everything about devices'),
    ('devices:invalidate', 'Say that a device token is dead')
) AS seed (name, description)
"""

SEED_ROLES = """
INSERT INTO users.roles (id, name, description) VALUES
    (gen_random_uuid(), 'admin', 'May do everything'),
    (gen_random_uuid(), 'user', 'May see and change their own record')
"""

SEED_ADMIN = """
INSERT INTO users.role_permissions (role_id, permission_id)
SELECT r.id, p.id FROM users.roles r, users.permissions p
WHERE r.name = 'admin' AND p.name IN ('users:*', 'templates:*', 'notifications:*', 'roles:*', 'tokens:*', 'devices:*')
"""


def upgrade() -> None:
    tables = (
        PEOPLE, PREFERENCES, DEVICES, SUPPRESSED_ADDRESSES, ROLES, PERMISSIONS, ROLE_PERMISSIONS, USER_ROLES,
        USER_PERMISSIONS, SESSIONS, SERVICE_ACCOUNTS, PERSONAL_ACCESS_TOKENS, AUDIT_EVENTS, OUTBOX,
    )  # fmt: skip
    for statement in (*tables, *INDEXES, SEED_PERMISSIONS, SEED_ROLES, SEED_ADMIN):
        op.execute(statement)
