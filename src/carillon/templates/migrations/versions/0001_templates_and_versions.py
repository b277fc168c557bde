"""Templates, their immutable versions, and the pointer from a channel and language to the version they get. Forward only."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = (
    """
    CREATE TABLE templates.templates (
        id uuid PRIMARY KEY,
        code text NOT NULL UNIQUE,
        category text,
        at_most_once boolean NOT NULL,
        created_by uuid NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE templates.template_versions (
        id uuid PRIMARY KEY,
        template_id uuid NOT NULL REFERENCES templates.templates ON DELETE CASCADE,
        number integer NOT NULL CHECK (number > 0),
        channel text NOT NULL CHECK (channel IN ('email', 'push')),
        language text NOT NULL,
        content jsonb NOT NULL,
        variables jsonb NOT NULL,
        created_by uuid NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (template_id, number),
        UNIQUE (template_id, channel, language, id)
    )
    """,
    # the foreign key holds what publishing promises: a channel and language point at a version of their own
    """
    CREATE TABLE templates.publications (
        template_id uuid NOT NULL,
        channel text NOT NULL,
        language text NOT NULL,
        version_id uuid NOT NULL,
        published_by uuid NOT NULL,
        published_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (template_id, channel, language),
        FOREIGN KEY (template_id, channel, language, version_id)
            REFERENCES templates.template_versions (template_id, channel, language, id) ON DELETE CASCADE
    )
    """,
    """
    CREATE FUNCTION templates.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'a template version never changes: add another one';
    END
    $$
    """,
    """
    CREATE TRIGGER versions_never_change BEFORE UPDATE ON templates.template_versions
    FOR EACH ROW EXECUTE FUNCTION templates.refuse_change()
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
