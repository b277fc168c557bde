"""What runs beside the requests: changes are announced, mails handed over, what has ended is dropped."""

import asyncio
import contextlib
import math
import time
from typing import Protocol, TypeVar
from uuid import UUID

from carillon.kit.broker.port import Broker
from carillon.kit.http.client import ServiceClient, open_session
from carillon.kit.remembered_tokens import RememberedTokens
from carillon.kit.telemetry.metrics import OUTBOX_OLDEST, OUTBOX_WAITING, ROWS_RETIRED
from carillon.users.actions.announcing import BATCH, Outbox, announce_batch, vouch
from carillon.users.actions.looking_up import LookUps
from carillon.users.actions.mailing import BATCH as MAIL_BATCH
from carillon.users.actions.mailing import Terms, mail_batch
from carillon.users.actions.noting import TokensUsed, UseKeeper
from carillon.users.actions.rotating import KeyFile, KeyUser
from carillon.users.providers.gateway import NotificationGateway
from carillon.users.store.account_mail import AccountMails
from carillon.users.store.one_time_tokens import OneTimeTokens

K = TypeVar("K")
_POLL_SECONDS = 0.5
_CUT_OFF_SECONDS = 5.0
_TIDY_SECONDS = 600
_NOTE_SECONDS = 5
_KEYS_SECONDS = 2
_BITE = 1_000


class Tidied(Protocol):
    """Holds things that end by themselves, of many kinds."""

    async def drop_ended(self, *, limit: int) -> int: ...


class Changes:
    """Told of each change in this process: forgets the user, and wakes the loop that tells the others."""

    def __init__(self, look_ups: LookUps, tokens: RememberedTokens) -> None:
        self._look_ups = look_ups
        self._tokens = tokens
        self._woken = asyncio.Event()
        self.hearing = asyncio.Event()
        """Set while this process is subscribed to what others announce, or nobody has asked to be."""
        self.hearing.set()

    def __call__(self, user_id: UUID) -> None:
        self._look_ups.changed(user_id)
        self._woken.set()

    def revoked(self, user_id: UUID) -> None:
        """A change of what this user, or this application, may do: it works at once."""
        self._tokens.forget_caller(user_id)
        self(user_id)

    async def outdate(self, versions: dict[UUID, int]) -> None:
        """Told of what was committed anywhere, before it is announced."""
        await self._look_ups.outdate(versions)

    def announce_soon(self) -> None:
        """Something was left in the outbox that is about nobody in particular."""
        self._woken.set()

    async def link(self, seconds: float) -> None:
        """Return once changes are heard of, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.hearing.wait()

    async def wait(self, seconds: float) -> None:
        """Return at the next change, or after `seconds`: other processes change users too."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for would lose a cancellation that meets the change
                await self._woken.wait()
        self._woken.clear()


async def announce(outbox: Outbox, broker: Broker, changes: Changes) -> None:
    """Announce what waits in the outbox, for ever, and now and then that all was told.

    Who is cut off from the broker leaves it to others for a while: an event in their hands would wait in vain.
    """
    waiting, oldest = OUTBOX_WAITING.labels("users"), OUTBOX_OLDEST.labels("users")
    vouched_at = -math.inf
    while True:
        await changes.link(_CUT_OFF_SECONDS)
        announced = await announce_batch(outbox, broker, outdate=changes.outdate)
        if time.monotonic() - vouched_at >= _POLL_SECONDS:
            vouched_at = time.monotonic()
            backlog = await vouch(outbox, broker)
            waiting.set(backlog.waiting)
            oldest.set(backlog.oldest_seconds)
        if announced < BATCH:
            await changes.wait(_POLL_SECONDS)


async def tidy(kept: Tidied) -> None:
    """Drop what has ended, in small bites, for ever."""
    while True:
        if await kept.drop_ended(limit=_BITE) < _BITE:
            await asyncio.sleep(_TIDY_SECONDS)


class Trail(Protocol):
    """The audit trail."""

    async def drop_old(self, *, older_than_days: int, limit: int) -> int: ...


async def shorten(trail: Trail, days: int) -> None:
    """Drop audit events that are older, in small bites, for ever."""
    while True:
        dropped = await trail.drop_old(older_than_days=days, limit=_BITE)
        ROWS_RETIRED.labels("users", "audit_events").inc(dropped)
        if dropped < _BITE:
            await asyncio.sleep(_TIDY_SECONDS)


async def note_used(used: TokensUsed, keeper: UseKeeper) -> None:
    """Write down when tokens were used, for ever."""
    while True:
        await asyncio.sleep(_NOTE_SECONDS)
        await used.flush(keeper)


async def mail(mails: AccountMails, tokens: OneTimeTokens, terms: Terms, gateway_url: str, token: str) -> None:
    """Hand the mails about accounts to the gateway, for ever."""
    async with open_session(connections=2) as session:
        gateway = NotificationGateway(ServiceClient(session, gateway_url, token=token))
        while True:
            if await mail_batch(mails, issuing=tokens, gateway=gateway, terms=terms) < MAIL_BATCH:
                await asyncio.sleep(_POLL_SECONDS)


async def watch_keys(file: KeyFile[K], user: KeyUser[K]) -> None:
    """Take up signing keys that were added or dropped while this process runs, for ever."""
    while True:
        await asyncio.sleep(_KEYS_SECONDS)
        await asyncio.to_thread(file.look, user)
