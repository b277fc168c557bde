"""A person with an authenticator, in few words."""

import base64
import time
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from carillon.users.domain.second_factors import code_at
from tests.integration.users.client import PASSWORD, Answer, UsersApi


@dataclass
class Holder:
    """A user whose second factor is on."""

    api: UsersApi
    sql: asyncpg.Connection
    user: dict[str, Any]
    secret: bytes = b""
    access: str = ""
    recovery_codes: list[str] = field(default_factory=list)

    @property
    def now(self) -> str:
        return code_at(self.secret, int(time.time()) // 30)

    async def fresh(self) -> str:
        """A code that is good, whatever was used before."""
        await self.sql.execute(
            "UPDATE users.second_factors SET last_step = 0, retry_at = now() WHERE user_id = $1", self.user["user_id"]
        )
        return self.now

    @property
    def wrong(self) -> str:
        step = int(time.time()) // 30
        near = {code_at(self.secret, one) for one in range(step - 3, step + 4)}
        return next(code for code in map("{:06}".format, range(10)) if code not in near)

    async def challenge(self, password: str = PASSWORD) -> str:
        answer = await self.api.log_in(self.user["email"], password)
        assert (answer.status, answer.body["error"]) == (401, "second_factor_required"), answer.body
        challenge: str = answer.body["data"]["challenge"]
        return challenge

    async def finish(self, challenge: str, **proof: str) -> Answer:
        return await self.api.call("POST", "/v1/auth/login/second_factor", body={"challenge": challenge, **proof})

    async def log_in(self) -> Answer:
        return await self.finish(await self.challenge(), code=await self.fresh())

    async def ask(self, method: str, path: str, **body: str) -> Answer:
        return await self.api.call(method, path, token=self.access, body=body or None)


async def begun(api: UsersApi, token: str) -> Answer:
    return await api.call("POST", "/v1/auth/totp", token=token, body={"current_password": PASSWORD})


async def holder(api: UsersApi, sql: asyncpg.Connection, **fields: Any) -> Holder:
    user, access = await api.someone(**fields)
    found = Holder(api, sql, user, base64.b32decode((await begun(api, access)).data["secret"]), access)
    answer = await found.ask("POST", "/v1/auth/totp/confirm", code=found.now)
    assert answer.status == 200, answer.body
    found.recovery_codes = answer.data["recovery_codes"]
    found.access = (await found.log_in()).data["access_token"]
    return found
