"""Every error of every route wears the envelope; one path for all spellings; strict JSON in."""

import asyncio
import contextlib
import io
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import aiohttp
import msgspec
import pytest
from litestar.params import FromPath, FromQuery, JSONBody

from carillon.kit.auth import Caller
from carillon.kit.errors import Conflict, Unauthenticated
from carillon.kit.http.access import ANYONE, SIGNED_IN, ApiRequest
from carillon.kit.http.app import build_app
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint
from carillon.kit.ids import uuid7
from tests.support.http import serving

Label = Annotated[str, msgspec.Meta(pattern=r"\A[a-z]+\Z", description="Lower-case letters")]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    label: Label | None = None


class Thing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, msgspec.Meta(ge=1)]
    name: str = "thing"
    note: Annotated[str, msgspec.Meta(pattern=r"\A[^\x00]*\Z")] = ""
    parts: list[Part] = []
    votes: dict[Label, bool] = {}


@endpoint("POST", "/things", needs="things:write", says="Make a thing", status=201, errors=(409,))
async def make(request: ApiRequest, data: JSONBody[Thing]) -> Envelope[Thing]:
    if data.name == "taken":
        raise Conflict("That name is taken.")
    if data.name == "crash":
        raise RuntimeError("secret detail")
    return Envelope(data, "made")


@endpoint("GET", "/things/{thing_id:uuid}", needs=SIGNED_IN, says="One thing", errors=(404,))
async def read(request: ApiRequest, thing_id: FromPath[UUID], size: FromQuery[int] = 3) -> Envelope[dict[str, Any]]:
    return Envelope({"id": thing_id, "size": size, "caller": request.auth.caller_id})


@endpoint("GET", "/open", needs=ANYONE, says="Open to all")
async def open_to_all() -> Envelope[str]:
    return Envelope("hello")


OWNER = uuid7()
POST = b"POST /v1/things HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer writer\r\nContent-Type: application/json\r\n"


async def authenticate(token: str) -> Caller:
    if token not in {"reader", "writer"}:
        raise Unauthenticated
    held = frozenset({"things:*"}) if token == "writer" else frozenset[str]()
    return Caller(OWNER, "user", held, time.time() + 60)


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    app = build_app("things", [make, read, open_to_all], authenticate=authenticate, state={}, checks={}, title="Things")
    async with serving(app) as url, aiohttp.ClientSession(url, headers={"Authorization": "Bearer writer"}) as session:
        yield session


async def test_all_spellings_of_a_path_are_the_same_route(client: aiohttp.ClientSession) -> None:
    for path in ("/api/v1/open", "/api/v1/open/", "/v1/open", "/v1/open/"):
        async with client.get(path, allow_redirects=False) as answer:
            assert answer.status == 200
            assert await answer.json() == {
                "success": True,
                "message": "ok",
                "data": "hello",
                "meta": {
                    "total": 1,
                    "limit": 1,
                    "page": 1,
                    "total_pages": 1,
                    "has_next": False,
                    "has_previous": False,
                },
            }


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_json"),
        (b"", "application/json", 400, "malformed_json"),
        (b"\xff\xfe", "application/json", 400, "malformed_json"),
        (b'{"size": "5"}', "application/json", 422, "validation_failed"),
        (b'{"size": 0}', "application/json", 422, "validation_failed"),
        (b'{"size": 1, "colour": "red"}', "application/json", 422, "validation_failed"),
        (b'{"size": "5"', "application/json", 400, "malformed_json"),
        (b'{"size": "5"} {}', "application/json", 400, "malformed_json"),
        (b'{"tree": ' + b"[" * 100_000, "application/json", 400, "malformed_json"),
        (b'{"tree": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "application/json", 400, "malformed_json"),
        (b"size=1", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b'{"size": 1}', "text/plain", 415, "unsupported_media_type"),
        (b" " * ((1 << 20) - 10) + b'{"size": 1}', "application/json", 413, "body_too_large"),
        (b'{"size": 1, "name": "taken"}', "application/json", 409, "conflict"),
        (b'{"size": 1, "name": "crash"}', "application/json", 500, "internal_error"),
    ],
)
async def test_a_bad_body_gets_its_status_in_the_envelope(
    client: aiohttp.ClientSession, body: bytes, content_type: str, status: int, code: str
) -> None:
    async with client.post("/v1/things/", data=io.BytesIO(body), headers={"Content-Type": content_type}) as answer:
        said = await answer.json()
    assert (answer.status, said["success"], said["error"]) == (status, False, code)
    assert said["message"]
    assert "secret" not in str(said)
    assert "meta" not in said


async def test_a_field_problem_names_the_field(client: aiohttp.ClientSession) -> None:
    async with client.post("/v1/things", json={"size": 0}) as answer:
        assert (await answer.json())["details"][0]["field"] == "size"
    async with client.post("/v1/things", json={}) as answer:
        assert (await answer.json())["details"][0]["field"] == "size"
    async with client.get(f"/v1/things/{OWNER}?size=x") as answer:
        said = await answer.json()
        assert (answer.status, said["error"], said["details"][0]["field"]) == (422, "validation_failed", "size")


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        (b'{"size": "5"}', "size", "Expected `int`, got `str`"),
        (b'{"size": 1, "note": "\\u0000"}', "note", "has characters that are not allowed here"),
        (b'{"size": 1, "parts": [{}, {"label": "A"}]}', "parts[1].label", "Expected: Lower-case letters"),
        (b'{"size": 1, "votes": {"A": true}}', "votes", "Expected: Lower-case letters"),
    ],
)
async def test_a_field_problem_is_told_in_words_and_not_as_a_pattern(
    client: aiohttp.ClientSession, body: bytes, field: str, reason: str
) -> None:
    async with client.post("/v1/things", data=body, headers={"Content-Type": "application/json"}) as answer:
        said = await answer.json()
    assert said["details"] == [{"field": field, "reason": reason}]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"size": 1, "name": "\xff"}', "the body is not UTF-8 text"),
        (b'{"colour": "\xff"}', "the body is not UTF-8 text"),
        (b"\xff\xfe", "the body is not UTF-8 text"),
        (b'{"tree": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"size": 1} {}', "JSON is malformed: trailing characters (byte 13)"),
    ],
)
async def test_a_body_that_is_no_json_is_told_why(client: aiohttp.ClientSession, body: bytes, reason: str) -> None:
    async with client.post("/v1/things", data=body, headers={"Content-Type": "application/json"}) as answer:
        assert (await answer.json())["message"] == f"The body is not valid JSON: {reason}"


async def test_a_chunked_body_over_the_limit_is_refused(client: aiohttp.ClientSession) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    async with client.post("/v1/things", data=chunks(), headers={"Content-Type": "application/json"}) as answer:
        assert (answer.status, (await answer.json())["error"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nowhere", 404, "not_found"),
        ("GET", "/v1/things/not-a-uuid", 404, "not_found"),
        ("PATCH", "/v1/things", 405, "method_not_allowed"),
        ("GET", "/../etc/passwd", 404, "not_found"),
    ],
)
async def test_an_address_without_a_route_answers_in_the_envelope(
    client: aiohttp.ClientSession, method: str, path: str, status: int, code: str
) -> None:
    async with client.request(method, path) as answer:
        said = await answer.json()
    assert (answer.status, said["success"], said["error"]) == (status, False, code)


async def test_a_route_asks_for_the_permission_it_needs(client: aiohttp.ClientSession) -> None:
    for header, status in (
        ("", 401),
        ("Bearer", 401),
        ("Bearer wrong", 401),
        ("Basic writer", 401),
        ("Bearer reader", 403),
    ):
        async with client.post("/v1/things", json={"size": 1}, headers={"Authorization": header}) as answer:
            assert answer.status == status, header
            assert (await answer.json())["success"] is False
    async with client.post("/v1/things", json={"size": 1}) as answer:
        assert answer.status == 201


async def test_a_correlation_id_is_taken_or_made_and_returned(client: aiohttp.ClientSession) -> None:
    async with client.get("/v1/open", headers={"X-Correlation-ID": "mine-1"}) as answer:
        assert answer.headers["X-Correlation-ID"] == "mine-1"
    async with client.get("/v1/open", headers={"X-Correlation-ID": "not acceptable: spaces"}) as answer:
        made = answer.headers["X-Correlation-ID"]
        assert made
        assert made != "not acceptable: spaces"


async def test_system_routes_need_no_token(client: aiohttp.ClientSession) -> None:
    for path in ("/health", "/ready", "/metrics", "/openapi.json", "/docs"):
        async with client.get(path, headers={"Authorization": ""}) as answer:
            assert answer.status == 200, path


async def test_methods_that_nobody_knows_are_measured_as_one(client: aiohttp.ClientSession) -> None:
    for method in ("PROPFIND", "MKCOL", "PURGE"):
        async with client.request(method, "/api/v1/open") as answer:
            assert answer.status == 405
    async with client.get("/metrics") as answer:
        told = await answer.text()
    assert 'method="other"' in told
    assert 'method="PROPFIND"' not in told


async def test_the_document_lists_every_failure_a_route_declares(client: aiohttp.ClientSession) -> None:
    async with client.get("/openapi.json") as answer:
        document = await answer.json()
    responses = document["paths"]["/api/v1/things"]["post"]["responses"]
    assert set(responses) == {"201", "400", "401", "403", "409", "413", "415", "422", "429", "500", "503"}
    assert document["paths"]["/api/v1/things"]["post"]["requestBody"]["required"] is True


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n"])
async def test_what_is_no_http_is_answered_in_the_envelope(client: aiohttp.ClientSession, sent: bytes) -> None:
    address = client._base_url
    assert address is not None
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(sent)
    async with asyncio.timeout(5):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["error"] == "bad_request"


@contextlib.asynccontextmanager
async def raw(client: aiohttp.ClientSession) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    address = client._base_url
    assert address is not None
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        writer.close()


async def test_headers_without_end_are_refused_and_the_connection_closed(client: aiohttp.ClientSession) -> None:
    async with raw(client) as (reader, writer):
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        for _ in range(9):
            writer.write(b"X-More: " + b"a" * 8_000 + b"\r\n")
            await asyncio.sleep(0)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431")
    assert b"x-correlation-id: " in head
    assert json.loads(body)["error"] == "headers_too_large"


@pytest.mark.parametrize("begun", [b"", b"GET /health HTT", POST + b"Content-Length: 9\r\n\r\n{"])
async def test_a_request_that_is_never_finished_is_ended(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr("carillon.kit.http.protocol.PATIENCE", 0.2)
    async with raw(client) as (reader, writer):
        writer.write(begun)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert json.loads(body)["error"] == "request_timeout"


async def test_a_body_in_two_pieces_is_waited_for(client: aiohttp.ClientSession) -> None:
    async with raw(client) as (reader, writer):
        writer.write(POST + b'Content-Length: 11\r\n\r\n{"size"')
        await asyncio.sleep(0.05)
        writer.write(b": 1}")
        assert (await reader.readline()).startswith(b"HTTP/1.1 201")


async def test_a_client_that_hangs_up_in_its_body_is_no_crash_of_ours(
    client: aiohttp.ClientSession, capfd: pytest.CaptureFixture[str]
) -> None:
    async with raw(client) as (_, writer):
        writer.write(POST + b'Content-Length: 50\r\n\r\n{"size":')
        await writer.drain()
    async with client.get("/v1/open") as answer:
        assert answer.status == 200
    said = capfd.readouterr()
    assert "request_crashed" not in said.out + said.err
