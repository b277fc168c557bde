"""Following `users.events`: what changed anywhere is told to all who remember something of it."""

from typing import Protocol

import msgspec
import structlog

from carillon.contracts.channels import USERS_EVENTS
from carillon.contracts.users import CategoryChanged, UserChanged, event_of
from carillon.kit.broker.port import Announced, Broker, Event, LinkLost

_log = structlog.get_logger()


class Follower(Protocol):
    """Remembers something of users."""

    def heard(self, event: UserChanged | CategoryChanged) -> None: ...

    def link_down(self) -> None:
        """Changes are not heard of from now on."""

    def link_up(self) -> None:
        """They are heard of again; those before may have been missed, so nothing that is remembered will do."""


async def follow(broker: Broker, *followers: Follower) -> None:
    """A loop: tell them what changed, and whenever changes may have been missed."""
    _link_down(followers)
    async with broker.subscribe(USERS_EVENTS) as events:
        try:
            async for event in events:
                _hear(event, followers)
        finally:  # before the closing, which may take its time
            _link_down(followers)


def _hear(event: Event, followers: tuple[Follower, ...]) -> None:
    if isinstance(event, LinkLost):
        _link_down(followers)
        return
    if isinstance(event, Announced):
        try:
            changed = event_of(event.body)
        except msgspec.DecodeError:  # as if it had been missed
            _log.warning("user_event_unreadable", size=len(event.body))
        else:
            for follower in followers:
                follower.heard(changed)
            return
    for follower in followers:
        follower.link_up()


def _link_down(followers: tuple[Follower, ...]) -> None:
    for follower in followers:
        follower.link_down()
