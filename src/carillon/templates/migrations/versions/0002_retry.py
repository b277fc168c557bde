"""How hard a delivery of a version is tried, where that is not as the workers' settings say."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE templates.template_versions ADD COLUMN retry jsonb")
