"""What people say of themselves: changed in part, by themselves or by who may write to users."""

from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, UnsetType

from carillon.contracts.people import User
from carillon.contracts.quiet_hours import TimezoneName
from carillon.contracts.templates import Language
from carillon.kit.errors import invalid
from carillon.kit.http.access import ApiRequest, self_or
from carillon.kit.http.answer import Answer
from carillon.kit.http.conditions import IfMatch, etag, expected_versions
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint
from carillon.users.actions.changing import change_profile
from carillon.users.actions.reauthenticating import check_present_password
from carillon.users.actions.verifying import change_email
from carillon.users.domain.people import address
from carillon.users.domain.profile import ProfilePatch, checked_patch
from carillon.users.routes.authentication import Email, Name
from carillon.users.routes.guessing import guessing_password
from carillon.users.routes.passwords import counted_mails
from carillon.users.routes.resources import TAG, WRITE, actor, client_address, own_session, resources

PresentPassword = Annotated[str, Meta(max_length=256, description="Needed where one changes one's own `email`")]


class PartOfUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of PATCH, a JSON merge patch (RFC 7396): what is absent stays, null takes away, also within `attributes`."""

    EXAMPLES: ClassVar[Any] = (
        {"name": "Ada King", "locale": "pt-BR", "timezone": "Europe/Lisbon"},
        {"attributes": {"plan": "pro", "trial": None}},
        {"locale": None},
        {"email": "ada@example.com", "current_password": "correct horse battery"},
    )

    name: Name | UnsetType = UNSET
    email: Email | UnsetType = UNSET
    current_password: PresentPassword | UnsetType = UNSET
    locale: Language | UnsetType | None = UNSET
    timezone: TimezoneName | UnsetType | None = UNSET
    attributes: dict[str, Any] | UnsetType | None = UNSET


@endpoint(
    "PATCH", "/users/{user_id:uuid}",
    needs=self_or(WRITE), says="Change name, locale, time zone, attributes; an address counts once it is confirmed",
    errors=(404, 409, 412, 429, 503), tag=TAG,
)  # fmt: skip
async def patch_user(
    request: ApiRequest, user_id: FromPath[UUID], data: JSONBody[PartOfUser], if_match: IfMatch = None
) -> Answer[Envelope[User]]:
    here = resources(request)
    patch = checked_patch(
        ProfilePatch(
            name=data.name if data.name is UNSET else data.name.strip(),
            locale=data.locale,
            timezone=data.timezone,
            attributes=data.attributes,
        )
    )
    by, expected = actor(request), expected_versions(if_match)
    wanted = None if data.email is UNSET else address(data.email)
    if wanted is not None:  # first, because it is what may be refused
        if user_id == by.actor_id:
            await _shown_to_be_the_owner(request, data)
        await counted_mails(here, client_address(request), str(by.actor_id))
        user = await change_email(
            user_id, wanted, expected=expected, by=by, keeper=here.stores.addresses,
            public_url=here.settings.public_url, changed=here.changes,
        )  # fmt: skip
        expected = None
    if wanted is None or patch.fields:
        user = await change_profile(
            user_id, patch, expected=expected, by=by, keeper=here.stores.profiles, changed=here.changes
        )
    return Answer(Envelope(user, "changed"), headers=etag(user.version))


async def _shown_to_be_the_owner(request: ApiRequest, data: PartOfUser) -> None:
    """Whoever took a login over does not get the account with it: that takes the password as well."""
    own_session(request)
    here, user_id = resources(request), request.auth.caller_id
    if data.current_password is UNSET:
        raise invalid("current_password", "Needed where you change your own address.")
    async with guessing_password(here, user_id):
        await check_present_password(
            user_id, data.current_password, owners=here.stores.passwords, passwords=here.passwords
        )


HANDLERS = [patch_user]
