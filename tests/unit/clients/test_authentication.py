"""Verifying tokens away from the users service: signatures by its keys, opaque tokens by asking, absence survived."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import msgspec
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carillon.clients.authentication import Callers, SigningKeys
from carillon.clients.user_events import follow
from carillon.contracts.users import Introspection, TokenToIntrospect
from carillon.kit.auth import Authenticator
from carillon.kit.broker.port import Reconnected
from carillon.kit.errors import Unauthenticated, Unavailable
from carillon.kit.http.client import ServiceClient
from carillon.kit.http.envelope import Envelope
from carillon.kit.ids import uuid7
from tests.support.link import Link
from tests.support.peers import Peer, peer

OWNER, SESSION = uuid7(), uuid7()


class Users:
    """Signs tokens, shows its keys, knows some opaque tokens."""

    def __init__(self) -> None:
        self.keys = {"one": Ed25519PrivateKey.generate()}
        self.opaque: dict[str, Introspection] = {}
        self.asked_for_keys = self.introspected = 0
        self.away = self.babbling = False

    def token(self, *, kid: str = "one", headers: dict[str, Any] | None = None, **changes: Any) -> str:
        claims = {
            "iss": "carillon",
            "aud": "carillon",
            "sub": str(OWNER),
            "sid": str(SESSION),
            "ver": 1,
            "iat": time.time(),
            "scope": "users:read notifications:*",
            "exp": time.time() + 300,
            **changes,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        heading = {"kid": kid, "typ": "at+jwt", **(headers or {})}
        return jwt.encode(claims, self.keys[kid], algorithm="EdDSA", headers=heading)

    async def jwks(self, _request: web.Request) -> web.Response:
        self.asked_for_keys += 1
        if self.away:
            return web.Response(status=503)
        algorithm = jwt.get_algorithm_by_name("EdDSA")
        keys = [
            {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "alg": "EdDSA", "use": "sig"}
            for kid, key in self.keys.items()
        ]
        return web.json_response({"keys": keys})

    async def introspect(self, request: web.Request) -> web.Response:
        self.introspected += 1
        if self.away:
            return web.Response(status=503)
        if self.babbling:
            return web.Response(text="<html>")
        token = msgspec.json.decode(await request.read(), type=TokenToIntrospect).token
        said = self.opaque.get(token, Introspection(active=False))
        return web.Response(body=msgspec.json.encode(Envelope(said)))


@pytest.fixture
def users() -> Users:
    return Users()


@pytest.fixture
async def elsewhere(users: Users) -> AsyncIterator[Peer]:
    routes = [web.get("/.well-known/jwks.json", users.jwks), web.post("/api/v1/auth/introspect", users.introspect)]
    async with peer(routes) as there:
        yield there


@pytest.fixture
def client(elsewhere: Peer) -> ServiceClient:
    return ServiceClient(elsewhere.session, elsewhere.url, token="crl_own")


@pytest.fixture
def authenticate(client: ServiceClient) -> Authenticator:
    return Callers(client, service="bells")


async def test_a_signed_token_becomes_its_caller(authenticate: Authenticator, users: Users) -> None:
    caller = await authenticate(users.token())

    assert (caller.caller_id, caller.kind, caller.session_id) == (OWNER, "user", SESSION)
    assert caller.may("notifications:send")
    assert not caller.may("users:write")


async def test_the_keys_are_fetched_once_and_survive_the_absence_of_users(
    authenticate: Authenticator, users: Users
) -> None:
    await authenticate(users.token())
    users.away = True
    await authenticate(users.token(scope="users:read"))

    assert users.asked_for_keys == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "other"},
        {"iss": "other"},
        {"exp": time.time() - 1},
        {"exp": None},
        {"sub": None},
        {"sub": "not-a-uuid"},
        {"scope": None},
        {"headers": {"typ": "JWT"}},
        {"headers": {"kid": "unknown"}},
    ],
)
async def test_a_token_that_breaks_a_rule_is_refused(
    authenticate: Authenticator, users: Users, changes: dict[str, Any]
) -> None:
    with pytest.raises(Unauthenticated):
        await authenticate(users.token(**changes))


async def test_tokens_that_nobody_signed_or_another_did_are_refused(authenticate: Authenticator, users: Users) -> None:
    claims = {"iss": "carillon", "aud": "carillon", "sub": str(OWNER), "scope": "*", "exp": time.time() + 60}
    heading = {"kid": "one", "typ": "at+jwt"}
    stranger = jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers=heading)
    unsigned = jwt.encode(claims, "", algorithm="none", headers=heading)
    symmetric = jwt.encode(claims, "k" * 32, algorithm="HS256", headers=heading)

    for token in (stranger, unsigned, symmetric, "garbage", "a.b.c", "", users.token()[:-4]):
        with pytest.raises(Unauthenticated):
            await authenticate(token)


async def test_a_key_made_since_is_found_but_unknown_kids_cannot_flood_users(
    client: ServiceClient, users: Users
) -> None:
    now = 0.0
    keys = SigningKeys(client, service="bells", clock=lambda: now)
    assert await keys.key("one")

    users.keys["two"] = Ed25519PrivateKey.generate()
    assert await keys.key("two")
    for number in range(50):
        assert await keys.key(f"invented {number}") is None
    assert users.asked_for_keys == 2


async def test_before_any_key_is_known_an_absence_is_told_as_such(authenticate: Authenticator, users: Users) -> None:
    users.away = True
    with pytest.raises(Unavailable):
        await authenticate(users.token())


async def test_an_opaque_token_is_asked_for_once_and_remembered_while_users_is_away(
    authenticate: Authenticator, users: Users
) -> None:
    users.opaque["crl_good"] = Introspection(
        active=True,
        caller_id=OWNER,
        kind="application",
        permissions=["notifications:send"],
        expires_at=time.time() + 60,
    )
    first = await authenticate("crl_good")
    users.away = True
    again = await authenticate("crl_good")

    assert first == again
    assert first.kind == "application"
    assert users.introspected == 1
    with pytest.raises(Unavailable):
        await authenticate("crl_never_seen")


async def test_an_inactive_token_is_refused_and_not_remembered(authenticate: Authenticator, users: Users) -> None:
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await authenticate("crl_bad")
    assert users.introspected == 2


async def test_an_opaque_token_that_has_expired_is_refused_whatever_is_said_of_it(
    authenticate: Authenticator, users: Users
) -> None:
    users.opaque["crl_short"] = Introspection(
        active=True, caller_id=OWNER, kind="application", permissions=[], expires_at=time.time() - 1
    )
    with pytest.raises(Unauthenticated):
        await authenticate("crl_short")


@pytest.mark.parametrize("prefix", ["crl_", "eyJ"])
async def test_a_token_longer_than_any_of_ours_is_refused_without_asking(
    authenticate: Authenticator, users: Users, prefix: str
) -> None:
    with pytest.raises(Unauthenticated):
        await authenticate(prefix + "x" * 10_000)
    assert (users.introspected, users.asked_for_keys) == (0, 0)


async def test_a_neighbour_that_speaks_another_language_is_nobody_to_ask(
    authenticate: Authenticator, users: Users
) -> None:
    users.babbling = True
    with pytest.raises(Unavailable):
        await authenticate("crl_good")


@asynccontextmanager
async def hearing(callers: Callers) -> AsyncIterator[Link]:
    """Within: the link stands."""
    link: Any = Link()
    task = asyncio.create_task(follow(link, callers.revocations))
    await link.tell(Reconnected())
    try:
        yield link
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_token_that_was_revoked_before_this_process_listened_is_refused(
    client: ServiceClient, users: Users
) -> None:
    callers, revoked, old = Callers(client, service="bells"), users.token(iat=time.time() - 60), users.token()
    users.opaque[old] = Introspection(
        active=True, caller_id=OWNER, kind="user", permissions=["users:read"], expires_at=time.time() + 60,
        session_id=SESSION,
    )  # fmt: skip

    async with hearing(callers):
        with pytest.raises(Unauthenticated):
            await callers(revoked)
        for _ in range(3):
            assert (await callers(old)).permissions == {"users:read"}, "as users says"
        assert users.introspected == 2, "each once"

        users.away = True
        elsewhere = await callers(users.token(ver=2))
        assert (elsewhere.caller_id, elsewhere.session_id) == (OWNER, SESSION), "by its signature while users is away"


async def test_about_a_token_that_was_issued_since_nobody_is_asked(client: ServiceClient, users: Users) -> None:
    callers = Callers(client, service="bells")

    async with hearing(callers):
        await callers(users.token(iat=time.time() + 10))

    assert users.introspected == 0
