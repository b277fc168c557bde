"""Following `users.events`: what changed anywhere is told to all who remember something of it."""

import asyncio
from collections.abc import AsyncIterator
from enum import Enum, auto
from typing import Protocol

import msgspec
import structlog

from carillon.contracts.channels import USERS_EVENTS
from carillon.contracts.users import AllTold, CategoryChanged, UserChanged, event_of
from carillon.kit.broker.port import Announced, Broker, Event, LinkLost

_log = structlog.get_logger()
_SILENCE_SECONDS = 2.0
"""Four times as long as the users service takes from one `AllTold` to the next."""


class Follower(Protocol):
    """Remembers something of users."""

    def heard(self, event: UserChanged | CategoryChanged) -> None: ...

    def link_down(self) -> None:
        """Changes may not be heard of from now on."""

    def link_up(self) -> None:
        """They are heard of again; those before may have been missed, so nothing that is remembered will do."""

    def link_back(self) -> None:
        """They are heard of again, and none was missed."""


async def follow(broker: Broker, *followers: Follower, standing: asyncio.Event | None = None) -> None:
    """A loop: tell them what changed, and whenever changes may have been missed, or may wait to be told.

    `standing` is set while the subscription stands.
    """
    link = _Link(followers, standing or asyncio.Event())
    link.lost()
    async with broker.subscribe(USERS_EVENTS) as events:
        try:
            while True:
                await link.next(events)
        finally:  # before the closing, which may take its time
            link.lost()


class _State(Enum):
    LOST = auto()
    DOUBTFUL = auto()
    """Subscribed, but nobody vouches that changes are told: their database, or their announcer, may be away."""
    GOOD = auto()


class _Link:
    """What stands between a change and the followers."""

    def __init__(self, followers: tuple[Follower, ...], standing: asyncio.Event) -> None:
        self._followers = followers
        self._standing = standing
        self._state = _State.LOST
        self._good_until = 0.0

    async def next(self, events: AsyncIterator[Event]) -> None:
        """Hear the next event; or that nobody has vouched for too long."""
        try:
            async with asyncio.timeout_at(self._good_until if self._state is _State.GOOD else None):
                event = await anext(events)
        except TimeoutError:
            self._doubt()
            return
        match event:
            case LinkLost():
                self.lost()
            case Announced(body=body):
                self._hear(body)
            case _:
                self._established()

    def lost(self) -> None:
        self._state = _State.LOST
        self._standing.clear()
        for follower in self._followers:
            follower.link_down()

    def _hear(self, body: bytes) -> None:
        try:
            event = event_of(body)
        except msgspec.DecodeError:  # as if it had been missed
            _log.warning("user_event_unreadable", size=len(body))
            self._established()
            return
        if isinstance(event, AllTold):
            self._vouched()
            return
        for follower in self._followers:
            follower.heard(event)

    def _established(self) -> None:
        self._good()
        self._standing.set()
        for follower in self._followers:
            follower.link_up()

    def _vouched(self) -> None:
        if self._state is _State.LOST:  # a late word of the subscription before
            return
        if self._state is _State.DOUBTFUL:
            _log.info("user_events_good_again")
            for follower in self._followers:
                follower.link_back()
        self._good()

    def _doubt(self) -> None:
        _log.warning("user_events_in_doubt", silent_for=_SILENCE_SECONDS)
        self._state = _State.DOUBTFUL
        for follower in self._followers:
            follower.link_down()

    def _good(self) -> None:
        self._state = _State.GOOD
        self._good_until = asyncio.get_running_loop().time() + _SILENCE_SECONDS
