"""Answers at the doors that are open to anybody: neither a word nor a header tells whether there is an account."""

import re
from pathlib import Path
from uuid import UUID

import asyncpg
import msgspec
import pytest

from carillon.users.settings import UsersSettings
from tests.integration.users.client import Answer, UsersApi
from tests.integration.users.conftest import running

# Of each request its own: when it came, its name, and how many are left of what this client address may ask.
_ITS_OWN = {"Date", "X-Correlation-ID"}
_COUNTED = re.compile(r"[rt]=\d+")


def told(answer: Answer) -> tuple[int, str, list[tuple[str, str]]]:
    """All that a stranger can read off an answer."""
    headers = [(name, _COUNTED.sub("", value)) for name, value in answer.headers.items() if name not in _ITS_OWN]
    return answer.status, str(answer.body), sorted(headers)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/auth/login", {"password": "wrong horse battery"}),
        ("/v1/users/login", {"password": "wrong horse battery"}),
        ("/v1/auth/login", {"password": ""}),
        ("/v1/auth/password/forgot", {}),
    ],
    ids=range(4),
)
async def test_nothing_tells_an_account_from_none(
    settings: UsersSettings, tmp_path: Path, sql: asyncpg.Connection, path: str, body: dict[str, str]
) -> None:
    limited = msgspec.structs.replace(
        settings, logins_per_minute=60, failed_logins_per_minute=10, account_mails_per_minute=50
    )
    async with running(limited, tmp_path) as (api, _):
        emails = await everybody(api, sql)

        answers = [told(await api.call("POST", path, body={"email": email, **body})) for email in emails]

    assert len(set(map(str, answers))) == 1, answers
    assert any(name.lower() == "ratelimit" for name, _ in answers[0][2]), "limits that are on show in the headers"


async def everybody(api: UsersApi, sql: asyncpg.Connection) -> list[str]:
    """Somebody active, suspended, a contact without a password, erased, and nobody; addresses of one length."""
    admin = await api.admin()
    active, off, gone = [(await api.register(email=f"{name}@example.com")).data for name in ("aaaa", "bbbb", "cccc")]
    await sql.execute("UPDATE users.users SET status = 'suspended' WHERE id = $1", UUID(off["user_id"]))
    assert (await api.call("DELETE", f"/v1/users/{gone['user_id']}", token=admin)).status in {200, 204}
    contact = (await api.call("POST", "/v1/contacts", token=admin, body={"email": "dddd@example.com"})).data
    return [active["email"], off["email"], contact["email"], gone["email"], "eeee@example.com", "eeee no address "]
