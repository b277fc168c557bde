"""Second factors: put on, shown at the login, renewed and taken off."""

from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec
from litestar import Response
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from carillon.kit.errors import invalid
from carillon.kit.http.access import ANYONE, LOGGED_IN, ApiRequest
from carillon.kit.http.answer import NO_STORE
from carillon.kit.http.conditions import IfMatch, expected_versions
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint
from carillon.users.actions import enrolling
from carillon.users.actions.proving import Proving, finish_login, waiting_login
from carillon.users.actions.reauthenticating import check_present_password
from carillon.users.actions.telling import Told, telling
from carillon.users.domain.second_factors import Enrolment, Proof, RecoveryCodes, SecondFactor
from carillon.users.routes.guessing import guessing_codes, guessing_logins, guessing_password
from carillon.users.routes.resources import (
    TAG,
    WRITE,
    Resources,
    account_key,
    actor,
    client_address,
    counted,
    own_session,
    resources,
)
from carillon.users.routes.sessions import AccessGranted, client_of, granted, opening

Code = Annotated[str, Meta(pattern=r"^[0-9]{6}(?!\n)$", description="Six digits", examples=["492039"])]
RecoveryCode = Annotated[
    str,
    Meta(
        max_length=40,
        pattern=r"^[0-9A-Za-z -]*(?!\n)$",
        description="As it was shown, in any case",
        examples=["mzxw-6ytb-oi5d-k3tg"],
    ),
]


class EnrolmentBegun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /auth/totp`."""

    EXAMPLES: ClassVar[Any] = ({"current_password": "correct horse battery"},)

    current_password: Annotated[str, Meta(max_length=256)]


class CodeShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /auth/totp/confirm`."""

    EXAMPLES: ClassVar[Any] = ({"code": "492039"},)

    code: Code


class FactorShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of what takes a second factor: one of both."""

    EXAMPLES: ClassVar[Any] = ({"code": "492039"}, {"recovery_code": "mzxw-6ytb-oi5d-k3tg"})

    code: Code | None = None
    recovery_code: RecoveryCode | None = None


class LoginFinished(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /auth/login/second_factor`: the challenge of the login, and one of both."""

    EXAMPLES: ClassVar[Any] = ({"challenge": "what the login answered", "code": "492039"},)

    challenge: Annotated[str, Meta(max_length=200)]
    code: Code | None = None
    recovery_code: RecoveryCode | None = None


@endpoint(
    "POST", "/auth/login/second_factor", needs=ANYONE, says="Sign in: the code that the login asked for",
    errors=(401, 403, 429, 503), tag=TAG,
)  # fmt: skip
async def log_in_with_code(request: ApiRequest, data: JSONBody[LoginFinished]) -> Response[Envelope[AccessGranted]]:
    here, proof = resources(request), proof_of(data.code, data.recovery_code)
    headers = await counted(here, "logins", client_address(request), here.settings.logins_per_minute, strict=True)
    waiting = await waiting_login(data.challenge, challenges=here.stores.login_challenges)
    account = account_key(waiting.email_key)
    async with (
        guessing_codes(here, waiting.account.user_id),
        guessing_logins(here, account, client_address(request)),
    ):
        signed = await finish_login(
            data.challenge,
            waiting,
            proof,
            challenges=here.stores.login_challenges,
            proving=proving_of(here),
            opening=opening(here),
            client=client_of(request),
        )
    return Response(Envelope(granted(signed), "signed in"), headers={**headers, **NO_STORE})


@endpoint("GET", "/auth/totp", needs=LOGGED_IN, says="Whether one's logins need a code", tag=TAG, strict=True)
async def see(request: ApiRequest) -> Envelope[SecondFactor]:
    return Envelope(await resources(request).stores.second_factors.state(request.auth.caller_id))


@endpoint(
    "POST", "/auth/totp", needs=LOGGED_IN, says="Begin with a second factor: the secret, shown once", status=201,
    errors=(409,), tag=TAG, strict=True,
)  # fmt: skip
async def begin(request: ApiRequest, data: JSONBody[EnrolmentBegun]) -> Response[Envelope[Enrolment]]:
    here, caller = resources(request), request.auth.caller_id
    async with guessing_password(here, caller):
        owner = await check_present_password(
            caller, data.current_password, owners=here.stores.passwords, passwords=here.passwords
        )
    begun = await enrolling.begin_enrolment(
        caller, owner.email or "", enrolments=here.stores.second_factors, proving=proving_of(here)
    )
    return Response(Envelope(begun, "show a code of it to put it on"), status_code=201, headers=NO_STORE)


@endpoint(
    "POST", "/auth/totp/confirm", needs=LOGGED_IN,
    says="Put the second factor on; every other login ends. Recovery codes, shown once", errors=(404,), tag=TAG,
    strict=True,
)  # fmt: skip
async def confirm(request: ApiRequest, data: JSONBody[CodeShown]) -> Response[Envelope[RecoveryCodes]]:
    here, caller = resources(request), request.auth.caller_id
    async with guessing_codes(here, caller):
        codes = await enrolling.confirm_enrolment(
            caller,
            data.code,
            staying=own_session(request),
            enrolments=here.stores.second_factors,
            proving=proving_of(here),
            changed=here.changes.revoked,
        )
    return Response(Envelope(codes, "on: access tokens of before are void, renew them"), headers=NO_STORE)


@endpoint(
    "POST", "/auth/totp/recovery_codes", needs=LOGGED_IN, says="New recovery codes; those of before are void",
    errors=(404,), tag=TAG, strict=True,
)  # fmt: skip
async def renew(request: ApiRequest, data: JSONBody[FactorShown]) -> Response[Envelope[RecoveryCodes]]:
    here, caller, proof = resources(request), request.auth.caller_id, proof_of(data.code, data.recovery_code)
    async with guessing_codes(here, caller):
        codes = await enrolling.renew_codes(
            caller, proof, enrolments=here.stores.second_factors, proving=proving_of(here)
        )
    return Response(Envelope(codes, "renewed"), headers=NO_STORE)


@endpoint(
    "DELETE", "/auth/totp", needs=LOGGED_IN, says="Take one's second factor off", errors=(404,), tag=TAG, strict=True,
    body=True,
)  # fmt: skip
async def remove(request: ApiRequest, data: JSONBody[FactorShown]) -> Envelope[None]:
    here, caller, proof = resources(request), request.auth.caller_id, proof_of(data.code, data.recovery_code)
    async with guessing_codes(here, caller):
        await enrolling.remove_factor(
            caller,
            proof,
            enrolments=here.stores.second_factors,
            proving=proving_of(here),
            told=_removed(here),
            changed=here.changes,
        )
    return Envelope(None, "off: the password alone opens the account")


@endpoint(
    "DELETE", "/users/{user_id:uuid}/second_factors", needs=WRITE,
    says="Take the second factor of somebody who has lost it", errors=(404, 412), tag=TAG, strict=True,
)  # fmt: skip
async def take_away(request: ApiRequest, user_id: FromPath[UUID], if_match: IfMatch = None) -> Envelope[None]:
    here = resources(request)
    await enrolling.take_factor_away(
        user_id,
        expected=expected_versions(if_match),
        by=actor(request),
        registry=here.stores.administration,
        told=_removed(here),
        changed=here.changes,
    )
    return Envelope(None, "taken away")


def proof_of(code: str | None, recovery_code: str | None) -> Proof:
    """Raises Invalid."""
    if (code is None) == (recovery_code is None):
        raise invalid("code", "Send one of code and recovery_code.")
    return Proof(code, recovery_code)


def _removed(here: Resources) -> Told:
    return telling("second_factor_removed", public_url=here.settings.public_url)


def proving_of(here: Resources) -> Proving:
    return Proving(here.stores.second_factors, here.vault)


HANDLERS = [log_in_with_code, see, begin, confirm, renew, remove, take_away]
