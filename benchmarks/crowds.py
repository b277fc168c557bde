"""Many people at once: written into the users service's own tables as an import writes them, in seconds."""

import json
from uuid import UUID

import asyncpg

from carillon.kit.embedded_postgres import DATABASE
from carillon.kit.embedded_postgres.cluster import SUPERUSER
from carillon.kit.ids import uuid7
from tests.support.platform import Platform

_AT_ONCE = 10_000
_ADD = """
WITH made AS (
    INSERT INTO users.users (id, name, email, email_key, attributes, email_verified_at)
    SELECT id, name, address, address, $4::jsonb, now() FROM unnest($1::uuid[], $2::text[], $3::text[])
        AS given (id, name, address)
    RETURNING id
), preferences AS (
    INSERT INTO users.notification_preferences (user_id, email, push) SELECT id, true, true FROM made
)
INSERT INTO users.user_roles (user_id, role_id)
SELECT made.id, r.id FROM made, users.roles r WHERE r.name = 'user'
"""


async def add(found: Platform, names: list[str], *, domain: str, attributes: dict[str, str]) -> list[UUID]:
    """Make a person of each name, reached at this domain; their ids."""
    ids = [uuid7() for _ in names]
    connection = await asyncpg.connect(_database(found), timeout=10, command_timeout=120)
    try:
        for at in range(0, len(names), _AT_ONCE):
            some = names[at : at + _AT_ONCE]
            addresses = [f"{name}@{domain}" for name in some]
            await connection.execute(_ADD, ids[at : at + _AT_ONCE], some, addresses, json.dumps(attributes))
        await connection.execute("ANALYZE users.users, users.notification_preferences, users.user_roles")
    finally:
        await connection.close(timeout=10)
    return ids


def _database(found: Platform) -> str:
    """The address of the users service's database: its own, or the one that the single process brings along."""
    if "users" in found.environments:
        return found.environments["users"][1]["CARILLON_USERS_DATABASE_URL"]
    password = json.loads((found.data_dir / "postgres.json").read_text())["superuser_password"]
    port = next((found.data_dir / "postgres").glob("*/postmaster.pid")).read_text().splitlines()[3]
    return f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{port}/{DATABASE}"
