"""The devices that a user is pushed to: several, and the one of `push_token`."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec
from litestar import Response
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from carillon.contracts.people import KnownDevice, User
from carillon.contracts.users import DeviceGone, DevicePlatform, PushToken, WebPushKeys
from carillon.kit.http.access import ApiRequest, self_or
from carillon.kit.http.envelope import Envelope, page_of
from carillon.kit.http.routing import endpoint
from carillon.users.actions.equipping import (
    list_devices,
    mark_device_gone,
    one_device,
    put_push_token,
    register_device,
    remove_device,
)
from carillon.users.domain.devices import MOST_DEVICES, new_device
from carillon.users.domain.people import ONE_LINE
from carillon.users.errors import UnknownUser
from carillon.users.routes.resources import READ, TAG, WRITE, actor, resources

_DEVICES = "/users/{user_id:uuid}/devices"
_ONE = f"{_DEVICES}/{{device_id:uuid}}"
_KEYS = {
    "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    "auth": "BTBZMqHH6r4Tts7J_aSIgg",
}


class DeviceGiven(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST …/devices`. `token` is FCM's or APNs' own, or the endpoint of a Web Push subscription."""

    EXAMPLES: ClassVar[Any] = (
        {"platform": "fcm", "token": "fcm-token-of-my-phone", "name": "My phone"},
        {"platform": "apns", "token": "0f" * 32},
        {"platform": "webpush", "token": "https://push.example.com/send/3b1c", "keys": _KEYS, "name": "Firefox"},
    )

    platform: DevicePlatform
    token: PushToken
    keys: WebPushKeys | None = None
    name: (
        Annotated[str, Meta(max_length=100, pattern=ONE_LINE, description="One line, no control characters")] | None
    ) = None


class PushTokenGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of PUT: null takes the token away."""

    EXAMPLES: ClassVar[Any] = ({"push_token": "fcm-token"}, {"push_token": None})

    push_token: PushToken | None


class DeviceMarked(msgspec.Struct, frozen=True):
    """False: the token has moved on, or was known to be dead."""

    marked: bool


@endpoint("GET", _DEVICES, needs=self_or(READ), says="All devices of a user", errors=(404,), tag=TAG)
async def read_devices(request: ApiRequest, user_id: FromPath[UUID]) -> Envelope[Sequence[KnownDevice]]:
    here, caller = resources(request), request.auth
    found = await list_devices(user_id, seen_by=caller.caller_id, sees_all=caller.may(READ), keeper=here.stores.devices)
    return page_of(found, total=len(found), limit=MOST_DEVICES, page=1)


@endpoint("GET", _ONE, needs=self_or(READ), says="One device of a user", errors=(404,), tag=TAG)
async def read_device(request: ApiRequest, user_id: FromPath[UUID], device_id: FromPath[UUID]) -> Envelope[KnownDevice]:
    here, caller = resources(request), request.auth
    sees_all = caller.may(READ)
    return Envelope(
        await one_device(user_id, device_id, seen_by=caller.caller_id, sees_all=sees_all, keeper=here.stores.devices)
    )


@endpoint(
    "POST", _DEVICES,
    needs=self_or(WRITE), says="Register a device, or change it; a token moves to whoever registers it",
    status=201, also=(200,), errors=(404, 409), answers=Envelope[KnownDevice], tag=TAG,
)  # fmt: skip
async def post_device(
    request: ApiRequest, user_id: FromPath[UUID], data: JSONBody[DeviceGiven]
) -> Response[Envelope[KnownDevice]]:
    here = resources(request)
    device = new_device(data.platform, data.token, name=(data.name or "").strip(), keys=data.keys)
    kept, new = await register_device(
        user_id, device, by=actor(request), keeper=here.stores.devices, changed=here.changes
    )
    return Response(Envelope(kept, "registered" if new else "changed"), status_code=201 if new else 200)


@endpoint("DELETE", _ONE, needs=self_or(WRITE), says="Remove a device", errors=(404,), tag=TAG)
async def delete_device(
    request: ApiRequest, user_id: FromPath[UUID], device_id: FromPath[UUID]
) -> Envelope[KnownDevice]:
    here = resources(request)
    removed = await remove_device(
        user_id, device_id, by=actor(request), keeper=here.stores.devices, changed=here.changes
    )
    return Envelope(removed, "removed")


@endpoint(
    "PUT", "/users/{user_id:uuid}/push_token",
    needs=self_or(WRITE), says="Set or take away the push token", errors=(404, 409), tag=TAG,
)  # fmt: skip
async def put_token(request: ApiRequest, user_id: FromPath[UUID], data: JSONBody[PushTokenGiven]) -> Envelope[User]:
    here, by = resources(request), actor(request)
    await put_push_token(user_id, data.push_token, by=by, keeper=here.stores.devices, changed=here.changes)
    user = await here.stores.people.user(user_id, seen_by=by.actor_id, sees_all=by.anyone)
    if user is None:
        raise UnknownUser
    return Envelope(user, "changed")


@endpoint("POST", "/users/devices/invalid", needs="devices:invalidate", says="Tell of a dead device token", tag=TAG)
async def device_gone(request: ApiRequest, data: JSONBody[DeviceGone]) -> Envelope[DeviceMarked]:
    here = resources(request)
    marked = await mark_device_gone(
        data, actor_id=request.auth.caller_id, keeper=here.stores.devices, changed=here.changes
    )
    return Envelope(DeviceMarked(marked))


HANDLERS = [read_devices, read_device, post_device, delete_device, put_token, device_gone]
