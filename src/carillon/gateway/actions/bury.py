"""Bury: what died is kept, and where nobody has told so its notification has failed."""

from collections.abc import Sequence
from typing import Protocol

import structlog

from carillon.contracts.channels import topology
from carillon.gateway.actions.ports import ReportStore
from carillon.gateway.actions.record import record
from carillon.gateway.dead_letters import Letter, report_of
from carillon.kit.telemetry.metrics import DEAD_LETTERS

_log = structlog.get_logger()

_KNOWN = frozenset(topology().queues)
"""A message may say that it died anywhere; figures know only the queues that there are."""


class Graveyard(Protocol):
    async def keep(self, letters: Sequence[Letter]) -> None:
        """Each once, committed. Raises RowsRefused for bad data, and Unavailable."""
        ...


async def bury(letters: Sequence[Letter], graveyard: Graveyard, reports: ReportStore) -> None:
    """Doing it again does no harm, so the one may be done and the other not: both are done again then.

    Raises RowsRefused and Unavailable.
    """
    untold = [report for letter in letters if (report := report_of(letter)) is not None]
    if untold:
        await record(untold, reports)
    await graveyard.keep(letters)
    for letter in letters:
        DEAD_LETTERS.labels("gateway", letter.queue if letter.queue in _KNOWN else "other").inc()
    _log.info("dead_letters_kept", letters=len(letters), untold=len(untold))
