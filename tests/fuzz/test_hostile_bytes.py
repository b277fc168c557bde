"""What no well-behaved client sends: broken encodings, absurd numbers, depth, doubled names. Never a 500."""

import asyncio
import itertools
import json
from collections.abc import Mapping

import pytest

from tests.support.client import connected
from tests.support.platform import Platform
from tests.support.waiting import eventually

PATHS = [
    *(f"/users?name={text}" for text in ("%ff", "%ed%a0%80", "%00", "")),
    *(f"/users?page={text}" for text in ("", "%D9%A1", "1_0", "1e400", "9" * 5000, "-1", "NaN", "1&page=2")),
    *(f"/users/{text}" for text in ("%ff", "%00", "x" * 9000, "%2e%2e/%2e%2e")),
    *(f"/templates/{text}" for text in ("%ff", "%ed%a0%80", "%00", "a%2fb", "/versions", "..", "'")),
    *(f"/templates/welcome/versions/{text}" for text in ("%D9%A1", "+1", "1e1", "9" * 5000, "2147483648", "-0")),
    *(f"/templates/welcome/published?channel=email&language={text}" for text in ("%ff", "%00", "")),
    *(f"/notifications/request/{text}" for text in ("%ff", "%ed%a0%80", "%00", "", "a//b", "a%2Fb%3F", "x" * 9000)),
    *(
        f"/notifications?created_from={text}"
        for text in (
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00%2B14:00",
            "9999-12-31T23:59:59-14:00",
            "9999-12-31T23:59:60Z",
            "1e400",
            "",
        )
    ),
    *(f"/notifications?{name}=%ff%00" for name in ("user_id", "status", "template_code", "notification_type")),
    "/notifications?page=1000000&limit=100",
    "/users?" + "a=1&" * 10_000,
]
SYSTEM_PATHS = ["//", "/%", "/%zz", "/health?%ff", "/v1", "/api/v1/", "/mailbox/messages?to=%ff", "/mailbox?page=%ff"]
HEADERS = [
    (b"Authorization", b"Bearer \xff\xfe"),
    (b"Authorization", b"Bearer"),
    (b"Authorization", b"Bearer " + b"x" * 20_000),
    (b"Authorization", b"Bearer crl_" + b"0" * 32 + b"_" + b"x" * 51),
    (b"Authorization", b"Bearer eyJhbGciOiJub25lIn0.e30."),
    (b"X-Correlation-ID", b"\xff\xfe"),
    (b"If-None-Match", b"\xff"),
    (b"Cookie", b"\xff=\xfe;;="),
    (b"Accept", b"\xff"),
]
BODIES = [
    b"", b" ", b"\x00", b"\xff", b'"\xed\xa0\x80"', b"\xef\xbb\xbf{}", b"null", b"[]", b"0", b"{}", b"{}{}", b"{} x",
    b"NaN", b'{"a":NaN}', b"Infinity", b"1e999", b"-", b"9" * 5000, b"[" * 100_000, b'{"a":' * 100_000,
    b'{"email":"\\ud800"}', b'{"email":"\\u0000"}', b'{"\\ud800":1}', b'{"\\u0000":1}', b'{"name":"a","name":"b"}',
]  # fmt: skip
TAKE_BODIES = [
    "POST /users", "POST /auth/login", "POST /contacts", "POST /users/contacts", "PUT /users/{id}/preferences",
    "PATCH /users/{id}/preferences", "PUT /users/{id}/push_token", "POST /templates", "PATCH /templates/welcome",
    "POST /templates/welcome/versions", "POST /templates/welcome/preview", "POST /notifications",
    "POST /notifications/dry_run", "POST /email/status",
]  # fmt: skip
VALUES = [
    "1e999", "-1e999", "1e-999", "9" * 400, "-" + "9" * 400, "9" * 5000, "1e131071", "0." + "0" * 16_400 + "1", "-0.0",
    "18446744073709551616", '"\\u0000"', '"\\ud800"', '"\\udfff\\ud800"', '{"\\u0000":1}', '{"\\ud800":1}',
    "[" * 15 + "]" * 15, "[" * 200 + "]" * 200, '{"a":' * 3000 + "1" + "}" * 3000, f'"{"x" * 140_000}"', '"\\u202e"',
    '{"":{"":""}}', '{"a":1,"a":2}',
]  # fmt: skip
FREE_FORM = {
    "POST /notifications": '{"notification_type":"email","user_id":"%(id)s","template_code":"welcome",'
    '"variables":{"name":"A","link":"https://example.com","a":%(value)s},"request_id":"%(n)s","metadata":{"a":%(value)s}}',
    "POST /notifications/dry_run": '{"notification_type":"email","user_id":"%(id)s","template_code":"welcome",'
    '"variables":{"name":"A","link":"https://example.com","a":%(value)s},"request_id":"%(n)s"}',
    "POST /contacts": '{"email":"c%(n)s@example.com","attributes":{"a":%(value)s}}',
    "POST /templates/welcome/preview": '{"variables":{"name":%(value)s,"link":"x"},"version":%(value)s}',
    "PUT /users/{id}/preferences": '{"email":true,"push":true,"categories":{"a":%(value)s}}',
    "POST /email/status": '{"notification_id":%(value)s,"status":"failed","error":%(value)s}',
}
Header = tuple[bytes, bytes]


async def spoken(
    platform: Platform, target: str, *, token: str = "", body: bytes | None = None, header: Header | None = None
) -> None:
    """Send bytes that no client library would; the answer has to be a refusal or a success, in JSON."""
    method, _, path = target.partition(" ")
    host, _, port = platform.gateway.removeprefix("http://").partition(":")
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: x", b"Connection: close"]
    if token and (header is None or header[0] != b"Authorization"):
        lines.append(b"Authorization: Bearer " + token.encode())
    if header is not None:
        lines.append(header[0] + b": " + header[1])
    if body is not None:
        lines += [b"Content-Type: application/json", f"Content-Length: {len(body)}".encode()]
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + (body or b""))
            head, _, said = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
    status, shown = int(head.split(b" ")[1]), (target[:200], (body or b"")[:200], header)
    assert status < 500, (status, shown, said)
    assert not 300 <= status < 400, (status, shown)
    if b"text/html" not in head:
        assert json.loads(said)["success"] is (status < 400), (status, shown, said)


async def test_broken_paths_and_queries(platform: Platform, callers: Mapping[str, str]) -> None:
    token = callers["administrator"]
    for path in [*(f"/api/v1{path}" for path in PATHS), *SYSTEM_PATHS]:
        await spoken(platform, f"GET {path}", token=token)


async def test_broken_headers(platform: Platform, callers: Mapping[str, str]) -> None:
    for header, path in itertools.product(HEADERS, ("/templates/welcome/published?channel=email", "/users/me")):
        await spoken(platform, f"GET /api/v1{path}", token=callers["administrator"], header=header)


@pytest.mark.parametrize("operation", TAKE_BODIES)
async def test_broken_bodies(platform: Platform, callers: Mapping[str, str], operation: str) -> None:
    token, target = _addressed(platform, callers, operation)
    for body in BODIES:
        await spoken(platform, target, token=token, body=body)


@pytest.mark.parametrize("operation", FREE_FORM)
async def test_absurd_values_in_bodies_that_are_right_otherwise(
    platform: Platform, callers: Mapping[str, str], operation: str
) -> None:
    user_id = platform.credentials["admin_user_id"]
    token, target = _addressed(platform, callers, operation)
    for number, value in enumerate(VALUES):
        body = FREE_FORM[operation] % {"id": user_id, "n": number, "value": value}
        await spoken(platform, target, token=token, body=body.encode())


async def test_what_was_taken_is_delivered_and_still_told(platform: Platform, callers: Mapping[str, str]) -> None:
    """Values that a row, a queue or a renderer chokes on would show here, not where they were accepted."""
    user_id = platform.credentials["admin_user_id"]
    token, target = _addressed(platform, callers, "POST /notifications")
    for number, value in enumerate(VALUES):
        body = FREE_FORM["POST /notifications"] % {"id": user_id, "n": f"told-{number}", "value": value}
        await spoken(platform, target, token=token, body=body.encode())

    async with connected(platform) as client:

        async def pending() -> bool:
            url = f"{platform.gateway}/api/v1/notifications"
            waiting = await client.call("GET", f"{url}?status=pending", token=client.admin)
            taken = await client.call("GET", f"{url}?limit=100", token=client.admin)
            return waiting.body["meta"]["total"] == 0 and len(taken.data) >= len(VALUES) // 3

        await eventually(pending, within=60, every=0.2, says="every notification ends")


def _addressed(platform: Platform, callers: Mapping[str, str], operation: str) -> tuple[str, str]:
    method, _, path = operation.partition(" ")
    token = callers["email_worker" if path.endswith("/status") else "administrator"]
    return token, f"{method} /api/v1{path.replace('{id}', platform.credentials['admin_user_id'])}"
