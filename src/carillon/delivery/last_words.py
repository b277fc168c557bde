"""What a message tells of its failures when it dies: it travels in its headers, as hints; the deliveries row counts."""

from collections.abc import Mapping

from carillon.contracts.dead_letters import (
    ATTEMPTS_HEADER,
    CAUSE_HEADER,
    FIRST_ERROR_HEADER,
    LAST_ERROR_HEADER,
    PROVIDER_HEADER,
    REPORTED_HEADER,
)
from carillon.delivery.domain import Retrying, Undeliverable
from carillon.delivery.timeline import clean


def first_error(headers: Mapping[str, str]) -> str | None:
    """What the first failed attempt met, if there was one."""
    return clean(headers.get(FIRST_ERROR_HEADER, "")) or None


def so_far(ending: Retrying, first: str | None) -> Mapping[str, str]:
    """For the next retry, and for whoever buries the message without asking its worker."""
    return _told(ending, first)


def of_the_dead(ending: Undeliverable, first: str | None) -> Mapping[str, str]:
    """For the dead letter. Its report was durable before: it need not be reported again."""
    bound = {CAUSE_HEADER: f"{clean(ending.reason)}: {ending.bound}"} if ending.bound else {}
    return {**_told(ending, first), **bound, REPORTED_HEADER: "1"}


def _told(ending: Retrying | Undeliverable, first: str | None) -> dict[str, str]:
    last = clean(ending.error or "") or clean(ending.reason)
    words = {FIRST_ERROR_HEADER: first or last, LAST_ERROR_HEADER: last, ATTEMPTS_HEADER: str(ending.attempt)}
    return {**words, PROVIDER_HEADER: clean(ending.provider)} if ending.provider else words
