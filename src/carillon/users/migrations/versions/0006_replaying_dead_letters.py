"""Whoever keeps the house in order may have dead letters sent again.

Forward only.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PERMISSION = """
INSERT INTO users.permissions (id, name, description)
VALUES (gen_random_uuid(), 'notifications:replay', 'Have dead letters sent again')
ON CONFLICT DO NOTHING
"""

GIVEN = """
INSERT INTO users.role_permissions (role_id, permission_id)
SELECT r.id, p.id FROM users.roles r, users.permissions p
WHERE r.name = 'operator' AND p.name = 'notifications:replay'
ON CONFLICT DO NOTHING
"""


def upgrade() -> None:
    op.execute(PERMISSION)
    op.execute(GIVEN)
