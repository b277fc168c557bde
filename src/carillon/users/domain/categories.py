"""Categories of notifications: what holds for those who have not chosen."""

from datetime import datetime

import msgspec

from carillon.contracts.channels import Channel

MOST_CATEGORIES = 1_000
SEEDED = frozenset({"account"})
"""Those that other parts of Carillon rely on."""


class Category(msgspec.Struct, frozen=True, kw_only=True):
    """`allowed` is for those who have not chosen; `required_channels` nobody can opt out of; an `urgent` one is not
    held up by quiet hours. `version` rises with every change."""

    code: str
    description: str
    allowed: bool
    required_channels: list[Channel]
    urgent: bool
    version: int
    updated_at: datetime


class CategoryWanted(msgspec.Struct, frozen=True, kw_only=True):
    """A category as somebody wants it to be."""

    code: str
    description: str
    allowed: bool
    required_channels: list[Channel]
    urgent: bool
