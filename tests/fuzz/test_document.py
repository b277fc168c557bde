"""The OpenAPI document is complete: a client can be written from it alone."""

import json
import re
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import aiohttp
import pytest

import carillon.gateway.routes
import carillon.simulators.routes
import carillon.templates.routes
import carillon.users.app
from carillon.kit.auth import Caller
from carillon.kit.errors import Unauthenticated
from carillon.kit.http import front_door
from carillon.kit.http.app import build_app
from tests.fuzz.conftest import administrator
from tests.support.platform import Platform

WITHOUT_ENVELOPE = {"/.well-known/jwks.json", "/api/v1/.well-known/jwks.json"}
EMPTY = {"304"}
ERROR = "#/components/schemas/ErrorEnvelope"
ERROR_WITH_DATA = "#/components/schemas/ErrorWithData_"


class Operation(NamedTuple):
    method: str
    path: str
    told: dict[str, Any]


@pytest.fixture(scope="module")
def document(platform: Platform) -> dict[str, Any]:
    with urllib.request.urlopen(f"{platform.gateway}/openapi.json", timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> list[Operation]:
    return [
        Operation(method.upper(), path, told)
        for path, methods in document["paths"].items()
        for method, told in methods.items()
    ]


def resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return found
    return schema


def test_every_operation_says_what_it_does_and_whom_it_lets_in(
    operations: list[Operation], document: dict[str, Any]
) -> None:
    schemes = document["components"]["securitySchemes"]
    assert len(operations) > 40
    for operation in operations:
        assert operation.told["summary"], operation
        assert operation.told["tags"], operation
        assert operation.told["security"] in ([], [{name: []} for name in schemes]), operation
        assert ("401" in operation.told["responses"]) >= bool(operation.told["security"]), operation


def test_every_status_has_the_shape_of_the_envelope(operations: list[Operation], document: dict[str, Any]) -> None:
    checked = 0
    for operation in operations:
        for status, response in operation.told["responses"].items():
            if operation.path in WITHOUT_ENVELOPE or status in EMPTY:
                continue
            schema = response["content"]["application/json"]["schema"]
            if status >= "400":
                assert schema["$ref"] == ERROR or schema["$ref"].startswith(ERROR_WITH_DATA), (operation, status)
            else:
                assert {"success", "message", "data", "meta"} <= set(resolved(schema, document)["properties"])
            checked += 1
    assert checked > 300
    assert {"success", "error", "message", "details"} == set(resolved({"$ref": ERROR}, document)["properties"])


def test_every_request_body_has_bounds_and_examples(operations: list[Operation], document: dict[str, Any]) -> None:
    for operation in operations:
        if "requestBody" in operation.told:
            schema = operation.told["requestBody"]["content"]["application/json"]["schema"]
            shape = resolved(schema, document)
            assert shape["additionalProperties"] is False, operation
            assert shape["examples"], operation


def test_every_pattern_is_one_that_javascript_reads(document: dict[str, Any]) -> None:
    patterns = re.findall(r'"pattern": "((?:[^"\\]|\\.)*)"', json.dumps(document))

    assert len(patterns) > 20
    assert [p for p in patterns if re.search(r"\\\\[AZz]|\(\?P|\(\?[a-z]", p)] == []


async def test_every_example_is_taken_as_it_stands(
    platform: Platform, operations: list[Operation], document: dict[str, Any], callers: Mapping[str, str]
) -> None:
    async with aiohttp.ClientSession(platform.gateway) as session:
        for operation, example in _examples(operations, document):
            worker = "/status" in operation.path
            token = callers["email_worker"] if worker else await administrator(platform)  # who was logged out is nobody
            path = _filled(operation.path, platform.credentials["admin_user_id"])
            headers = {"Authorization": f"Bearer {token}"}
            async with session.request(operation.method, path, json=example, headers=headers) as answer:
                assert answer.status not in {400, 405, 413, 415, 422}, (path, example, await answer.text())


def _examples(operations: list[Operation], document: dict[str, Any]) -> Iterator[tuple[Operation, Any]]:
    for operation in operations:
        for content in operation.told.get("requestBody", {}).get("content", {}).values():
            for example in resolved(content["schema"], document)["examples"]:
                yield operation, example


def _filled(path: str, user_id: str) -> str:
    named = {"code": "welcome", "number": "1", "request_id": "unknown"}
    return re.sub(r"{(\w+)}", lambda found: named.get(found[1], user_id), path)


async def test_every_path_answers_under_both_prefixes_with_and_without_a_slash(
    platform: Platform, operations: list[Operation]
) -> None:
    """OPTIONS tells which methods an address takes and changes nothing; it needs no token."""
    async with aiohttp.ClientSession(platform.gateway) as session:
        for path in sorted({operation.path for operation in operations}):
            methods = {operation.method for operation in operations if operation.path == path}
            for spelled in _spellings(_filled(path, "01a1d1a0-0000-7000-8000-000000000001")):
                async with session.options(spelled, allow_redirects=False) as answer:
                    assert answer.status == 204, spelled
                    assert methods <= set(answer.headers["Allow"].split(", ")), spelled


async def test_every_reading_path_answers_the_same_in_every_spelling(
    platform: Platform, operations: list[Operation], callers: Mapping[str, str]
) -> None:
    headers = {"Authorization": f"Bearer {callers['administrator']}"}
    user_id = platform.credentials["admin_user_id"]
    async with aiohttp.ClientSession(platform.gateway, headers=headers) as session:
        for operation in (found for found in operations if found.method == "GET"):
            answers = set()
            for spelled in _spellings(_filled(operation.path, user_id)):
                async with session.get(spelled, allow_redirects=False) as answer:
                    answers.add(answer.status)
            assert len(answers) == 1, operation
            assert str(answers.pop()) in operation.told["responses"]


def _spellings(path: str) -> list[str]:
    prefixes = [path, path.removeprefix("/api")] if path.startswith("/api/") else [path]
    return [spelled + slash for spelled in prefixes for slash in ("", "/")]


async def test_services_that_share_a_name_in_the_document_mean_the_same_by_it() -> None:
    services = {
        "users": carillon.users.app.HANDLERS,
        "templates": carillon.templates.routes.ROUTES,
        "gateway": carillon.gateway.routes.ROUTES,
        "simulators": carillon.simulators.routes.ROUTES,
    }
    meant: dict[str, Any] = {}
    for name, routes in services.items():
        app = build_app(name, routes, authenticate=_nobody, state={}, checks={}, title=name)
        told = json.loads(await front_door._ask(app, "/openapi.json"))
        assert told["info"]["title"] == name
        for word, schema in told["components"]["schemas"].items():
            assert meant.setdefault(word, schema) == schema, word


async def _nobody(token: str) -> Caller:
    raise Unauthenticated(token)
