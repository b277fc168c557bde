"""What a simulator received and what it did with it: the newest, within a bound of entries and of bytes."""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from carillon.kit.ids import uuid7
from carillon.simulators.domain.rules import Choices, Chosen, Rule

Verdict = Literal["accepted", "refused", "hung", "dropped", "unfinished"]
Bounce = Literal["waiting", "told", "untold"]


@dataclass(slots=True)
class Entry:
    """One try to deliver to one recipient. `taken`: it counts as delivered, whatever the client heard."""

    number: int
    to: str
    verdict: Verdict
    taken: bool
    rule: int | None
    said: str = ""
    message_id: str | None = None
    sender: str | None = None
    size: int = 0
    content: bytes | None = field(default=None, repr=False)
    bounce: Bounce | None = None
    entry_id: UUID = field(default_factory=uuid7)
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Book:
    """The choices of one simulator and the record of them; `keep_bytes` of content at most, none with 0."""

    def __init__(self, choices: Choices, *, keep: int, keep_bytes: int = 0) -> None:
        self.choices = choices
        self._keep = keep
        self._keep_bytes = keep_bytes
        self.forget()

    def forget(self) -> None:
        """All that was received, and the counts that rules go by."""
        self._entries: OrderedDict[UUID, Entry] = OrderedDict()
        self._bodies: OrderedDict[UUID, Entry] = OrderedDict()
        self._bytes = 0
        self.counts: Counter[str] = Counter()
        self.choices.forget()

    def follow(self, rules: Sequence[Rule], seed: int | None) -> None:
        """Other rules from the next message on; what they count begins anew."""
        self.choices = Choices(rules, self.choices.seed if seed is None else seed)

    def choose(self, to: str) -> Chosen:
        return self.choices.choose(to)

    def enter(self, entry: Entry, content: bytes = b"") -> Entry:
        """Write an entry down; the oldest leave where there is no more room."""
        self.counts["tries"] += 1
        self.counts[entry.verdict] += 1
        self.counts["taken"] += entry.taken
        entry.size = len(content)
        self._entries[entry.entry_id] = entry
        if content and len(content) <= self._keep_bytes:
            entry.content = content
            self._bodies[entry.entry_id] = entry
            self._bytes += len(content)
        while self._bytes > self._keep_bytes:
            self._drop_body(next(iter(self._bodies)))
        while len(self._entries) > self._keep:
            oldest, _ = self._entries.popitem(last=False)
            self._drop_body(oldest)
        return entry

    def entry(self, entry_id: UUID) -> Entry | None:
        return self._entries.get(entry_id)

    def entries(self, *, to: str | None = None, verdict: str | None = None) -> list[Entry]:
        """Newest first; `to` in any case."""
        who = None if to is None else to.lower()
        return [
            entry
            for entry in reversed(self._entries.values())
            if (who is None or entry.to.lower() == who) and (verdict is None or entry.verdict == verdict)
        ]

    def note_bounce(self, entry: Entry, bounce: Bounce) -> None:
        entry.bounce = bounce
        self.counts[f"bounces_{bounce}"] += 1

    @property
    def kept(self) -> int:
        return len(self._entries)

    def _drop_body(self, entry_id: UUID) -> None:
        entry = self._bodies.pop(entry_id, None)
        if entry is not None and entry.content is not None:
            self._bytes -= len(entry.content)
            entry.content = None
