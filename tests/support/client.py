"""What a test does with a running Carillon, over HTTP and in few words."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp

from tests.support.platform import Platform
from tests.support.waiting import eventually

FINAL = {"delivered", "suppressed", "failed", "cancelled", "expired"}
PASSWORD = "correct horse battery staple"


@dataclass
class Answer:
    status: int
    body: dict[str, Any]

    @property
    def data(self) -> Any:
        assert self.body["success"] is True, self.body
        return self.body["data"]


@dataclass
class Client:
    """Speaks to each service at its own address; `admin` and `application` are bearer tokens."""

    platform: Platform
    session: aiohttp.ClientSession
    application: str
    admin: str = ""

    async def call(self, method: str, url: str, *, token: str = "", json: Any = None) -> Answer:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.session.request(method, url, json=json, headers=headers) as answer:
            return Answer(answer.status, await answer.json())

    async def sign_in(self, email: str, password: str) -> str:
        body = {"email": email, "password": password}
        token: str = (await self.call("POST", f"{self.platform.users}/api/v1/auth/login", json=body)).data[
            "access_token"
        ]
        return token

    async def register(
        self,
        name: str = "Ada",
        *,
        email: str | None = None,
        push_token: str | None = None,
        preferences: dict[str, bool] | None = None,
        locale: str | None = None,
    ) -> dict[str, Any]:
        """A new user; by default both channels are opted in."""
        body = {
            "name": name,
            "email": email or f"{uuid4().hex}@example.com",
            "push_token": push_token,
            "preferences": preferences or {"email": True, "push": True},
            "password": PASSWORD,
            "locale": locale,
        }
        user: dict[str, Any] = (await self.call("POST", f"{self.platform.users}/api/v1/users/", json=body)).data
        return user

    async def publish(self, channel: str = "email", **fields: Any) -> str:
        """A new published template; the code is fresh."""
        code = f"t-{uuid4().hex[:12]}"
        content = (
            {
                "subject": "Hello {{ name }}",
                "body_text": "See {{ link }}, {{ name }}.",
                "body_html": "<p>{{ name }}</p>",
            }
            if channel == "email"
            else {"title": "Hello {{ name }}", "body": "See it", "link": "{{ link }}"}
        )
        body = {"code": code, "channel": channel, "language": "en", **content, **fields}
        made = await self.call("POST", f"{self.platform.templates}/api/v1/templates", token=self.admin, json=body)
        assert made.status == 201, made.body
        url = f"{self.platform.templates}/api/v1/templates/{code}/versions/1/publish"
        published = await self.call("POST", url, token=self.admin)
        assert published.status == 200, published.body
        return code

    async def publish_more(self, code: str, channel: str = "email", **fields: Any) -> None:
        """One more version of a template, published."""
        url = f"{self.platform.templates}/api/v1/templates/{code}/versions"
        made = await self.call("POST", url, token=self.admin, json={"channel": channel, **fields})
        assert made.status == 201, made.body
        published = await self.call("POST", f"{url}/{made.data['version']}/publish", token=self.admin)
        assert published.status == 200, published.body

    async def notify(self, user_id: str, code: str, channel: str = "email", **fields: Any) -> Answer:
        body = {
            "notification_type": channel,
            "user_id": user_id,
            "template_code": code,
            "variables": {"name": "Ada", "link": "https://example.com/x"},
            "request_id": uuid4().hex,
            **fields,
        }
        return await self.call(
            "POST", f"{self.platform.gateway}/api/v1/notifications/", token=self.application, json=body
        )

    async def notification(self, notification_id: str, suffix: str = "") -> dict[str, Any]:
        url = f"{self.platform.gateway}/api/v1/notifications/{notification_id}{suffix}"
        found: dict[str, Any] = (await self.call("GET", url, token=self.application)).data
        return found

    async def settled(self, notification_id: str, *, within: float = 30) -> dict[str, Any]:
        """The notification once it has ended."""
        last: dict[str, Any] = {}

        async def ended() -> bool:
            last.update(await self.notification(notification_id))
            return last["status"] in FINAL

        await eventually(ended, within=within, every=0.05, says=f"{notification_id} ends")
        return last

    async def kinds(self, notification_id: str) -> list[str]:
        """The kinds of the timeline's steps, in order."""
        return [step["kind"] for step in (await self.notification(notification_id, "/timeline"))["steps"]]


@contextlib.asynccontextmanager
async def connected(platform: Platform) -> AsyncIterator[Client]:
    """Speak to `platform` as the application, and as the administrator where that is needed."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        known = platform.credentials
        client = Client(platform, session, known["application_token"])
        client.admin = await client.sign_in(known["admin_email"], known["admin_password"])
        yield client
