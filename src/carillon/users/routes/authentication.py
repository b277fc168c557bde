"""Registering, signing in, introspection, and the public key."""

from typing import Annotated, Any, ClassVar

import msgspec
from litestar import Response, get
from litestar.params import JSONBody
from msgspec import Meta

from carillon.contracts.people import ChannelChoices, User
from carillon.contracts.quiet_hours import TimezoneName
from carillon.contracts.templates import Language
from carillon.contracts.users import Introspection, PushToken, TokenToIntrospect
from carillon.kit.http.access import ANYONE, ApiRequest
from carillon.kit.http.answer import NO_STORE
from carillon.kit.http.envelope import Envelope, ErrorWithData
from carillon.kit.http.idempotency import REPLAYED, IdempotencyKey
from carillon.kit.http.routing import endpoint
from carillon.kit.limits import told_in_failures
from carillon.users.actions.authenticating import introspect
from carillon.users.actions.joining import Joining, register_once
from carillon.users.actions.signing_in import sign_in
from carillon.users.domain.people import ONE_LINE
from carillon.users.domain.second_factors import SecondFactorAsked
from carillon.users.routes.guessing import guessing_logins
from carillon.users.routes.once import once_of
from carillon.users.routes.resources import TAG, account_key, client_address, counted, resources
from carillon.users.routes.sessions import AccessGranted, client_of, granted, opening

_SOUND = r"\A[^\x00]*\Z"
Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=ONE_LINE,
        description="One line, no control characters",
        examples=["Ada Lovelace"],
    ),
]
Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=320,
        pattern=_SOUND,
        extra_json_schema={"format": "email"},
        examples=["ada@example.com"],
    ),
]


class ChannelChoicesGiven(ChannelChoices, frozen=True, forbid_unknown_fields=True):
    """Opt in or out, by channel."""


class Registration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /users`. Both channels are on unless said otherwise."""

    EXAMPLES: ClassVar[Any] = (
        {"name": "Ada Lovelace", "email": "ada@example.com", "password": "correct horse battery"},
        {
            "name": "Ada Lovelace",
            "email": "ada@example.com",
            "password": "correct horse battery",
            "push_token": "fcm-token",
            "preferences": {"email": True, "push": False},
            "locale": "pt-BR",
            "timezone": "America/Sao_Paulo",
        },
    )

    name: Name
    email: Email
    password: Annotated[str, Meta(min_length=8, max_length=256, pattern=_SOUND, examples=["correct horse battery"])]
    push_token: PushToken | None = None
    preferences: ChannelChoicesGiven | None = None
    locale: Language | None = None
    timezone: TimezoneName | None = None


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /auth/login`."""

    EXAMPLES: ClassVar[Any] = ({"email": "ada@example.com", "password": "correct horse battery"},)

    email: Annotated[str, Meta(max_length=320, pattern=_SOUND, examples=["ada@example.com"])]
    password: Annotated[str, Meta(max_length=256, examples=["correct horse battery"])]


@endpoint(
    "POST", ["/users", "/users/register", "/auth/register"],
    needs=ANYONE, says="Register", status=201, also=(200,), answers=Envelope[User], errors=(403, 409, 429, 503),
    tag=TAG,
)  # fmt: skip
async def register_user(
    request: ApiRequest, data: JSONBody[Registration], idempotency_key: IdempotencyKey = None
) -> Response[Envelope[User]]:
    here = resources(request)
    per_minute = here.settings.registrations_per_minute
    headers = await counted(here, "registrations", client_address(request), per_minute, strict=True)
    joining = Joining(
        data.name, data.email, data.password, data.push_token, data.preferences, data.locale, data.timezone
    )
    caller = account_key(data.email)
    once = once_of(request, idempotency_key, data, makes="user", without=("password",), caller=caller)
    with told_in_failures(headers):
        user, new = await register_once(
            joining, once, people=here.stores.people, passwords=here.passwords, mode=here.settings.registration,
            to_verify=here.settings.verify_addresses,
        )  # fmt: skip
    if not new:
        return Response(Envelope(user, "registered before"), status_code=200, headers={**headers, **REPLAYED})
    return Response(Envelope(user, "registered"), status_code=201, headers=headers)


@endpoint(
    "POST", ["/auth/login", "/users/login"], needs=ANYONE, says="Sign in", errors=(401, 429, 503),
    shapes={401: ErrorWithData[SecondFactorAsked]}, tag=TAG,
)  # fmt: skip
async def log_in(request: ApiRequest, data: JSONBody[Login]) -> Response[Envelope[AccessGranted]]:
    here = resources(request)
    headers = await counted(here, "logins", client_address(request), here.settings.logins_per_minute, strict=True)
    with told_in_failures(headers):
        async with guessing_logins(here, account_key(data.email), client_address(request)):
            signed = await sign_in(
                data.email,
                data.password,
                accounts=here.stores.credentials,
                passwords=here.passwords,
                challenges=here.stores.login_challenges,
                opening=opening(here),
                client=client_of(request),
            )
    return Response(Envelope(granted(signed), "signed in"), headers={**headers, **NO_STORE})


@endpoint("POST", "/auth/introspect", needs="tokens:introspect", says="Whose token this is, at this moment", tag=TAG)
async def introspect_token(request: ApiRequest, data: JSONBody[TokenToIntrospect]) -> Envelope[Introspection]:
    return Envelope(await introspect(data.token, authenticate=resources(request).identify.strictly))


@get(
    ["/.well-known/jwks.json", "/api/v1/.well-known/jwks.json"],
    opt={"needs": ANYONE}, summary="The keys that access tokens are verified with (RFC 7517, no envelope)", tags=[TAG],
    security=[],
)  # fmt: skip
async def jwks(request: ApiRequest) -> Response[dict[str, Any]]:
    headers = {"Cache-Control": "public, max-age=60"}
    return Response(resources(request).access_tokens.jwks(), headers=headers)


HANDLERS = [register_user, log_in, introspect_token, jwks]
