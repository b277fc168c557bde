"""The table of routes, permissions and roles in the reference is the one that the code and the migrations make."""

from collections.abc import Mapping
from itertools import groupby

import asyncpg

from carillon.kit.migrations import migrate
from tests.documents.generated import check_generated
from tests.documents.reading import ROOT
from tests.support.routes import ROLES, Declared, declared, permission_of, verdict

_WORDS = {"all": "yes", "own": "own", "no": "no"}
_PERMISSIONS = """
SELECT r.name AS role, array_agg(p.name ORDER BY p.name) FILTER (WHERE p.name IS NOT NULL) AS permissions
FROM users.roles r LEFT JOIN users.role_permissions rp ON rp.role_id = r.id
LEFT JOIN users.permissions p ON p.id = rp.permission_id GROUP BY r.name
"""


async def test_the_table_of_routes_is_what_the_handlers_and_the_seeded_roles_say(database: str) -> None:
    await migrate(database, "users", ROOT / "src/carillon/users/migrations")
    connection = await asyncpg.connect(database, timeout=10, command_timeout=10)
    try:
        rows = await connection.fetch(_PERMISSIONS)
        known = await connection.fetch("SELECT name, description FROM users.permissions ORDER BY name")
    finally:
        await connection.close(timeout=5)
    roles = {row["role"]: row["permissions"] or [] for row in rows}

    needed = {permission_of(route.needs) for route in declared()} - {"anyone", "signed_in", "logged_in"}
    assert needed <= {row["name"] for row in known}, "a route needs a permission that cannot be given"
    check_generated("docs/reference/permissions.md", _made(roles, {row["name"]: row["description"] for row in known}))


def _made(roles: Mapping[str, list[str]], known: Mapping[str, str]) -> str:
    lines = ["", "| permission | what it allows | roles that have it |", "| --- | --- | --- |"]
    for name, description in known.items():
        having = ", ".join(role for role in ROLES if verdict(name, roles[role]) == "all") or "none"
        lines.append(f"| `{name}` | {description} | {having} |")
    for service, routes in groupby(declared(), key=lambda route: route.service):
        lines += ["", f"### {service}", "", f"| route | needs | nobody | {' | '.join(ROLES)} |", "| --- " * 7 + "|"]
        lines += [_row(route, roles) for route in routes]
    return "\n".join([*lines, ""])


def _row(route: Declared, roles: Mapping[str, list[str]]) -> str:
    path = route.path.replace(":uuid", "").replace(":int", "").replace(":str", "")
    words = [_WORDS[verdict(route.needs, None)], *(_WORDS[verdict(route.needs, roles[role])] for role in ROLES)]
    return f"| `{route.method} {path}` | {_needs(route.needs)} | {' | '.join(words)} |"


def _needs(needs: str) -> str:
    if needs == "anyone":
        return "nothing"
    if needs == "signed_in":
        return "any token"
    if needs == "logged_in":
        return "a token of a login"
    permission = permission_of(needs)
    return f"`{permission}`" if permission == needs else f"own record, or `{permission}`"
