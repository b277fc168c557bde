"""Strict routes: nothing remembered lets anybody in, and where nobody can tell nobody gets in."""

import time

import aiohttp
import pytest

from carillon.kit.auth import Caller
from carillon.kit.errors import Unauthenticated, Unavailable
from carillon.kit.http.access import LOGGED_IN, ApiRequest
from carillon.kit.http.app import build_app
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint
from carillon.kit.ids import uuid7
from tests.support.http import serving


@endpoint("GET", "/bells", needs="bells:ring", says="Bells")
async def bells(request: ApiRequest) -> Envelope[str]:
    return Envelope(str(request.auth.caller_id))


@endpoint("DELETE", "/bells", needs="bells:ring", says="Melt them", strict=True)
async def melt(request: ApiRequest) -> Envelope[str]:
    return Envelope(str(request.auth.caller_id))


@endpoint("GET", "/own", needs=LOGGED_IN, says="One's own")
async def own(request: ApiRequest) -> Envelope[str]:
    return Envelope(str(request.auth.session_id))


def caller(*, logged_in: bool = True) -> Caller:
    return Caller(uuid7(), "user", frozenset({"bells:*"}), time.time() + 60, uuid7() if logged_in else None)


async def remembered(token: str) -> Caller:
    return caller(logged_in=token == "jwt")


@pytest.mark.parametrize(("error", "status"), [(Unauthenticated, 401), (lambda: Unavailable("away"), 503), (None, 200)])
async def test_a_strict_route_believes_only_who_knows_now(error: type[Exception] | None, status: int) -> None:
    async def now(token: str) -> Caller:
        if error is not None:
            raise error()
        return await remembered(token)

    app = build_app(
        "bells", [bells, melt, own], authenticate=remembered, verify=now, state={}, checks={}, title="Bells"
    )
    async with serving(app) as url, aiohttp.ClientSession(url) as session:
        asked = [("GET", "bells", "jwt"), ("DELETE", "bells", "jwt"), ("GET", "own", "jwt"), ("GET", "own", "pat")]
        statuses = []
        for method, path, token in asked:
            headers = {"Authorization": f"Bearer {token}"}
            async with session.request(method, f"/api/v1/{path}", headers=headers) as answer:
                statuses.append(answer.status)

    assert statuses == [200, status, 200, 403]
