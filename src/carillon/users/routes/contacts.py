"""How a user is reached and whether they agreed, and who fits a filter: for the services that deliver."""

from typing import Annotated
from uuid import UUID

from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from carillon.contracts.audiences import MOST_COUNTED, MOST_LOOKED_AT, AudiencePage, AudienceWanted
from carillon.contracts.channels import Channel
from carillon.contracts.users import Contact, ContactsFound, ContactsWanted
from carillon.kit.http.access import ApiRequest
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint
from carillon.users.routes.resources import TAG, resources

CONTACT = "users:contact"


@endpoint(
    "GET", "/users/{user_id:uuid}/contact",
    needs=CONTACT, says="Addresses of one channel, and the decision", errors=(404,), tag=TAG,
)  # fmt: skip
async def one_contact(
    request: ApiRequest,
    user_id: FromPath[UUID],
    channel: FromQuery[Channel],
    category: Annotated[str | None, QueryParameter(max_length=200)] = None,
) -> Envelope[Contact]:
    return Envelope(await resources(request).look_ups.contact(user_id, channel, category))


@endpoint("POST", "/users/contacts", needs=CONTACT, says="The same for up to 500 users", tag=TAG)
async def many_contacts(request: ApiRequest, data: JSONBody[ContactsWanted]) -> Envelope[ContactsFound]:
    look_ups = resources(request).look_ups
    return Envelope(await look_ups.contacts(data.user_ids, data.channel, data.category))


@endpoint("POST", "/users/audience", needs=CONTACT, says="Ids of those who fit a filter, or their number", tag=TAG)
async def audience(request: ApiRequest, data: JSONBody[AudienceWanted]) -> Envelope[AudiencePage]:
    here, audiences = resources(request), resources(request).stores.audiences
    if data.count_only:
        async with here.counting.place():
            return Envelope(await audiences.count(data.filter, after=data.after, most=MOST_COUNTED))
    return Envelope(await audiences.page(data.filter, after=data.after, most=MOST_LOOKED_AT))


HANDLERS = [one_contact, many_contacts, audience]
