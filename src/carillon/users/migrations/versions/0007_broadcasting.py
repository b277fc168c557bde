"""Writing to many at once is a permission of its own.

Forward only.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

PERMISSION = """
INSERT INTO users.permissions (id, name, description)
VALUES (gen_random_uuid(), 'notifications:broadcast', 'Write to many at once: start, pause and cancel broadcasts')
ON CONFLICT DO NOTHING
"""

GIVEN = """
INSERT INTO users.role_permissions (role_id, permission_id)
SELECT r.id, p.id FROM users.roles r, users.permissions p
WHERE r.name = 'operator' AND p.name = 'notifications:broadcast'
ON CONFLICT DO NOTHING
"""


def upgrade() -> None:
    op.execute(PERMISSION)
    op.execute(GIVEN)
