"""Speaks to the users service in few words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp

PASSWORD = "correct horse battery staple"


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def data(self) -> Any:
        assert self.body["success"] is True, self.body
        return self.body["data"]


@dataclass
class UsersApi:
    session: aiohttp.ClientSession
    data_dir: Path

    @property
    def credentials(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.data_dir / "credentials.json").read_text())
        return found

    def service_token(self, service: str) -> str:
        return (self.data_dir / "tokens" / f"{service}.token").read_text().strip()

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str = "",
        body: Any = None,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        headers = {**(headers or {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        if body is not None or raw is not None:
            headers["Content-Type"] = "application/json"
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        async with self.session.request(method, path, data=data, headers=headers) as answer:
            return Answer(answer.status, answer.headers, await answer.json())

    async def register(self, **fields: Any) -> Answer:
        body = {"name": "Ada", "email": f"{uuid4().hex}@example.com", "password": PASSWORD, **fields}
        return await self.call("POST", "/api/v1/users/", body=body)

    async def log_in(self, email: str, password: str = PASSWORD) -> Answer:
        return await self.call("POST", "/api/v1/auth/login", body={"email": email, "password": password})

    async def someone(self, **fields: Any) -> tuple[dict[str, Any], str]:
        """A registered user and their access token."""
        user: dict[str, Any] = (await self.register(**fields)).data
        return user, (await self.log_in(user["email"])).data["access_token"]

    async def admin(self) -> str:
        known = self.credentials
        token: str = (await self.log_in(known["admin_email"], known["admin_password"])).data["access_token"]
        return token
