"""Addresses that must not be written to. They travel in bodies, never in URLs, which end in logs."""

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from litestar.params import JSONBody

from carillon.kit.http.access import ApiRequest
from carillon.kit.http.answer import Answer
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint
from carillon.users.actions import suppressing
from carillon.users.actions.suppressing import Suppression
from carillon.users.routes.authentication import Email
from carillon.users.routes.resources import TAG, resources

SUPPRESS = "suppressions:write"
Reason = Annotated[
    Literal["bounced", "complained", "unsubscribed", "manual"],
    msgspec.Meta(description="Why the address must not be written to"),
]


class AddressToSuppress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /suppressions`."""

    EXAMPLES: ClassVar[Any] = ({"email": "gone@example.com", "reason": "bounced"}, {"email": "gone@example.com"})

    email: Email
    reason: Reason = "manual"


class AddressGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /suppressions/lift` and `POST /suppressions/check`."""

    EXAMPLES: ClassVar[Any] = ({"email": "gone@example.com"},)

    email: Email


@endpoint(
    "POST", "/suppressions", needs=SUPPRESS, says="Write to this address no more", status=201, also=(200,),
    answers=Envelope[Suppression], tag=TAG, strict=True,
)  # fmt: skip
async def suppress(request: ApiRequest, data: JSONBody[AddressToSuppress]) -> Answer[Envelope[Suppression]]:
    here = resources(request)
    state, new = await suppressing.suppress(
        data.email,
        data.reason,
        actor_id=request.auth.caller_id,
        suppressions=here.stores.suppressions,
        changed=here.changes,
    )
    return Answer(Envelope(state, "suppressed" if new else "was suppressed"), status_code=201 if new else 200)


@endpoint("POST", "/suppressions/lift", needs=SUPPRESS, says="Write to this address again", tag=TAG, strict=True)
async def lift(request: ApiRequest, data: JSONBody[AddressGiven]) -> Envelope[Suppression]:
    here = resources(request)
    lifted = await suppressing.lift(
        data.email, actor_id=request.auth.caller_id, suppressions=here.stores.suppressions, changed=here.changes
    )
    return Envelope(Suppression(suppressed=False), "lifted" if lifted else "was not suppressed")


@endpoint(
    "POST", "/suppressions/check", needs=SUPPRESS, says="Is this address suppressed, and why", tag=TAG, strict=True
)
async def check(request: ApiRequest, data: JSONBody[AddressGiven]) -> Envelope[Suppression]:
    return Envelope(await suppressing.ask(data.email, suppressions=resources(request).stores.suppressions))


HANDLERS = [suppress, lift, check]
