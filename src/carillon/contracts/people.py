"""A user, their preferences and their devices, as the users service shows them."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from carillon.contracts.preferences import CategoryChoice
from carillon.contracts.quiet_hours import QuietHours
from carillon.contracts.users import DevicePlatform

Status = Literal["active", "suspended"]


class ChannelChoices(msgspec.Struct, frozen=True):
    """Opt in or out, by channel."""

    email: bool = True
    push: bool = True


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person as they are shown. `push_token` is null while there is none that works; `pending_email`
    takes the place of `email` once it is confirmed."""

    user_id: UUID
    name: str
    email: str | None
    email_verified: bool
    pending_email: str | None
    push_token: str | None
    preferences: ChannelChoices
    status: Status
    locale: str | None
    timezone: str | None
    attributes: dict[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime


class Preferences(msgspec.Struct, frozen=True, kw_only=True):
    """What a user agreed to. `version` rises with every change of the user.

    A category is one choice for all channels, or one for each channel that was chosen.
    """

    email: bool
    push: bool
    categories: dict[str, CategoryChoice]
    quiet_hours: QuietHours | None
    version: int


class KnownDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device as its owner sees it. An invalid one is pushed to no more; `invalid_reason` is the provider's word.

    The keys of a Web Push subscription are told to nobody but the services that deliver.
    """

    device_id: UUID
    platform: DevicePlatform
    token: str
    name: str
    is_push_token: bool
    created_at: datetime
    updated_at: datetime
    invalid_at: datetime | None
    invalid_reason: str | None
