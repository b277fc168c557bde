"""The reference that is made from the code says what the code says, and the description of the messages is AsyncAPI."""

import json
import re
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema_rs
import msgspec
import pytest

from carillon.contracts.channels import topology
from carillon.contracts.messages import DeliveriesReported, DeliveryReported, DeliveryRequested, Step
from carillon.contracts.users import UserChanged, UserErased
from carillon.settings_table import rows
from tests.documents import asyncapi, http_table
from tests.documents.generated import RENEW
from tests.documents.reading import ROOT, document
from tests.documents.reference import DESCRIPTION, MADE, outdated
from tests.support.node import NPM

SPECIFICATIONS = "@asyncapi/specs@6.11.1"
_KIND = re.compile(r":\w+(?=})")
_ID, _NOW = UUID(int=1), datetime(2030, 1, 31, tzinfo=UTC)
_STEP = Step(key="1.1.delivered", kind="delivered", at=_NOW, provider="smtp", detail={"code": 250})
_REPORT = DeliveryReported(notification_id=_ID, generation=1, rank=3_000, status="delivered", steps=[_STEP])
_SENT = DeliveryRequested(
    notification_id=_ID,
    generation=1,
    channel="email",
    user_id=_ID,
    template_code="welcome",
    variables={"name": "Ada", "link": "https://example.com"},
    priority=5,
    accepted_at=_NOW,
    correlation_id="c-1",
)
_EXAMPLES = (_SENT, DeliveriesReported([_REPORT]), UserErased(_ID), UserChanged(user_id=_ID, version=2))


def test_what_is_made_from_the_code_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RENEW, raising=False)

    assert outdated() == [], "run `make docs-reference`"


def test_every_setting_has_a_line_with_what_it_does() -> None:
    lines = document("docs/reference/settings.md").text.splitlines()
    told = {line.split("`")[1]: line.split(" | ")[2].strip("| ") for line in lines if line.startswith("| `CARILLON_")}

    assert [found.name for _, found in rows() if not told.get(found.name)] == []


def test_every_route_that_a_service_declares_has_a_line() -> None:
    text = document("docs/reference/http.md").text
    declared = {
        f"| `{method} {_KIND.sub('', path)}` |"
        for handlers in http_table.HANDLERS.values()
        for handler in handlers
        for path in handler.paths
        for method in handler.http_methods
        if handler.resolve_include_in_schema()
    }

    assert len(declared) > 80
    assert [route for route in sorted(declared) if route not in text] == []


def test_every_queue_of_the_broker_is_described() -> None:
    told = json.loads((ROOT / DESCRIPTION).read_text())

    assert set(told["channels"]) == {*topology().all_queues, topology().topics_exchange}


@pytest.mark.parametrize("message", _EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_that_is_sent_fits_its_description(message: msgspec.Struct) -> None:
    schema = _schema_of(type(message).__name__)
    body = json.loads(msgspec.json.encode(message))

    jsonschema_rs.validate(schema, body)
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(schema, {name: value for name, value in body.items() if name != next(iter(body))})


@pytest.mark.slow
def test_the_description_is_asyncapi_by_its_own_schema(tmp_path: Path) -> None:
    schema, told = _specification(tmp_path), json.loads((ROOT / DESCRIPTION).read_text())

    jsonschema_rs.validate(schema, told)
    for broken in ({**told, "asyncapi": "1.0"}, {**told, "channels": {"a": {"address": 1}}}):
        with pytest.raises(jsonschema_rs.ValidationError):
            jsonschema_rs.validate(schema, broken)


def test_pages_that_are_made_are_linked_from_the_contents() -> None:
    contents = document("docs/reference/README.md").text

    assert [name for name in MADE if f"]({Path(name).name})" not in contents] == []


def _schema_of(name: str) -> dict[str, Any]:
    components = asyncapi.described()["components"]
    return {**components["messages"][name]["payload"], "components": components}


def _specification(folder: Path) -> Any:
    """The schema of AsyncAPI 3.0, out of the package of its makers."""
    fetched = subprocess.run(
        [*NPM, "pack", "--silent", "--ignore-scripts", SPECIFICATIONS],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert fetched.returncode == 0, f"npm pack {SPECIFICATIONS}: {fetched.stderr}"
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        packed = archive.extractfile("package/schemas/3.0.0-without-$id.json")
        assert packed is not None
        return json.load(packed)
