"""Passkeys: registered, listed, removed, and signed in with. Options and answers have WebAuthn's own JSON form."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import msgspec
from litestar import Response
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from carillon.kit.http.access import ANYONE, LOGGED_IN, ApiRequest
from carillon.kit.http.answer import NO_STORE
from carillon.kit.http.envelope import Envelope, page_of
from carillon.kit.http.routing import endpoint
from carillon.users.actions import using_passkeys
from carillon.users.actions.reauthenticating import check_present_password
from carillon.users.actions.telling import telling
from carillon.users.actions.using_passkeys import Ceremonies
from carillon.users.domain.passkeys import MOST_PASSKEYS, Ceremony, Passkey
from carillon.users.domain.people import ONE_LINE
from carillon.users.routes.guessing import guessing_codes, guessing_password
from carillon.users.routes.resources import TAG, Resources, client_address, counted, resources
from carillon.users.routes.second_factors import Code, RecoveryCode, proof_of, proving_of
from carillon.users.routes.sessions import AccessGranted, client_of, granted, opening

_BASE64 = r"^[A-Za-z0-9_-]+(?!\n)$"
_FORM = "Base64 for URLs, without filling"
CredentialId = Annotated[str, Meta(max_length=1_400, pattern=_BASE64, description=_FORM)]
Bytes = Annotated[str, Meta(max_length=65_536, pattern=_BASE64, description=_FORM)]
Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=ONE_LINE, description="One line")]
_CLIENT_DATA = "eyJ0eXBlIjoid2ViYXV0aG4uZ2V0In0"


class PasskeyBegun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /auth/passkeys/registration`; a code, or a recovery code, where logins need one."""

    EXAMPLES: ClassVar[Any] = ({"current_password": "correct horse battery"},)

    current_password: Annotated[str, Meta(max_length=256)]
    code: Code | None = None
    recovery_code: RecoveryCode | None = None


class Attestation(msgspec.Struct, frozen=True):
    """Of an `AuthenticatorAttestationResponse`; what browsers add is left alone."""

    clientDataJSON: Bytes  # noqa: N815 - WebAuthn's name
    attestationObject: Bytes  # noqa: N815 - as above


class Registered(msgspec.Struct, frozen=True):
    """What `navigator.credentials.create()` gave, as `toJSON()` tells it."""

    id: CredentialId
    rawId: CredentialId  # noqa: N815 - as above
    type: Literal["public-key"]
    response: Attestation


class PasskeyToAdd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /auth/passkeys`."""

    EXAMPLES: ClassVar[Any] = (
        {
            "name": "My phone",
            "credential": {
                "id": "AQID",
                "rawId": "AQID",
                "type": "public-key",
                "response": {"clientDataJSON": _CLIENT_DATA, "attestationObject": "o2NmbXRkbm9uZQ"},
            },
        },
    )

    name: Name
    credential: Registered


class Assertion(msgspec.Struct, frozen=True):
    """Of an `AuthenticatorAssertionResponse`."""

    clientDataJSON: Bytes  # noqa: N815 - WebAuthn's name
    authenticatorData: Bytes  # noqa: N815 - as above
    signature: Bytes
    userHandle: CredentialId  # noqa: N815 - as above


class Shown(msgspec.Struct, frozen=True):
    """What `navigator.credentials.get()` gave, as `toJSON()` tells it."""

    id: CredentialId
    rawId: CredentialId  # noqa: N815 - as above
    type: Literal["public-key"]
    response: Assertion


class PasskeyShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /auth/passkeys/login/finish`."""

    EXAMPLES: ClassVar[Any] = (
        {
            "credential": {
                "id": "AQID",
                "rawId": "AQID",
                "type": "public-key",
                "response": {
                    "clientDataJSON": _CLIENT_DATA,
                    "authenticatorData": "AQID",
                    "signature": "AQID",
                    "userHandle": "AaIETbZlfW2RWeF5u-OzyA",
                },
            },
        },
    )

    credential: Shown


@endpoint(
    "POST", "/auth/passkeys/registration", needs=LOGGED_IN, says="Begin with a passkey: options for the browser",
    errors=(404,), tag=TAG, strict=True,
)  # fmt: skip
async def begin(request: ApiRequest, data: JSONBody[PasskeyBegun]) -> Response[Envelope[Ceremony]]:
    here, caller = resources(request), request.auth.caller_id
    proof = None if data.code is data.recovery_code is None else proof_of(data.code, data.recovery_code)
    async with guessing_password(here, caller):
        owner = await check_present_password(
            caller, data.current_password, owners=here.stores.passwords, passwords=here.passwords
        )
    async with guessing_codes(here, caller):
        await using_passkeys.check_second_factor(
            caller, proof, factors=here.stores.second_factors, proving=proving_of(here)
        )
    ceremony = await using_passkeys.begin_registration(caller, owner, ceremonies=_ceremonies(here))
    return Response(Envelope(ceremony), headers=NO_STORE)


@endpoint(
    "POST", "/auth/passkeys", needs=LOGGED_IN, says="Add the passkey that the browser made", status=201, errors=(409,),
    tag=TAG, strict=True,
)  # fmt: skip
async def add(request: ApiRequest, data: JSONBody[PasskeyToAdd]) -> Envelope[Passkey]:
    answer = msgspec.to_builtins(data.credential)
    added = await using_passkeys.register(
        request.auth.caller_id, data.name, answer, ceremonies=_ceremonies(resources(request))
    )
    return Envelope(added, "added")


@endpoint("GET", "/auth/passkeys", needs=LOGGED_IN, says="One's own passkeys, the newest first", tag=TAG, strict=True)
async def see(request: ApiRequest) -> Envelope[Sequence[Passkey]]:
    found = await resources(request).stores.passkeys.passkeys(request.auth.caller_id)
    return page_of(found, total=len(found), limit=MOST_PASSKEYS, page=1)


@endpoint(
    "DELETE", "/auth/passkeys/{passkey_id:uuid}", needs=LOGGED_IN, says="Remove a passkey", errors=(404,), tag=TAG,
    strict=True,
)  # fmt: skip
async def remove(request: ApiRequest, passkey_id: FromPath[UUID]) -> Envelope[None]:
    await using_passkeys.remove(request.auth.caller_id, passkey_id, passkeys=resources(request).stores.passkeys)
    return Envelope(None, "removed")


@endpoint(
    "POST", "/auth/passkeys/login", needs=ANYONE, says="Begin to sign in with a passkey: options for the browser",
    errors=(429, 503), tag=TAG, dto=None,
)  # fmt: skip
async def begin_login(request: ApiRequest) -> Response[Envelope[Ceremony]]:
    here = resources(request)
    headers = await _counted(here, request)
    ceremony = await using_passkeys.begin_login(ceremonies=_ceremonies(here))
    return Response(Envelope(ceremony), status_code=200, headers={**headers, **NO_STORE})


@endpoint(
    "POST", "/auth/passkeys/login/finish", needs=ANYONE, says="Sign in with what the passkey answered",
    errors=(401, 429, 503), tag=TAG,
)  # fmt: skip
async def log_in(request: ApiRequest, data: JSONBody[PasskeyShown]) -> Response[Envelope[AccessGranted]]:
    here = resources(request)
    headers = await _counted(here, request)
    signed = await using_passkeys.sign_in_with_passkey(
        msgspec.to_builtins(data.credential),
        ceremonies=_ceremonies(here),
        opening=opening(here),
        client=client_of(request),
    )
    return Response(Envelope(granted(signed), "signed in"), headers={**headers, **NO_STORE})


async def _counted(here: Resources, request: ApiRequest) -> dict[str, str]:
    return await counted(here, "logins", client_address(request), here.settings.logins_per_minute, strict=True)


def _ceremonies(here: Resources) -> Ceremonies:
    told = telling("passkey_added", public_url=here.settings.public_url)
    return Ceremonies(here.stores.passkeys, here.relying_party, told)


HANDLERS = [begin, add, see, remove, begin_login, log_in]
