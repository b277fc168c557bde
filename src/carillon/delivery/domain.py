"""Pure types and decisions of a delivery: what a provider may answer, what a claim may find, whether to try again."""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from carillon.contracts.quiet_hours import quiet_seconds, quiet_until
from carillon.contracts.templates import Retry
from carillon.contracts.users import Contact, LayerVerdict
from carillon.kit.broker.port import DeadLetter, RetryAfter


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took responsibility."""

    provider_message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Permanent: the same message will be refused again. `reason` is a stable word, `error` what the provider said."""

    reason: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """Transient. `down` blames the provider, not the message; `unknown`: it may have been taken all the same."""

    reason: str
    error: str = ""
    retry_after: float | None = None
    down: bool = False
    unknown: bool = False


ProviderAnswer = Accepted | Refused | Failed


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A provider that had certainly not taken the message and was to blame for it, so that another was asked."""

    provider: str
    reason: str
    error: str


def next_may_try(answer: ProviderAnswer) -> bool:
    """Whether another provider may be asked at once: nobody has the message, and it is not at fault."""
    return isinstance(answer, Failed) and answer.down and not answer.unknown


@dataclass(frozen=True, slots=True)
class Granted:
    """The claim is ours: `claim` fences our writes, `attempt` counts tries, `lapses` those of unknown outcome."""

    attempt: int
    claim: int
    lapses: int = 0


@dataclass(frozen=True, slots=True)
class HeldElsewhere:
    """Another worker is at it: its lease ends in `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class AlreadySent:
    attempt: int
    provider: str | None
    provider_message_id: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class AlreadyFailed:
    attempt: int
    provider: str | None
    reason: str
    error: str | None


ClaimFound = Granted | HeldElsewhere | AlreadySent | AlreadyFailed
SettledState = Literal["released", "sent", "failed"]


@dataclass(frozen=True, slots=True)
class Delivered:
    attempt: int
    provider: str | None
    provider_message_id: str | None
    at: datetime
    passed: tuple[PassedOver, ...] = ()


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Nothing is sent: `layer` names the rule, `reason` tells people, `layers` are the verdicts of all rules."""

    layer: str
    reason: str
    layers: tuple[LayerVerdict, ...] = ()


@dataclass(frozen=True, slots=True)
class Undeliverable:
    """Failed for good."""

    reason: str
    error: str | None = None
    attempt: int = 0
    provider: str | None = None
    passed: tuple[PassedOver, ...] = ()
    bound: str | None = None
    """Which bound of its policy ended it, where one did."""


@dataclass(frozen=True, slots=True)
class Retrying:
    """An attempt failed and another will follow in `delay` seconds."""

    reason: str
    error: str
    attempt: int
    provider: str
    delay: float
    passed: tuple[PassedOver, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing was tried; look again in `delay` seconds. A `silent` one adds no line to the timeline.

    `until`: nothing is to be expected before, however often it is looked at again. `crashes`: how many the message has
    had with this one, where it waits for that.
    """

    reason: str
    delay: float
    silent: bool = False
    until: datetime | None = None
    crashes: int = 0

    @property
    def mark(self) -> str:
        """What travels with the message, so that the same wait is known again."""
        return self.reason if self.until is None else f"{self.reason}:{self.until.timestamp():.0f}"


@dataclass(frozen=True, slots=True)
class Expired:
    """Too late to send; `reason` is what held it up, `error` what the last attempt met."""

    reason: str | None = None
    error: str | None = None
    attempt: int = 0
    provider: str | None = None
    passed: tuple[PassedOver, ...] = ()


Ending = Delivered | Suppressed | Undeliverable | Retrying | Waiting | Expired


@dataclass(frozen=True, slots=True)
class Policy:
    """Seconds. After attempt n the wait is up to base * factor ** (n - 1), at most `cap`; `give_up` is an age."""

    max_attempts: int = 8
    base: float = 5.0
    factor: float = 2.0
    cap: float = 3600.0
    give_up: float = 86_400.0


def policy_of(own: Policy, retry: Retry | None) -> Policy:
    """The worker's own policy, with what a template says otherwise."""
    if retry is None:
        return own
    return Policy(  # a template can say no nought
        max_attempts=retry.attempts or own.max_attempts,
        base=retry.base_seconds or own.base,
        factor=own.factor,
        cap=retry.cap_seconds or own.cap,
        give_up=retry.give_up_after_seconds or own.give_up,
    )


def bound_met(answer: Refused | Failed, attempt: int, policy: Policy) -> str | None:
    """Which bound ended what `decide` calls dead; None where the answer itself did."""
    if isinstance(answer, Refused):
        return None
    return f"all {policy.max_attempts} attempts used" if attempt >= policy.max_attempts else bound_of_age(policy)


def bound_of_age(policy: Policy) -> str:
    return f"given up after {policy.give_up:.15g} s"


def decide(
    answer: Refused | Failed, attempt: int, policy: Policy, *, chance: float, age: float = 0.0
) -> RetryAfter | DeadLetter:
    """Exponential with full jitter: `chance` in [0, 1) picks within the range; the provider's own wish is a floor.

    `attempt` counts from 1, this one included; `age` is the seconds since acceptance.
    """
    if isinstance(answer, Refused):
        return DeadLetter(answer.reason)
    if attempt >= policy.max_attempts:
        return DeadLetter(answer.reason)
    delay = chance * longest_delay(attempt, policy)
    if answer.retry_after is not None:
        delay = max(delay, min(answer.retry_after, policy.cap))
    return DeadLetter("gave_up") if age + delay > policy.give_up else RetryAfter(delay, answer.reason)


def longest_delay(attempt: int, policy: Policy) -> float:
    """The upper bound of the wait after attempt number `attempt`."""
    return min(policy.cap, policy.base * policy.factor ** min(attempt - 1, 64))


_FIRST_WAIT, _LONGEST_WAIT = 2.0, 60.0


def patience(before: int, *, chance: float, at_least: float | None = None) -> float:
    """How long to wait for what is away or broke: 2 s at first, doubling to a minute, with jitter."""
    longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(before, 10))
    return max(longest * (0.5 + chance / 2), at_least or 0.0)


def rung(delay: float, ladder: tuple[float, ...]) -> float:
    """How long `delay` may really take on a broker whose delays come in rungs."""
    return min((step for step in ladder if step >= delay), default=max((delay, *ladder)))


def pause(seconds: float, ladder: tuple[float, ...]) -> float:
    """How long to rest of `seconds` in one go: never past them, but for what is left below the lowest rung."""
    fitting = [step for step in ladder if step <= seconds]
    return max(fitting) if fitting else min(ladder, default=seconds)


def in_time(
    ending: Retrying | Waiting,
    expires_at: datetime | None,
    now: datetime,
    ladder: tuple[float, ...],
    *,
    at_least: float = 0.0,
) -> Retrying | Waiting | Expired:
    """The same where its wait is over before the time runs out; else with the longest rung that is, not below
    `at_least`, or Expired at once where there is none. Nothing shortens a wait that has an end of its own."""
    if expires_at is None:
        return ending
    left = (expires_at - now).total_seconds()
    until = ending.until if isinstance(ending, Waiting) else None
    if rung(ending.delay, ladder) < left and (until is None or until < expires_at):
        return ending
    fitting = [step for step in ladder if at_least <= step < left and until is None]
    if fitting:
        return replace(ending, delay=max(fitting))
    if isinstance(ending, Waiting):
        return Expired(ending.reason)
    return Expired(ending.reason, ending.error, ending.attempt, ending.provider, ending.passed)


LONGEST_DEFERRAL = 7 * 86_400.0
"""How much of a notification's age quiet hours excuse at most."""


def deferral(contact: Contact, now: datetime, ladder: tuple[float, ...], *, last: str | None) -> Waiting | None:
    """The wait for the end of the quiet hours, in goes that the ladder has; None where nothing hinders. `last` is the
    mark of the wait before: the same one again is silent."""
    if contact.urgent or contact.quiet_hours is None:
        return None
    until = quiet_until(contact.quiet_hours, None, now)
    if until is None:
        return None
    waiting = Waiting("quiet_hours", pause((until - now).total_seconds(), ladder), until=until)
    return replace(waiting, silent=waiting.mark == last)


def deferred(contact: Contact, since: datetime, now: datetime) -> float:
    """The seconds since then that do not count as age: they were quiet."""
    if contact.urgent or contact.quiet_hours is None:
        return 0.0
    earliest = max(since, now - timedelta(seconds=4 * LONGEST_DEFERRAL))
    return min(LONGEST_DEFERRAL, quiet_seconds(contact.quiet_hours, None, earliest, now))


_LANGUAGE = re.compile(r"[a-zA-Z]{2,3}(-[a-zA-Z0-9]{2,8}){0,3}")


def language_of(locale: str | None) -> str | None:
    """A person's locale (`pt_BR`, `pt-BR`) as the language to ask for; None where it is none."""
    language = (locale or "").partition(".")[0].replace("_", "-")
    return language if _LANGUAGE.fullmatch(language) else None
