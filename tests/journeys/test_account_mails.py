"""A forgotten password and a new address, through every service: mails arrive, and their links work."""

import re
from uuid import uuid4

from tests.fakes.smtp import FakeSmtp
from tests.support.client import Client
from tests.support.waiting import eventually

OLD, NEW = "correct horse battery staple", "staple gun and honey"


async def token_mailed(smtp: FakeSmtp, address: str, page: str) -> tuple[str, str]:
    """The page that the mail's link leads to, and the token behind it."""
    found = re.compile(rf"(http\S+/account/{page})#token=(\S+)")

    def link() -> re.Match[str] | None:
        return next((match for mail in smtp.to(address) if (match := found.search(mail.text))), None)

    match = await eventually(link, within=30)
    assert match is not None
    return match[1], match[2]


async def test_a_password_is_reset_and_an_address_moved_by_mails_that_arrive(client: Client, smtp: FakeSmtp) -> None:
    users, email, wanted = client.platform.users, f"{uuid4().hex}@example.com", f"{uuid4().hex}@example.com"
    body = {"name": "Ada", "email": email, "password": OLD, "preferences": {"email": False, "push": False}}
    user = (await client.call("POST", f"{users}/v1/users", json=body)).data

    await client.call("POST", f"{users}/v1/auth/password/forgot", json={"email": email})
    page, token = await token_mailed(smtp, email, "reset")
    async with client.session.get(page) as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    body = {"token": token, "new_password": NEW}
    assert (await client.call("POST", f"{users}/v1/auth/password/reset", json=body)).status == 200
    access = await client.sign_in(email, NEW)

    path, body = f"{users}/v1/users/{user['user_id']}", {"email": wanted, "current_password": NEW}
    assert (await client.call("PATCH", path, token=access, json=body)).status == 200
    await eventually(lambda: any("asked for another e-mail address" in mail.text for mail in smtp.to(email)))
    _, token = await token_mailed(smtp, wanted, "verify")
    assert (await client.call("POST", f"{users}/v1/auth/email/verify", json={"token": token})).status == 200
    assert (await client.call("GET", path, token=access)).data["email"] == wanted
    assert await client.sign_in(wanted, NEW)
