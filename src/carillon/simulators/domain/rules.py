"""Rules for misbehaving: what is done to which message; the same seed and order of messages make the same choices."""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

Kind = Literal["smtp", "fcm"]
Deed = Literal["accept", "refuse", "dead", "hang", "drop", "delay", "drip", "bounce"]
Moment = Literal["before", "during", "after"]

MOST_RULES: Final = 1_000
_RECIPIENTS_COUNTED: Final = 100_000
_SAFE = r"\A[\x20-\x7e]*\Z"

Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Text = Annotated[str, Meta(pattern=_SAFE, max_length=400, description="printable ASCII on one line")]
Pattern = Annotated[str, Meta(min_length=1, max_length=1_000, pattern=r"\A[^\x00-\x1f]*\Z")]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What is done (`do`) to messages whose recipient or token matches `to`, with `*`, `?` and `[…]` as in file names.

    Of those: the `nth`, or each `every`-th; a `share` of them; at most `times`, or `times_each` for each recipient.
    `when`: before the message is taken, during its transfer, or after it.
    """

    do: Deed
    to: Pattern = "*"
    nth: Count | None = None
    every: Count | None = None
    share: Annotated[float, Meta(ge=0, le=1)] = 1.0
    times: Count | None = None
    times_each: Count | None = None
    when: Moment | None = None
    code: Annotated[int, Meta(ge=400, le=599)] | None = None
    text: Text | None = None
    seconds: Seconds | None = None
    retry_after: Annotated[int, Meta(ge=0, le=86_400)] | None = None

    @property
    def moment(self) -> Moment:
        return self.when or "before"


_FIELDS_OF: Final[dict[str, frozenset[str]]] = {
    "accept": frozenset(),
    "refuse": frozenset({"when", "code", "text", "retry_after"}),
    "dead": frozenset({"code", "text"}),
    "hang": frozenset({"when", "seconds"}),
    "drop": frozenset({"when"}),
    "delay": frozenset({"seconds"}),
    "drip": frozenset({"seconds"}),
    "bounce": frozenset({"seconds", "text"}),
}
_MAY_BE_ANYWHERE: Final = frozenset({"do", "to", "nth", "every", "share", "times", "times_each"})


def fault(rule: Rule, kind: Kind) -> str:
    """What is wrong with a rule for this kind of server; empty where nothing is."""
    given = {name for name in rule.__struct_fields__ if getattr(rule, name) is not None}
    strangers = sorted(given - _MAY_BE_ANYWHERE - _FIELDS_OF[rule.do])
    faults = (
        (bool(strangers), f"{rule.do} takes no {', '.join(strangers)}"),
        ({"nth", "every"} <= given, "give nth or every, not both"),
        (rule.do == "refuse" and rule.code is None, "refuse needs a code"),
        (rule.when == "during" and rule.do != "drop", f"{rule.do} happens before or after; during is for drop"),
        (kind == "smtp" and rule.retry_after is not None, "mail servers know no retry_after"),
        (kind == "fcm" and rule.do == "bounce", "only mail bounces late"),
        (kind == "fcm" and rule.do == "refuse" and rule.when is not None, "a push is refused at once, without when"),
    )
    return next((sentence for wrong, sentence in faults if wrong), "")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What happens to the `number`-th message; `place` is the rule's, counted from 1."""

    number: int
    rule: Rule
    place: int | None = None


ACCEPT: Final = Rule(do="accept")


class Choices:
    """Goes through the rules for each message; the first one that wants it has it."""

    def __init__(self, rules: Sequence[Rule], seed: int) -> None:
        self.rules = tuple(rules)
        self.seed = seed
        self.forget()

    def forget(self) -> None:
        """Begin to count anew: the next message is the first."""
        self._number = 0
        self._seen: Counter[int] = Counter()
        self._done: Counter[int] = Counter()
        self._done_each: OrderedDict[tuple[int, str], int] = OrderedDict()

    def choose(self, to: str) -> Chosen:
        self._number += 1
        who = to.lower()
        matching = [(place, rule) for place, rule in enumerate(self.rules, 1) if fnmatchcase(who, rule.to.lower())]
        self._seen.update(place for place, _ in matching)
        for place, rule in matching:
            if self._wants(place, rule, who):
                return Chosen(self._number, rule, place)
        return Chosen(self._number, ACCEPT)

    def _wants(self, place: int, rule: Rule, who: str) -> bool:
        seen = self._seen[place]
        if rule.nth is not None and seen != rule.nth:
            return False
        if rule.every is not None and seen % rule.every:
            return False
        # The dead stay dead: their share is drawn by name, that of everything else by the message's number.
        drawn_by = who if rule.do == "dead" else str(self._number)
        if rule.share < 1 and draw(self.seed, place, drawn_by) >= rule.share:
            return False
        return self._within_limits(place, rule, who)

    def _within_limits(self, place: int, rule: Rule, who: str) -> bool:
        each = self._done_each.get((place, who), 0)
        if rule.times is not None and self._done[place] >= rule.times:
            return False
        if rule.times_each is not None and each >= rule.times_each:
            return False
        self._done[place] += 1
        if rule.times_each is not None:
            self._done_each[place, who] = each + 1
            self._done_each.move_to_end((place, who))
            if len(self._done_each) > _RECIPIENTS_COUNTED:
                self._done_each.popitem(last=False)
        return True


def draw(seed: int, place: int, what: str) -> float:
    """A number in [0, 1) that follows from its arguments alone."""
    digest = blake2b(f"{seed}/{place}/{what}".encode("utf-8", "surrogatepass"), digest_size=7).digest()
    return int.from_bytes(digest) / (1 << 56)
