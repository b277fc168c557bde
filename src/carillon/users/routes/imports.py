"""Importing people with the hashes of their passwords."""

from litestar.params import JSONBody

from carillon.contracts.imports import ImportReport, UsersToImport
from carillon.kit.http.access import ApiRequest
from carillon.kit.http.envelope import Envelope
from carillon.kit.http.routing import endpoint
from carillon.users.actions.importing import import_users
from carillon.users.routes.resources import TAG, resources


@endpoint(
    "POST", "/users/import",
    needs="users:import", says="Import up to 500 users, each with an outcome of its own", tag=TAG, strict=True,
)  # fmt: skip
async def take_in(request: ApiRequest, data: JSONBody[UsersToImport]) -> Envelope[ImportReport]:
    results = await import_users(data.users, people=resources(request).stores.people, actor_id=request.auth.caller_id)
    return Envelope(ImportReport(results))


HANDLERS = [take_in]
