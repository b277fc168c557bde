"""Replay: dead letters are looked at again, one by one, and what may go out is queued anew."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol
from uuid import UUID

import structlog

from carillon.contracts.channels import lane_of, queue_of
from carillon.contracts.dead_letters import MOST_REPLAYED, OUTCOME_UNKNOWN, Replayed, ReplayRequested
from carillon.contracts.messages import Step, StepKind
from carillon.contracts.templates import PublishedTemplate
from carillon.contracts.users import Contact
from carillon.gateway.actions.look_up import AWAY, Away, Neighbours, ask
from carillon.gateway.dead_letters import (
    Candidate,
    LettersWanted,
    Requeue,
    Standing,
    cause_of,
    may_revive,
    renewed,
    stays_dead,
)
from carillon.gateway.domain import cut
from carillon.kit.broker.port import DELIVERY_LIMIT_REASON
from carillon.kit.errors import invalid

_log = structlog.get_logger()
_PIECE = 50
_FILTERS = ("ids", "cause", "template_code", "notification_type", "died_from", "died_to")
_CHANGED = "changed_meanwhile"


class ReplayStore(Protocol):
    async def candidates(self, wanted: LettersWanted, *, after: UUID | None, limit: int) -> Sequence[Candidate]: ...

    async def standings(self, notification_ids: Sequence[UUID]) -> Mapping[UUID, Standing]: ...

    async def bodies(self, letter_ids: Sequence[UUID]) -> Mapping[UUID, bytes]: ...

    async def replay(self, batch: Sequence[Requeue], *, by: UUID | None) -> set[UUID]:
        """Those that were queued anew, committed; the others' notifications have changed meanwhile."""
        ...


@dataclass(frozen=True, slots=True)
class Replaying:
    """What a replay takes; `grew` wakes the relay."""

    store: ReplayStore
    neighbours: Neighbours
    grew: asyncio.Event


class Revived(NamedTuple):
    """How many were queued anew, and after which letter to go on; None: from the first."""

    queued: int
    after: UUID | None


async def replay(asked: ReplayRequested, replaying: Replaying, *, caller_id: UUID) -> Replayed:
    """At most 1,000 of those that match. Raises Invalid without a filter, and Unavailable.

    Whatever is committed before an outage stays so; asking again goes on where it ended.
    """
    wanted = _wanted(asked)
    found = await replaying.store.candidates(wanted, after=asked.after, limit=MOST_REPLAYED + 1)
    letters, more = found[:MOST_REPLAYED], len(found) > MOST_REPLAYED
    counts: Counter[str | None] = Counter()
    for piece in cut(letters, _PIECE):
        counts.update(await _piece(piece, replaying, caller_id=caller_id, dry_run=asked.dry_run))
    replayed = counts.pop(None, 0)
    skipped = {reason: count for reason, count in counts.items() if reason}
    if not asked.dry_run:
        _log.info("dead_letters_replayed", caller_id=str(caller_id), replayed=replayed, skipped=skipped)
    return Replayed(
        dry_run=asked.dry_run,
        matched=len(letters),
        replayed=replayed,
        skipped=skipped,
        more=more,
        next_after=letters[-1].id if more else None,
    )


async def revive(replaying: Replaying, *, after: UUID | None, now: datetime, rest: float, oldest: float) -> Revived:
    """A piece of those that nobody answered for, though they were handed out again and again: their workers died.

    Twice at most, after `rest` seconds, then twice that: what kills its workers is not to do so for ever. Raises
    Unavailable.
    """
    wanted = LettersWanted(
        cause=cause_of(DELIVERY_LIMIT_REASON),
        died_from=now - timedelta(seconds=oldest),
        died_to=now - timedelta(seconds=rest),
    )
    found = await replaying.store.candidates(wanted, after=after, limit=_PIECE)
    letters = [letter for letter in found if may_revive(letter, now, rest)]
    reasons = await _piece(letters, replaying, caller_id=None, dry_run=False) if letters else ()
    return Revived(sum(reason is None for reason in reasons), found[-1].id if len(found) == _PIECE else None)


def _wanted(asked: ReplayRequested) -> LettersWanted:
    if all(getattr(asked, name) is None for name in _FILTERS):
        raise invalid("cause", f"Give one filter at least: {', '.join(_FILTERS)}")
    return LettersWanted(
        ids=asked.ids,
        cause=asked.cause,
        template_code=asked.template_code,
        channel=asked.notification_type,
        died_from=asked.died_from,
        died_to=asked.died_to,
    )


async def _piece(
    letters: Sequence[Candidate], replaying: Replaying, *, caller_id: UUID | None, dry_run: bool
) -> Sequence[str | None]:
    """Of each why it was skipped; None where it was queued anew."""
    store = replaying.store
    standings = await store.standings([letter.notification_id for letter in letters if letter.notification_id])
    pairs = [(letter, letter.notification_id and standings.get(letter.notification_id)) for letter in letters]
    reasons = await asyncio.gather(*(_hindered(letter, there or None, replaying) for letter, there in pairs))
    ready, taken = [], set()
    for place, (letter, there) in enumerate(pairs):
        if reasons[place] is None and there:
            if there.notification_id in taken:  # of two letters of one notification one is enough
                reasons[place] = "superseded"
            else:
                ready.append((letter, there))
                taken.add(there.notification_id)
    if dry_run or not ready:
        return reasons
    gone = await _requeued(ready, replaying, caller_id)
    return [
        reason if reason is not None or letter.id in gone else _CHANGED
        for letter, reason in zip(letters, reasons, strict=True)
    ]


async def _hindered(letter: Candidate, standing: Standing | None, replaying: Replaying) -> str | None:
    """Why it is not sent again; None where nothing speaks against it, by tables, preferences and templates."""
    reason = stays_dead(letter, standing, datetime.now(UTC))
    if reason is not None or standing is None:
        return reason
    template, contact = await _looked_up(standing, replaying.neighbours)
    if template is AWAY or contact is AWAY:
        return "users_away" if contact is AWAY else "templates_away"
    if contact is None or template is None:
        return "user_not_found" if contact is None else "template_not_found"
    if template.at_most_once and not letter.reported:  # nobody knows how far its last worker came
        return OUTCOME_UNKNOWN
    return None if contact.decision.allowed else "not_allowed"


async def _looked_up(
    standing: Standing, neighbours: Neighbours
) -> tuple[PublishedTemplate | Away | None, Contact | Away | None]:
    """As a worker will ask: the decision for the category that applies, the template in the user's language too."""
    code, channel = standing.template_code, standing.channel
    template = await ask(neighbours, neighbours.templates.published(code, channel, None))
    category = standing.category or (template.category if isinstance(template, PublishedTemplate) else None)
    contact = await ask(neighbours, neighbours.contacts.contact(standing.user_id, channel, category))
    if template is None and isinstance(contact, Contact) and contact.locale:
        template = await ask(neighbours, neighbours.templates.published(code, channel, contact.locale))
    return template, contact


async def _requeued(
    ready: Sequence[tuple[Candidate, Standing]], replaying: Replaying, caller_id: UUID | None
) -> set[UUID]:
    """The ids of those that were queued anew, in one commit."""
    bodies, now = await replaying.store.bodies([letter.id for letter, _ in ready]), datetime.now(UTC)
    batch = [
        _requeue(letter, there, bodies[letter.id], now, caller_id) for letter, there in ready if letter.id in bodies
    ]
    if not batch:
        return set()
    gone = await replaying.store.replay(batch, by=caller_id)
    if gone:
        replaying.grew.set()
    return gone


def _requeue(letter: Candidate, standing: Standing, body: bytes, now: datetime, caller_id: UUID | None) -> Requeue:
    generation = standing.generation + 1
    detail = {"cause": letter.cause, "dead_letter_id": str(letter.id)}
    if caller_id is not None:
        detail["by"] = str(caller_id)
    kind: StepKind = "requeued" if caller_id is None else "replayed"
    return Requeue(
        letter_id=letter.id,
        notification_id=standing.notification_id,
        user_id=standing.user_id,
        generation=generation,
        queue=queue_of(standing.channel, lane_of(standing.priority)),
        body=renewed(body, generation, now),
        step=Step(key=f"{generation}.0.{kind}", kind=kind, at=now, detail=detail),
    )
