"""Tokens that are forged, bent or misplaced, over HTTP: 401 for each of them, here and at every other service."""

import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carillon.clients.authentication import Callers
from carillon.kit.auth import Authenticator
from carillon.kit.errors import Unauthenticated
from carillon.kit.http.client import ServiceClient, open_session
from carillon.users.providers.signing_keys import read_signing_keys
from tests.integration.users.client import UsersApi
from tests.support.peers import Peer, peer

ME = "/v1/users/me"


class Forger:
    """Knows a good token, and for what only we could sign also our key."""

    def __init__(self, token: str, key: Ed25519PrivateKey, url: str) -> None:
        self.token = token
        self.key = key
        self.url = url
        self.claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        self.header: dict[str, Any] = jwt.get_unverified_header(token)

    def ours(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Signed with our key; a claim or a field of the header that is None is left out."""
        payload = {name: value for name, value in {**self.claims, **claims}.items() if value is not None}
        fields = {name: value for name, value in {**self.header, **(header or {})}.items() if value is not None}
        signing = ".".join(_part(json.dumps(part).encode()) for part in (fields, payload))
        return f"{signing}.{_part(self.key.sign(signing.encode()))}"

    def unsigned(self, alg: str) -> str:
        parts = ({**self.header, "alg": alg}, self.claims)
        return ".".join(_part(json.dumps(part).encode()) for part in parts) + "."

    def confused(self) -> Iterator[str]:
        """The public key, in every form that is published or usual, as a shared secret."""
        public = self.key.public_key()
        raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        algorithm = jwt.get_algorithm_by_name("HS256")
        parts = ({**self.header, "alg": "HS256"}, self.claims)
        signing = ".".join(_part(json.dumps(part).encode()) for part in parts)
        for secret in (raw, pem, _part(raw).encode()):
            yield f"{signing}.{_part(algorithm.sign(signing.encode(), secret))}"

    def forged(self) -> Iterator[tuple[str, str]]:
        """What is wrong, and the token."""
        now = time.time()
        for alg in ("none", "None", "NONE", "EdDSA", ""):
            yield f"unsigned as {alg!r}", self.unsigned(alg)
        for token in self.confused():
            yield "the public key as a secret", token
        stranger, rsa_key = Ed25519PrivateKey.generate(), rsa.generate_private_key(public_exponent=65537, key_size=2048)
        yield "another's key", jwt.encode(self.claims, stranger, algorithm="EdDSA", headers=self.header)
        yield "RS256", jwt.encode(self.claims, rsa_key, algorithm="RS256", headers={**self.header, "alg": "RS256"})
        jwk = jwt.get_algorithm_by_name("EdDSA").to_jwk(stranger.public_key(), as_dict=True)
        for name, value in (("jwk", jwk), ("jku", self.url), ("x5u", self.url), ("x5c", ["AAAA"])):
            header = {**self.header, name: value}
            yield f"{name} of another", jwt.encode(self.claims, stranger, algorithm="EdDSA", headers=header)
            yield f"{name} beside our signature", self.ours({name: value})
        for crit in (["exp"], ["b64"], ["urn:invented"], [], "exp"):
            yield f"crit {crit}", self.ours({"crit": crit, "urn:invented": True})
        kids: list[Any] = ["../../../../etc/passwd", "' OR 1=1 --", "", "\x00", "x" * 3000, None, 7, {"a": 1}]
        for kid in (*kids, [self.header["kid"]]):
            yield f"kid {str(kid)[:9]!r}", self.ours({"kid": kid})
        for typ in ("JWT", "at+JWT", "refresh", "", None, 7):
            yield f"typ {typ!r}", self.ours({"typ": typ})
        bad: tuple[tuple[str, Any], ...] = (
            ("aud", "elsewhere"), ("aud", ["elsewhere"]), ("aud", None), ("iss", "elsewhere"), ("iss", None),
            ("iss", ["carillon"]), ("exp", now - 1), ("exp", str(now + 60)), ("exp", None), ("exp", True), ("exp", {}),
            ("exp", -1), ("nbf", now + 60), ("nbf", "0"), ("iat", "now"), ("iat", None), ("sub", "nobody"),
            ("sub", None), ("sub", 7), ("sid", "none"), ("sid", None), ("ver", "1"), ("ver", 1.5), ("ver", None),
            ("scope", None), ("scope", ["users:*"]), ("sid", "01a1d1a0-0000-7000-8000-000000000001"),
            ("ver", self.claims["ver"] - 1), ("ver", self.claims["ver"] + 1),
        )  # fmt: skip
        for claim, said in bad:
            yield f"{claim} {said!r}", self.ours(**{claim: said})
        first, second, third = self.token.split(".")
        for token in (
            f"{first}.{second}", f"{first}.{second}.", f".{second}.{third}", f"{first}..{third}",
            f"{self.token}.", f"{self.token}.{third}", self.token[:-8], self.token[8:], f"{second}.{first}.{third}",
            f"{self.token}==", self.token * 30, "a" * 7_000, "." * 1_000, "e30.e30.e30", "crl_", "crr_", "é.é.é", "0",
        ):  # fmt: skip
            yield f"bent: {token[:20]}", token
        nested = _part(b'{"a":' * 500 + b"1" + b"}" * 500)
        yield "deep header", f"{nested}.{second}.{third}"


def _part(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture
async def trap() -> AsyncIterator[tuple[Peer, list[str]]]:
    """A server that a token's header points at; what was asked of it is remembered."""
    asked: list[str] = []

    async def remember(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"keys": []})

    async with peer([web.route("*", "/{path:.*}", remember)]) as there:
        yield there, asked


@pytest.fixture
async def forger(api: UsersApi, tmp_path: Path, trap: tuple[Peer, list[str]]) -> Forger:
    _, token = await api.someone()
    return Forger(token, read_signing_keys(tmp_path / "signing_key.pem")[0].private, trap[0].url)


@pytest.fixture
async def elsewhere(api: UsersApi) -> AsyncIterator[Authenticator]:
    async with open_session() as session:
        client = ServiceClient(session, str(api.session._base_url), token=api.service_token("gateway"))
        yield Callers(client, service="bells")


async def test_no_forged_or_bent_token_lets_anybody_in(
    api: UsersApi, forger: Forger, trap: tuple[Peer, list[str]]
) -> None:
    assert (await api.call("GET", ME, token=forger.ours())).status == 200, "the forger's own copy is a good token"

    let_in = []
    for wrong, token in forger.forged():
        answer = await api.call("GET", ME, token=token)
        if (answer.status, answer.body["error"]) != (401, "unauthenticated"):
            let_in.append((wrong, answer.status))

    assert let_in == []
    assert trap[1] == [], "no address in a token is ever visited"
    assert (await api.call("GET", ME, token=forger.token)).status == 200


async def test_other_services_refuse_the_same_tokens(
    elsewhere: Authenticator, forger: Forger, trap: tuple[Peer, list[str]]
) -> None:
    """But for what only the database knows: whether the session goes on, and which version is the present one."""
    assert str((await elsewhere(forger.ours())).session_id) == forger.claims["sid"]
    unknowable = ("sid '01a1", "ver 0", "ver 2")

    let_in = []
    for wrong, token in forger.forged():
        try:
            await elsewhere(token)
        except Unauthenticated:
            continue
        if not wrong.startswith(unknowable):
            let_in.append(wrong)

    assert let_in == []
    assert trap[1] == []


async def test_a_flood_of_kids_does_not_reach_the_users_service(api: UsersApi, forger: Forger) -> None:
    asked = 0

    class Counting(ServiceClient):
        async def call(self, *given: Any, **named: Any) -> Any:
            nonlocal asked
            asked += 1
            return await super().call(*given, **named)

    async with open_session() as session:
        callers = Callers(Counting(session, str(api.session._base_url), token="crl_own"), service="bells")
        await callers(forger.token)
        for number in range(200):
            with pytest.raises(Unauthenticated):
                await callers(forger.ours({"kid": f"invented-{number}"}))

    assert asked <= 3


@pytest.mark.parametrize("name", ["access_token", "token", "authorization", "bearer_token"])
async def test_a_token_in_the_query_string_is_no_token(api: UsersApi, forger: Forger, name: str) -> None:
    for path in (ME, f"/v1/users/{forger.claims['sub']}"):
        async with api.session.get(path, params={name: forger.token}) as answer:
            assert answer.status == 401


@pytest.mark.parametrize("scheme", ["", "Basic ", "Token ", "Bearer", "Bearer Bearer "])
async def test_only_the_bearer_scheme_counts(api: UsersApi, forger: Forger, scheme: str) -> None:
    async with api.session.get(ME, headers={"Authorization": f"{scheme}{forger.token}"}) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_good_signature_does_not_outlive_its_user(
    api: UsersApi, forger: Forger, sql: asyncpg.Connection
) -> None:
    await sql.execute("UPDATE users.users SET status = 'suspended' WHERE id = $1::uuid", forger.claims["sub"])

    assert (await api.call("GET", ME, token=forger.ours(scope="users:*"))).status == 401
    assert (await api.call("GET", "/v1/auth/sessions", token=forger.token)).status == 401
