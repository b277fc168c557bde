"""A gateway that keeps what it is asked for, and what the users service mails through it."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from carillon.contracts.notifications import NotificationAccepted
from carillon.kit.errors import NotFound, Problem, Unavailable
from carillon.kit.http.edge import Receive, Scope, Send, answer
from carillon.kit.http.envelope import Envelope
from carillon.kit.ids import uuid7
from carillon.users.actions.authenticating import secret_hash
from carillon.users.settings import UsersSettings
from tests.integration.users.client import UsersApi
from tests.integration.users.conftest import running
from tests.support.http import serving
from tests.support.waiting import eventually


@dataclass
class FakeGateway:
    """Answers 202 to each notification, or `problem`."""

    asked: list[dict[str, Any]] = field(default_factory=list)
    bearers: set[str] = field(default_factory=set)
    attempts: int = 0
    problem: Problem | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.attempts += 1
        self.bearers.add(dict(scope["headers"])[b"authorization"].decode())
        if self.problem is not None:
            await answer(send, self.problem)
            return
        asked = json.loads(body)
        self.asked.append(asked)
        told = msgspec.json.encode(Envelope(NotificationAccepted(uuid7(), asked["request_id"], "pending", "accepted")))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(told)).encode())]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": told})

    def about(self, user: dict[str, Any], template: str) -> list[dict[str, Any]]:
        return [each for each in self.asked if each["user_id"] == user["user_id"] and each["template_code"] == template]

    async def token(self, user: dict[str, Any], template: str, *, number: int = 1) -> str:
        """What the link of the n-th mail of this kind ends with."""
        await eventually(lambda: len(self.about(user, template)) >= number, says=f"mail {number} of {template}")
        link: str = self.about(user, template)[number - 1]["variables"]["link"]
        return link.partition("#token=")[2]


GONE = NotFound("There is no such user.")
GONE.code = "user_not_found"
AWAY = Unavailable("away")


@contextlib.asynccontextmanager
async def mailing(
    settings: UsersSettings, data_dir: Path, **changed: Any
) -> AsyncIterator[tuple[UsersApi, FakeGateway]]:
    """The service with its mail loop, in front of a gateway that keeps what it gets."""
    gateway = FakeGateway()
    async with serving(gateway) as url:
        ours = {"gateway_url": url, "public_url": "https://people.example/c", "remembered_token_seconds": 0, **changed}
        settings = msgspec.structs.replace(settings, **ours)
        async with running(settings, data_dir) as (api, service):
            loop = asyncio.ensure_future(service.loops["mail"]())
            try:
                yield api, gateway
            finally:
                loop.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await loop


async def mailed(sql: asyncpg.Connection, user_id: str, email: str, purpose: str = "email_verification") -> str:
    """What a link ends with that went to this address; no mail loop needs to run."""
    token = secrets.token_urlsafe(32)
    await sql.execute(
        "INSERT INTO users.one_time_tokens (id, user_id, purpose, secret_hash, email, expires_at) "
        "VALUES ($1, $2, $3, $4, $5, now() + interval '1 day')",
        uuid7(), UUID(user_id), purpose, secret_hash(token), email,
    )  # fmt: skip
    return token
