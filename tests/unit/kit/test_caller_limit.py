"""A caller who asks too much is told to wait, in the envelope and in headers; others and services go on."""

import contextlib
import time
from collections.abc import AsyncIterator
from uuid import UUID

import aiohttp

from carillon.kit.auth import Caller, CallerKind
from carillon.kit.errors import Conflict, Unauthenticated
from carillon.kit.http.access import ANYONE, SIGNED_IN
from carillon.kit.http.app import build_app
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.limiting import CallerLimit, caller_limit
from carillon.kit.http.routing import endpoint
from carillon.kit.limits import ProcessLimits
from carillon.kit.remembered_tokens import RememberedTokens
from tests.support.http import serving

ADA, BOB = UUID(int=1), UUID(int=2)
CALLERS: dict[str, tuple[UUID, CallerKind]] = {
    "ada": (ADA, "user"), "adas-other": (ADA, "user"), "bob": (BOB, "application"), "worker": (UUID(int=3), "service"),
}  # fmt: skip


@endpoint("GET", "/mine", needs=SIGNED_IN, says="Mine")
async def mine() -> Envelope[str]:
    return Envelope("mine")


@endpoint("GET", "/taken", needs=SIGNED_IN, says="Taken", errors=(409,))
async def taken() -> Envelope[str]:
    raise Conflict("It is taken.")


@endpoint("GET", "/forbidden", needs="things:write", says="Forbidden")
async def forbidden() -> Envelope[str]:
    raise AssertionError


@endpoint("GET", "/open", needs=ANYONE, says="Open to all")
async def open_to_all() -> Envelope[str]:
    return Envelope("hello")


async def authenticate(token: str) -> Caller:
    if token not in CALLERS:
        raise Unauthenticated
    return Caller(*CALLERS[token], frozenset(), time.time() + 60)


@contextlib.asynccontextmanager
async def client(limit: CallerLimit | None) -> AsyncIterator[aiohttp.ClientSession]:
    remembered = RememberedTokens(authenticate, service="test", seconds=60)
    routes = [mine, taken, forbidden, open_to_all]
    app = build_app("test", routes, authenticate=remembered, state={}, checks={}, title="Test", limit=limit)
    async with serving(app) as url, aiohttp.ClientSession(url) as session:
        yield session


async def ask(session: aiohttp.ClientSession, path: str, token: str) -> tuple[int, dict[str, str]]:
    async with session.get(f"/api/v1/{path}", headers={"Authorization": f"Bearer {token}"}) as answer:
        assert (await answer.json())["success"] is (answer.status == 200)
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}


async def test_every_answer_tells_what_is_left_whatever_the_answer_is() -> None:
    async with client(CallerLimit(ProcessLimits(), 5)) as session:
        answers = [await ask(session, path, "ada") for path in ("mine", "taken", "forbidden", "nowhere", "mine")]

    assert [status for status, _ in answers] == [200, 409, 403, 404, 200]
    told = [headers.get("ratelimit", "").split(";t")[0] for _, headers in answers]
    assert told == ['"requests";r=4', '"requests";r=3', '"requests";r=2', "", '"requests";r=1']
    assert answers[0][1]["ratelimit-policy"] == '"requests";q=5;w=60'


async def test_all_tokens_of_one_owner_share_a_limit_and_others_have_their_own() -> None:
    async with client(CallerLimit(ProcessLimits(), 4)) as session:
        for token in ("ada", "adas-other") * 2:
            assert (await ask(session, "mine", token))[0] == 200

        for token in ("ada", "adas-other"):
            status, headers = await ask(session, "mine", token)
            assert (status, headers["ratelimit"].split(";t")[0]) == (429, '"requests";r=0')
            assert 1 <= int(headers["retry-after"]) <= 16

        assert (await ask(session, "mine", "bob"))[0] == 200
        assert (await ask(session, "open", "ada"))[0] == 200
        assert [(await ask(session, "mine", "worker"))[0] for _ in range(20)] == [200] * 20
        assert (await ask(session, "mine", "nobody"))[0] == 401


async def test_without_a_limit_nothing_is_counted_and_nothing_is_told() -> None:
    async with caller_limit(0, "redis://127.0.0.1:1/0", service="test") as limit, client(limit) as session:
        assert limit is None
        for _ in range(20):
            status, headers = await ask(session, "mine", "ada")
            assert (status, "ratelimit" in headers) == (200, False)
