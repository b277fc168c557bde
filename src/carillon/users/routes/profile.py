"""What people say of themselves: changed in part, by themselves or by who may write to users."""

from typing import Any, ClassVar
from uuid import UUID

import msgspec
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, UnsetType

from carillon.contracts.quiet_hours import TimezoneName
from carillon.contracts.templates import Language
from carillon.kit.http.access import ApiRequest, self_or
from carillon.kit.http.answer import Answer
from carillon.kit.http.conditions import IfMatch, etag, expected_versions
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint
from carillon.users.actions.changing import change_profile
from carillon.users.actions.verifying import change_email
from carillon.users.domain.people import User, address
from carillon.users.domain.profile import ProfilePatch
from carillon.users.routes.authentication import Email, Name
from carillon.users.routes.passwords import counted_mails
from carillon.users.routes.resources import TAG, WRITE, actor, client_address, resources


class PartOfUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of PATCH, a JSON merge patch (RFC 7396): what is absent stays, null takes away, also within `attributes`."""

    EXAMPLES: ClassVar[Any] = (
        {"name": "Ada King", "locale": "pt-BR", "timezone": "Europe/Lisbon"},
        {"attributes": {"plan": "pro", "trial": None}},
        {"locale": None},
        {"email": "ada@example.com"},
    )

    name: Name | UnsetType = UNSET
    email: Email | UnsetType = UNSET
    locale: Language | UnsetType | None = UNSET
    timezone: TimezoneName | UnsetType | None = UNSET
    attributes: dict[str, Any] | UnsetType | None = UNSET


@endpoint(
    "PATCH", "/users/{user_id:uuid}",
    needs=self_or(WRITE), says="Change name, locale, time zone, attributes; an address counts once it is confirmed",
    errors=(404, 409, 412, 429), tag=TAG,
)  # fmt: skip
async def patch_user(
    request: ApiRequest, user_id: FromPath[UUID], data: JSONBody[PartOfUser], if_match: IfMatch = None
) -> Answer[Envelope[User]]:
    here = resources(request)
    patch = ProfilePatch(
        name=data.name if data.name is UNSET else data.name.strip(),
        locale=data.locale,
        timezone=data.timezone,
        attributes=data.attributes,
    )
    by, expected = actor(request), expected_versions(if_match)
    wanted = None if data.email is UNSET else address(data.email)
    if wanted is not None:  # first, because it is what may be refused
        await counted_mails(here, client_address(request), str(by.actor_id))
        user = await change_email(
            user_id, wanted, expected=expected, by=by, keeper=here.addresses, changed=here.changes
        )
        expected = None
    if wanted is None or patch.fields:
        user = await change_profile(
            user_id, patch, expected=expected, by=by, keeper=here.profiles, changed=here.changes
        )
    return Answer(Envelope(user, "changed"), headers=etag(user.version))


HANDLERS = [patch_user]
