"""Every method has an answer, and the OpenAPI document says what the code does."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, ClassVar
from uuid import UUID

import aiohttp
import msgspec
import pytest
from litestar.params import FromPath, JSONBody

from carillon.kit.auth import Caller
from carillon.kit.errors import Unauthenticated
from carillon.kit.http.access import ANYONE, SIGNED_IN
from carillon.kit.http.app import build_app
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.front_door import FrontDoor
from carillon.kit.http.routing import endpoint
from carillon.kit.service import Running, Service
from tests.support.http import serving

Word = Annotated[str, msgspec.Meta(pattern=r"\A[a-z]+\Z")]


class Bell(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    EXAMPLES: ClassVar[Any] = ({"name": "bourdon"},)

    name: Word
    tones: Annotated[dict[Word, int], msgspec.Meta(max_length=12)] = {}


@endpoint("GET", "/bells/{bell_id:uuid}", needs=ANYONE, says="One bell")
async def read(bell_id: FromPath[UUID]) -> Envelope[UUID]:
    return Envelope(bell_id)


@endpoint("PUT", "/bells/{bell_id:uuid}", needs=SIGNED_IN, says="Cast a bell", errors=(429,))
async def cast(bell_id: FromPath[UUID], data: JSONBody[Bell]) -> Envelope[UUID]:
    del data
    return Envelope(bell_id)


async def nobody(token: str) -> Caller:
    raise Unauthenticated(token)


def running(name: str, *routes: Any) -> tuple[Service, Running]:
    app = build_app(name, routes, authenticate=nobody, state={}, checks={}, title=name)
    return Service(name, lambda: pytest.fail("it is open"), (f"/api/v1/{name}",)), Running(app)


@pytest.fixture(params=["alone", "behind the front door"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[aiohttp.ClientSession]:
    bells = running("bells", read, cast)
    app = bells[1].app if request.param == "alone" else FrontDoor([bells, running("clocks")])
    async with serving(app) as url, aiohttp.ClientSession(url) as session:
        yield session


BELL = "/v1/bells/01900000-0000-7000-8000-000000000000/"


async def test_options_tells_anyone_every_method(client: aiohttp.ClientSession) -> None:
    async with client.options(BELL) as answer:
        assert answer.status == 204
        assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, PUT"
    async with client.options("/health") as answer:
        assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"


async def test_a_method_that_is_not_taken_is_405_with_those_that_are(client: aiohttp.ClientSession) -> None:
    for path, allowed in ((BELL, "GET, HEAD, OPTIONS, PUT"), ("/health", "GET, HEAD, OPTIONS")):
        for method in ("DELETE", "TRACE"):
            async with client.request(method, path) as answer:
                body = await answer.json()
                assert (answer.status, body["error"], answer.headers["Allow"]) == (405, "method_not_allowed", allowed)


async def test_head_is_a_get_without_a_body(client: aiohttp.ClientSession) -> None:
    for path in (BELL, "/health", "/openapi.json", "/docs"):
        async with client.get(path) as whole, client.head(path) as head:
            assert (head.status, await head.read()) == (200, b"")
            assert head.headers["Content-Length"] == whole.headers["Content-Length"]


async def test_every_answer_has_a_correlation_id(client: aiohttp.ClientSession) -> None:
    for path in ("/health", "/nothing", BELL):
        async with client.get(path, headers={"X-Correlation-ID": "mine-1"}) as answer:
            assert answer.headers["X-Correlation-ID"] == "mine-1"


@pytest.fixture
async def document(client: aiohttp.ClientSession) -> dict[str, Any]:
    async with client.get("/openapi.json") as answer:
        found: dict[str, Any] = await answer.json()
        return found


async def test_the_document_shows_bodies_with_all_their_bounds_and_examples(document: dict[str, Any]) -> None:
    shape = document["components"]["schemas"]["Bell"]

    assert shape["additionalProperties"] is False
    assert shape["properties"]["tones"]["maxProperties"] == 12
    assert shape["examples"] == [{"name": "bourdon"}]


async def test_patterns_in_the_document_are_not_pythons_own(document: dict[str, Any]) -> None:
    shape = document["components"]["schemas"]["Bell"]

    assert shape["properties"]["name"]["pattern"] == "^[a-z]+$"
    assert shape["properties"]["tones"]["propertyNames"]["pattern"] == "^[a-z]+$"


async def test_the_document_names_the_headers_of_refusals_and_says_what_is_open(document: dict[str, Any]) -> None:
    bell = document["paths"]["/api/v1/bells/{bell_id}"]

    assert (bell["get"]["security"], bell["put"]["security"]) == ([], [{"bearer": []}])
    assert set(bell["put"]["responses"]["429"]["headers"]) == {
        "X-Correlation-ID", "Retry-After", "RateLimit", "RateLimit-Policy",
    }  # fmt: skip
    assert set(bell["put"]["responses"]["401"]["headers"]) == {"X-Correlation-ID", "WWW-Authenticate"}


async def test_the_document_of_several_services_tells_the_health_of_each(client: aiohttp.ClientSession) -> None:
    async with client.get("/openapi.json") as answer, client.get("/health") as health:
        schema = (await answer.json())["paths"]["/health"]["get"]["responses"]["200"]["content"]["application/json"]
        several = "bells" in (await health.json())["data"]

    assert ("dict" in schema["schema"]["$ref"]) is several
