"""Roles, permissions, and who has which."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from carillon.kit.http.access import ApiRequest
from carillon.kit.http.answer import Answer
from carillon.kit.http.conditions import IfMatch, etag, expected_versions
from carillon.kit.http.envelope import Envelope, page_of
from carillon.kit.http.idempotency import REPLAYED, IdempotencyKey
from carillon.kit.http.routing import endpoint
from carillon.users.actions import granting
from carillon.users.actions.granting import RoleChange
from carillon.users.domain.people import ONE_LINE
from carillon.users.domain.roles import Grants, Permission, Role
from carillon.users.errors import UnknownRole, UnknownUser
from carillon.users.routes.once import once_of
from carillon.users.routes.resources import TAG, actor, resources

READ_ROLES = "roles:read"
WRITE_ROLES = "roles:write"

RoleNamed = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        pattern=r"\A[a-z][a-z0-9_.\-]*\Z",
        description="Lower case, digits, . _ -",
        examples=["support"],
    ),
]
PermissionNamed = Annotated[
    str,
    Meta(
        max_length=100,
        pattern=r"\A[a-z0-9_]+:([a-z0-9_]+|\*)\Z",
        description="thing:verb, or thing:* for all verbs",
        examples=["users:read"],
    ),
]
Described = Annotated[str, Meta(min_length=1, max_length=500, pattern=ONE_LINE, description="One line")]
Permissions = Annotated[list[PermissionNamed], Meta(max_length=200)]


class RoleWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /roles`."""

    EXAMPLES: ClassVar[Any] = (
        {"name": "support", "description": "Answers people", "permissions": ["users:read", "notifications:read"]},
    )

    name: RoleNamed
    description: Described
    permissions: Permissions = []


class PartOfRole(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `PATCH /roles/{id}`: what is absent or null stays; `permissions` is the whole list."""

    EXAMPLES: ClassVar[Any] = ({"description": "Answers people by mail"}, {"permissions": ["users:read"]})

    name: RoleNamed | None = None
    description: Described | None = None
    permissions: Permissions | None = None


class RolesGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `PUT /users/{id}/roles`: these by name, and no others."""

    EXAMPLES: ClassVar[Any] = ({"roles": ["admin", "user"]},)

    roles: Annotated[list[RoleNamed], Meta(max_length=100)]


class PermissionsGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `PUT /users/{id}/permissions`: these directly, and no others; what roles give stays."""

    EXAMPLES: ClassVar[Any] = ({"permissions": ["templates:read"]},)

    permissions: Permissions


_ROLE = "/roles/{role_id:uuid}"
_ROLES_OF_USER = "/users/{user_id:uuid}/roles"
_PERMISSIONS_OF_USER = "/users/{user_id:uuid}/permissions"


@endpoint("GET", "/permissions", needs=READ_ROLES, says="All permissions there are", tag=TAG)
async def list_permissions(request: ApiRequest) -> Envelope[Sequence[Permission]]:
    return _whole(await resources(request).stores.grants.permissions())


@endpoint("GET", "/roles", needs=READ_ROLES, says="All roles, by name", tag=TAG)
async def list_roles(request: ApiRequest) -> Envelope[Sequence[Role]]:
    return _whole(await resources(request).stores.grants.roles())


@endpoint(
    "POST", "/roles",
    needs=WRITE_ROLES, says="Make a role", status=201, also=(200,), answers=Envelope[Role], errors=(404, 409), tag=TAG,
    strict=True,
)  # fmt: skip
async def make_role(
    request: ApiRequest, data: JSONBody[RoleWanted], idempotency_key: IdempotencyKey = None
) -> Answer[Envelope[Role]]:
    role, new = await granting.make_role(
        data.name,
        data.description.strip(),
        data.permissions,
        by=actor(request),
        ledger=resources(request).stores.grants,
        once=once_of(request, idempotency_key, data, makes="role"),
    )
    if not new:
        return Answer(Envelope(role, "made before"), status_code=200, headers={**etag(role.version), **REPLAYED})
    return Answer(Envelope(role, "made"), status_code=201, headers=etag(role.version))


@endpoint("GET", _ROLE, needs=READ_ROLES, says="One role", errors=(404,), tag=TAG)
async def one_role(request: ApiRequest, role_id: FromPath[UUID]) -> Answer[Envelope[Role]]:
    role = await resources(request).stores.grants.role(role_id)
    if role is None:
        raise UnknownRole
    return Answer(Envelope(role), headers=etag(role.version))


@endpoint("PATCH", _ROLE, needs=WRITE_ROLES, says="Change a role", errors=(404, 409, 412), tag=TAG, strict=True)
async def patch_role(
    request: ApiRequest, role_id: FromPath[UUID], data: JSONBody[PartOfRole], if_match: IfMatch = None
) -> Answer[Envelope[Role]]:
    here = resources(request)
    description = None if data.description is None else data.description.strip()
    role = await granting.change_role(
        role_id,
        RoleChange(data.name, description, data.permissions),
        expected=expected_versions(if_match),
        by=actor(request),
        ledger=here.stores.grants,
        changed=here.changes.revoked,
    )
    return Answer(Envelope(role, "changed"), headers=etag(role.version))


@endpoint("DELETE", _ROLE, needs=WRITE_ROLES, says="Delete a role", errors=(404, 409, 412), tag=TAG, strict=True)
async def delete_role(request: ApiRequest, role_id: FromPath[UUID], if_match: IfMatch = None) -> Envelope[Role]:
    here = resources(request)
    role = await granting.delete_role(
        role_id,
        expected=expected_versions(if_match),
        by=actor(request),
        ledger=here.stores.grants,
        changed=here.changes.revoked,
    )
    return Envelope(role, "deleted, and taken from all who had it")


@endpoint(
    "GET", [_ROLES_OF_USER, _PERMISSIONS_OF_USER],
    needs=READ_ROLES, says="What a user may do: by roles, directly, in all", errors=(404,), tag=TAG,
)  # fmt: skip
async def grants_of_user(request: ApiRequest, user_id: FromPath[UUID]) -> Answer[Envelope[Grants]]:
    grants = await resources(request).stores.grants.grants(user_id)
    if grants is None:
        raise UnknownUser
    return Answer(Envelope(grants), headers=etag(grants.version))


@endpoint(
    "PUT",
    _ROLES_OF_USER,
    needs=WRITE_ROLES,
    says="Replace a user's roles",
    errors=(404, 409, 412),
    tag=TAG,
    strict=True,
)
async def put_roles(
    request: ApiRequest, user_id: FromPath[UUID], data: JSONBody[RolesGiven], if_match: IfMatch = None
) -> Answer[Envelope[Grants]]:
    here = resources(request)
    grants = await granting.assign_roles(
        user_id,
        frozenset(data.roles),
        expected=expected_versions(if_match),
        by=actor(request),
        ledger=here.stores.grants,
        changed=here.changes.revoked,
    )
    return Answer(Envelope(grants, "replaced"), headers=etag(grants.version))


@endpoint(
    "PUT", _PERMISSIONS_OF_USER,
    needs=WRITE_ROLES, says="Replace a user's direct permissions", errors=(404, 412), tag=TAG, strict=True,
)  # fmt: skip
async def put_permissions(
    request: ApiRequest, user_id: FromPath[UUID], data: JSONBody[PermissionsGiven], if_match: IfMatch = None
) -> Answer[Envelope[Grants]]:
    here = resources(request)
    grants = await granting.assign_permissions(
        user_id,
        frozenset(data.permissions),
        expected=expected_versions(if_match),
        by=actor(request),
        ledger=here.stores.grants,
        changed=here.changes.revoked,
    )
    return Answer(Envelope(grants, "replaced"), headers=etag(grants.version))


def _whole(items: Sequence[Any]) -> Envelope[Sequence[Any]]:
    return page_of(items, total=len(items), limit=max(1, len(items)), page=1)


HANDLERS = [
    list_permissions, list_roles, make_role, one_role, patch_role, delete_role, grants_of_user, put_roles,
    put_permissions,
]  # fmt: skip
