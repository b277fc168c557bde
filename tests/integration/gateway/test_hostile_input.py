"""Whatever is sent, the answer is a clear refusal in the envelope, never a 500."""

import asyncio
from typing import Any
from zlib import crc32

import pytest

from carillon.gateway.domain import MOST_BYTES
from tests.integration.gateway.house import House
from tests.support.fuzzing import Case, fuzz


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"notification_type": "fax"}, "notification_type"),
        ({"user_id": "me"}, "user_id"),
        ({"template_code": "UPPER"}, "template_code"),
        ({"template_code": "a\n"}, "template_code"),
        ({"variables": []}, "variables"),
        ({"variables": {"link": "https://example.com"}}, "variables.name"),
        ({"variables": {"name": "Ada", "link": "example.com"}}, "variables.link"),
        ({"variables": {"name": "Ada", "link": "https://example.com", "meta": 1}}, "variables.meta"),
        ({"variables": {"name": "\0", "link": "https://example.com"}}, "variables"),
        ({"variables": {"name": "x" * MOST_BYTES, "link": "https://example.com"}}, "variables"),
        ({"metadata": {"a": "\0"}}, "metadata"),
        ({"metadata": {"a\0": 1}}, "metadata"),
        ({"metadata": nested(200)}, "metadata"),
        ({"metadata": [1]}, "metadata"),
        ({"request_id": ""}, "request_id"),
        ({"request_id": "a\0b"}, "request_id"),
        ({"request_id": "a\n"}, "request_id"),
        ({"request_id": "x" * 201}, "request_id"),
        ({"request_id": 7}, "request_id"),
        ({"priority": 0}, "priority"),
        ({"priority": 11}, "priority"),
        ({"priority": "5"}, "priority"),
        ({"category": "Bad Category"}, "category"),
        ({"colour": "red"}, "colour"),
        ({"send_at": "9000-01-01T00:00:00Z"}, "send_at"),
        ({"send_at": "9999-12-31T23:59:59-23:59"}, "send_at"),
        ({"send_at": "0001-01-01T00:00:00+23:59"}, "send_at"),
        ({"send_at": "tomorrow"}, "send_at"),
        ({"send_at": "2026-02-30T00:00:00Z"}, "send_at"),
        ({"send_at": "2026-01-01T00:00:00+99:00"}, "send_at"),
        ({"send_at": ""}, "send_at"),
        ({"send_at": 1893456000}, "send_at"),
        ({"send_at": 1e300}, "send_at"),
        ({"send_at": True}, "send_at"),
        ({"send_at": ["2026-01-01T00:00:00Z"]}, "send_at"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2001-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+23:59"}, "expires_at"),
        ({"expires_at": "2026-01-01"}, "expires_at"),
        ({"expires_at": {}}, "expires_at"),
        ({"send_at": "2001-01-02T00:00:00Z", "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"send_at": "9000-01-01T00:00:00Z", "expires_at": "9000-01-01T00:00:00Z"}, "expires_at"),
    ],
)
async def test_a_request_that_breaks_a_rule_is_refused_by_the_field(
    house: House, change: dict[str, Any], field: str
) -> None:
    answer = await house.post({**house.body(), **change})

    assert (answer.status, answer.body["error"]) == (422, "validation_failed"), answer.body
    assert answer.body["details"][0]["field"] == field
    assert await house.count("idempotency_keys") == 0
    assert (await house.call("POST", "/notifications/dry_run", json={**house.body(), **change})).status == 422


@pytest.mark.parametrize("metadata", [{"n": 10**300, "f": 1e300, "l": [[], {}, None, True]}, {}])
async def test_any_plain_json_is_kept_as_it_came(house: House, metadata: dict[str, Any]) -> None:
    metadata = {**metadata, "s": "ü😀\u2028\u202e"}
    key = await house.accepted(metadata=metadata)

    assert (await house.call("GET", f"/notifications/{key}")).data["metadata"] == metadata


async def test_a_lone_surrogate_and_broken_json_are_no_server_errors(house: House) -> None:
    headers = {"Authorization": f"Bearer {house.token}", "Content-Type": "application/json"}
    for body in (b'{"request_id": "\\ud800"}', b'{"request_id": "\xed\xa0\x80"}', b"[" * 100_000, b"{", b"", b"null"):
        async with house.session.post("/v1/notifications/", data=body, headers=headers) as answer:
            said = await answer.json()
            assert (answer.status, said["success"]) in {(400, False), (422, False)}, body


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_every_spelling_takes_a_notification_without_a_redirect(house: House, prefix: str, slash: str) -> None:
    headers = {"Authorization": f"Bearer {house.token}"}
    url = f"{prefix}/notifications{slash}"
    async with house.session.post(url, json=house.body(), headers=headers, allow_redirects=False) as answer:
        assert answer.status == 202


async def test_who_may_not_send_is_told(house: House) -> None:
    reader = house.around.callers.token("notifications:read")

    assert (await house.post(token=reader)).status == 403
    assert (await house.post(token="nobody")).status == 401


@pytest.mark.timeout(240)
async def test_fuzzing_finds_no_500_and_no_undocumented_answer(house: House) -> None:
    everything = house.around.callers.token("notifications:*", kind="service")
    key = (await house.post(token=everything)).data["notification_id"]

    def lead_to_it(case: Case) -> None:
        """Half of the ids are ones that exist."""
        if "notification_id" in case.path_parameters and crc32(str(case.path_parameters).encode()) % 2:
            case.path_parameters["notification_id"] = key

    address = f"{house.url}/openapi.json"
    await asyncio.to_thread(fuzz, address, token=everything, examples=12, prepare=lead_to_it)
