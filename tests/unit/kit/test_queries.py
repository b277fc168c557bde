"""A query parameter that a route does not take is refused by its name; pages outside the API do not mind."""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import aiohttp
import pytest
from litestar.params import FromPath, FromQuery, HeaderParameter, QueryParameter
from yarl import URL

from carillon.kit.auth import Caller
from carillon.kit.errors import Unauthenticated
from carillon.kit.http.access import ANYONE, SIGNED_IN
from carillon.kit.http.app import build_app
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint
from carillon.kit.ids import uuid7
from tests.support.http import serving


@endpoint("GET", "/bells/{bell_id:uuid}", needs=SIGNED_IN, says="One bell")
async def one(bell_id: FromPath[UUID]) -> Envelope[str]:
    return Envelope("a bell")


@endpoint("GET", "/bells", needs=ANYONE, says="Bells")
async def many(
    size: FromQuery[int] = 3,
    of: Annotated[str, QueryParameter(name="from")] = "",
    agent: Annotated[str, HeaderParameter(name="User-Agent")] = "",
) -> Envelope[dict[str, Any]]:
    return Envelope({"size": size, "from": of})


@endpoint("GET", "/page", needs=ANYONE, says="A page", prefix="")
async def page() -> Envelope[str]:
    return Envelope("a page")


async def authenticate(token: str) -> Caller:
    if token != "known":
        raise Unauthenticated
    return Caller(uuid7(), "user", frozenset(), time.time() + 60)


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    app = build_app("bells", [one, many, page], authenticate=authenticate, state={}, checks={}, title="Bells")
    async with serving(app) as url, aiohttp.ClientSession(url) as session:
        yield session


async def ask(client: aiohttp.ClientSession, path: str, token: str = "known") -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"}
    async with client.get(URL(path, encoded=True), headers=headers) as answer:
        return answer.status, await answer.json()


async def test_what_a_route_takes_is_taken_by_the_name_it_has_outside(client: aiohttp.ClientSession) -> None:
    assert (await ask(client, "/v1/bells?size=5&from=a"))[1]["data"] == {"size": 5, "from": "a"}
    for path in ("/v1/bells", "/v1/bells?", "/v1/bells?&", f"/v1/bells/{uuid7()}"):
        assert (await ask(client, path))[0] == 200, path


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("colour=red", "colour"),
        ("size=5&colour=red", "colour"),
        ("of=a", "of"),
        ("Size=5", "Size"),
        ("size%20=5", "size "),
        ("agent=x", "agent"),
        ("User-Agent=x", "User-Agent"),
        ("utm_source=mail", "utm_source"),
        ("a=1&b=2", "a"),
        ("%00=1", "\x00"),
        ("x" * 5000, "x" * 100),
        ("&".join(f"p{n}=1" for n in range(5000)), "p0"),
    ],
)
async def test_anything_else_is_named_and_refused(client: aiohttp.ClientSession, query: str, field: str) -> None:
    status, body = await ask(client, f"/v1/bells?{query}")

    assert (status, body["error"], body["details"][0]["field"]) == (422, "validation_failed", field)
    assert body["details"][0]["reason"] == "Unknown here; this route takes from, size."
    assert len(body["details"]) <= 10


@pytest.mark.parametrize("query", ["%ff=1", "%ed%a0%80=1", "=", "=x", "%=1", "a[]=1", "%25ff"])
async def test_what_is_no_text_is_answered_in_the_envelope_too(client: aiohttp.ClientSession, query: str) -> None:
    status, body = await ask(client, f"/v1/bells?{query}")

    assert (status in {200, 422}, body["success"]) == (True, status == 200)


async def test_strangers_are_told_of_their_token_first(client: aiohttp.ClientSession) -> None:
    assert (await ask(client, f"/v1/bells/{uuid7()}?a=1", token="stranger"))[0] == 401
    status, body = await ask(client, f"/v1/bells/{uuid7()}?a=1")
    assert (status, body["message"]) == (422, "a: Unknown here; this route takes no query parameters.")


async def test_pages_outside_the_api_do_not_mind(client: aiohttp.ClientSession) -> None:
    for path in ("/page?utm_source=mail", "/health?probe=1"):
        assert (await ask(client, path))[0] == 200
