"""Following `users.events`: what changed anywhere is told to all who remember something of it."""

import asyncio
import time
from typing import Protocol

import msgspec
import structlog

from carillon.contracts.channels import USERS_EVENTS
from carillon.contracts.users import AllTold, CategoryChanged, UserChanged, event_of
from carillon.kit.broker.port import Announced, Broker, LinkLost

_log = structlog.get_logger()
_GOOD_SECONDS = 2.0
"""How long a word counts that all was told; the users service gives it once or twice a second."""


class Follower(Protocol):
    """Remembers something of users, and goes by it for as long as the link is good."""

    def heard(self, event: UserChanged | CategoryChanged) -> None: ...

    def link_down(self) -> None:
        """Changes are not heard of from now on."""

    def link_up(self, seconds: float) -> None:
        """They are heard of again; those before may have been missed, so nothing that is remembered will do."""

    def link_good(self, seconds: float) -> None:
        """None was missed, and for so long it need not be asked again whether any was."""


async def follow(broker: Broker, *followers: Follower, standing: asyncio.Event | None = None) -> None:
    """A loop: tell them what changed, whenever changes may have been missed, and that all were told.

    `standing` is set while the subscription stands.
    """
    link = _Link(followers, standing or asyncio.Event())
    link.lost()
    async with broker.subscribe(USERS_EVENTS) as events:
        try:
            async for event in events:
                if isinstance(event, LinkLost):
                    link.lost()
                elif isinstance(event, Announced):
                    link.hear(event.body)
                else:
                    link.established()
        finally:  # before the closing, which may take its time
            link.lost()


class _Link:
    """What stands between a change and the followers."""

    def __init__(self, followers: tuple[Follower, ...], standing: asyncio.Event) -> None:
        self._followers = followers
        self._standing = standing
        self._good_until = 0.0

    def lost(self) -> None:
        self._standing.clear()
        for follower in self._followers:
            follower.link_down()

    def established(self) -> None:
        self._standing.set()
        self._good_until = time.monotonic() + _GOOD_SECONDS
        for follower in self._followers:
            follower.link_up(_GOOD_SECONDS)

    def hear(self, body: bytes) -> None:
        try:
            event = event_of(body)
        except msgspec.DecodeError:
            _log.warning("user_event_unreadable", size=len(body))
            if self._standing.is_set():
                self.established()  # as if it had been missed
            return
        if isinstance(event, AllTold):
            if self._standing.is_set():  # else it is a late word of the connection before
                self._vouched()
            return
        for follower in self._followers:
            follower.heard(event)

    def _vouched(self) -> None:
        now = time.monotonic()
        if now > self._good_until:
            _log.warning("user_events_were_in_doubt", seconds=round(now - self._good_until, 1))
        self._good_until = now + _GOOD_SECONDS
        for follower in self._followers:
            follower.link_good(_GOOD_SECONDS)
