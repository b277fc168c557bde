"""The life of a password, and addresses that are confirmed."""

from typing import Annotated, Any, ClassVar

import msgspec
from litestar import Response
from litestar.params import JSONBody
from msgspec import Meta

from carillon.kit.http.access import ANYONE, LOGGED_IN, ApiRequest
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint
from carillon.kit.limits import enforced
from carillon.users.actions.recovering import Recovery, ask_for_reset, change_password, reset_password
from carillon.users.actions.verifying import ask_for_verification, verify_email
from carillon.users.routes.guessing import guessing_password
from carillon.users.routes.resources import TAG, Resources, account_key, client_address, resources

_SOUND = r"^[^\x00]*$"
NewPassword = Annotated[str, Meta(min_length=8, max_length=256, pattern=_SOUND, examples=["correct horse battery"])]
Token = Annotated[str, Meta(min_length=1, max_length=200, pattern=_SOUND, description="From the mail")]


class PasswordChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /auth/password/change`."""

    EXAMPLES: ClassVar[Any] = ({"current_password": "correct horse battery", "new_password": "staple gun and honey"},)

    current_password: Annotated[str, Meta(max_length=256)]
    new_password: NewPassword


class PasswordForgotten(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /auth/password/forgot`."""

    EXAMPLES: ClassVar[Any] = ({"email": "ada@example.com"},)

    email: Annotated[str, Meta(max_length=320, pattern=_SOUND)]


class PasswordReset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /auth/password/reset`."""

    EXAMPLES: ClassVar[Any] = ({"token": "what the mail's link ends with", "new_password": "staple gun and honey"},)

    token: Token
    new_password: NewPassword
    revoke_tokens: Annotated[bool, Meta(description="Whether personal access tokens and passkeys end as well")] = True


class EmailVerification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /auth/email/verify`."""

    EXAMPLES: ClassVar[Any] = ({"token": "what the mail's link ends with"},)

    token: Token


@endpoint(
    "POST", "/auth/password/change",
    needs=LOGGED_IN, says="Change one's password; every other login ends", errors=(409, 429), tag=TAG, strict=True,
)  # fmt: skip
async def change(request: ApiRequest, data: JSONBody[PasswordChange]) -> Envelope[None]:
    here, caller = resources(request), request.auth
    async with guessing_password(here, caller.caller_id):
        await change_password(
            caller.caller_id,
            data.current_password,
            data.new_password,
            staying=caller.session_id,
            recovery=recovery_of(here),
        )
    return Envelope(None, "changed: tokens of before are void, sign in or renew them")


@endpoint(
    "POST", "/auth/password/forgot",
    needs=ANYONE, says="Have a link mailed that sets a new password; the same answer for every address",
    status=202, errors=(429, 503), tag=TAG,
)  # fmt: skip
async def forgot(request: ApiRequest, data: JSONBody[PasswordForgotten]) -> Response[Envelope[None]]:
    here = resources(request)
    headers = await counted_mails(here, client_address(request), account_key(data.email))
    await ask_for_reset(data.email, asking=here.stores.account_mails)
    return Response(
        Envelope(None, "if there is such an account, a mail is on its way"), status_code=202, headers=headers
    )


@endpoint(
    "POST", "/auth/password/reset",
    needs=ANYONE, says="Set a new password; logins end, and tokens and passkeys of one's own unless said otherwise",
    errors=(403, 429, 503), tag=TAG,
)  # fmt: skip
async def reset(request: ApiRequest, data: JSONBody[PasswordReset]) -> Envelope[None]:
    here = resources(request)
    await _counted_tokens(here, request)
    await reset_password(data.token, data.new_password, revoke_tokens=data.revoke_tokens, recovery=recovery_of(here))
    return Envelope(None, "set: sign in with the new password")


@endpoint(
    "POST", "/auth/email/verify", needs=ANYONE, says="Confirm the address that the mail went to",
    errors=(403, 409, 429, 503), tag=TAG,
)  # fmt: skip
async def verify(request: ApiRequest, data: JSONBody[EmailVerification]) -> Envelope[None]:
    here = resources(request)
    await _counted_tokens(here, request)
    await verify_email(data.token, verifying=here.stores.one_time_tokens, changed=here.changes)
    return Envelope(None, "confirmed")


@endpoint(
    "POST", "/auth/email/verification",
    needs=LOGGED_IN, says="Have the mail sent again that confirms one's address", status=202, errors=(429,), tag=TAG,
    dto=None,
)  # fmt: skip
async def ask_again(request: ApiRequest) -> Response[Envelope[None]]:
    here, caller = resources(request), request.auth.caller_id
    headers = await counted_mails(here, client_address(request), str(caller))
    await ask_for_verification(caller, asking=here.stores.account_mails)
    return Response(
        Envelope(None, "if there is something to confirm, a mail is on its way"), status_code=202, headers=headers
    )


async def counted_mails(here: Resources, *keys: str) -> dict[str, str]:
    """Mails that may be asked for, by client address and by account, whether there is one or not."""
    headers: dict[str, str] = {}
    for key in keys:
        verdict = await here.limits.check(f"account-mails:{key}", here.settings.account_mails_per_minute, strict=True)
        headers = enforced("account-mails", verdict)
    return headers


async def _counted_tokens(here: Resources, request: ApiRequest) -> None:
    """Tries of mailed tokens, of both purposes together."""
    key, per_minute = f"mailed-tokens:{client_address(request)}", here.settings.logins_per_minute
    enforced("mailed-tokens", await here.limits.check(key, per_minute, strict=True))


def recovery_of(here: Resources) -> Recovery:
    return Recovery(
        here.stores.passwords,
        here.stores.one_time_tokens,
        here.passwords,
        here.settings.public_url,
        here.changes.revoked,
    )


HANDLERS = [change, forgot, reset, verify, ask_again]
