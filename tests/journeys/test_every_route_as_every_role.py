"""Every route is tried as everybody: who may, may; who may not, is refused before anything is read or done."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from tests.support.client import PASSWORD, Client
from tests.support.platform import Platform
from tests.support.routes import ROLES, Declared, declared, verdict

REFUSED = {401, 403}
BROKEN = "{"
"""No body that a route would take: whoever is let in gets no further than this, so that nothing is changed."""


@dataclass(frozen=True)
class Person:
    role: str
    email: str
    user_id: str


class Tokens:
    """One login serves until its token may have been ended by what it was used for."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._kept: dict[str, str] = {}

    async def of(self, person: Person) -> str:
        if person.email not in self._kept:
            self._kept[person.email] = await self._client.sign_in(person.email, PASSWORD)
        return self._kept[person.email]

    def forget(self, person: Person) -> None:
        self._kept.pop(person.email, None)

    async def alive(self) -> bool:
        me = f"{self._client.platform.users}/api/v1/users/me"
        return {(await self._client.call("GET", me, token=token)).status for token in self._kept.values()} == {200}


@pytest.mark.timeout(360)
async def test_every_route_lets_in_whom_it_says_and_nobody_else(platform: Platform, client: Client) -> None:
    roles = (await client.call("GET", f"{platform.users}/api/v1/roles", token=client.admin)).data
    held = {role["name"]: role["permissions"] for role in roles}
    stranger = await client.register("Stranger")
    people = [await _person(client, role) for role in ROLES]
    wrong, tried, tokens = [], 0, Tokens(client)
    for route in declared():
        for person in (None, *people):
            token = await tokens.of(person) if person else ""
            expected = verdict(route.needs, held[person.role] if person else None)
            status = await _status(client, platform, route, token, whose=uuid4() if expected == "all" else stranger)
            wrong += [] if _fits(route, status, expected) else [(route, person and person.role, expected, status)]
            tried += 1
            if person and route.method != "GET" and status not in REFUSED:
                tokens.forget(person)

    assert wrong == []
    assert await tokens.alive(), "nobody was refused for a token that had ended"
    assert tried > 300
    there = await client.call("GET", f"{platform.users}/api/v1/users/{stranger['user_id']}", token=client.admin)
    assert there.data == stranger, "nobody who was refused changed anything"


def _fits(route: Declared, status: int, expected: str) -> bool:
    if expected == "no":
        return status in REFUSED
    if expected == "own" and "{" in route.path and route.method in {"GET", "DELETE"}:
        return status == 404  # before a body is asked for
    return status not in {*REFUSED, 405}


async def _status(client: Client, platform: Platform, route: Declared, token: str, *, whose: Any) -> int:
    user_id = whose["user_id"] if isinstance(whose, Mapping) else str(whose)
    service = {"every service": "gateway"}.get(route.service, route.service)
    url = getattr(platform, service) + _filled(route.path, user_id)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    body = BROKEN if route.method in {"POST", "PUT", "PATCH"} else None
    async with client.session.request(route.method, url, data=body, headers=headers) as answer:
        return answer.status


def _filled(path: str, user_id: str) -> str:
    """Whose record it is by `user_id`; of everything else one that is not there."""
    parts = [part[1:-1] if part.startswith("{") else None for part in path.split("/")]
    values = {"uuid": str(uuid4()), "int": "1"}
    return "/".join(
        part if name is None else user_id if name.startswith("user_id") else values.get(name.partition(":")[2], "none")
        for part, name in zip(path.split("/"), parts, strict=True)
    )


async def _person(client: Client, role: str) -> Person:
    user = await client.register(role)
    url = f"{client.platform.users}/api/v1/users/{user['user_id']}/roles"
    given = await client.call("PUT", url, token=client.admin, json={"roles": [role]})
    assert given.status == 200, given.body
    return Person(role, user["email"], user["user_id"])


@pytest.mark.parametrize("path", ["", "/preferences"])
async def test_an_application_and_a_service_are_strangers_to_every_person(
    platform: Platform, client: Client, path: str
) -> None:
    ada = await client.register()
    token = (platform.data_dir / "tokens" / "gateway.token").read_text().strip()

    for bearer in (client.application, token):
        url = f"{platform.users}/api/v1/users/{ada['user_id']}{path}"
        assert (await client.call("GET", url, token=bearer)).status == 404
