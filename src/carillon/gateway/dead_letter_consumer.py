"""Messages of `failed.queue`: every one is kept, whatever it is; done once that is committed."""

from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from carillon.contracts.channels import FAILED_QUEUE
from carillon.contracts.dead_letters import CAUSE_HEADER
from carillon.gateway.actions.bury import Graveyard, bury
from carillon.gateway.actions.ports import ReportStore
from carillon.gateway.dead_letters import Letter, letter_of
from carillon.gateway.errors import RowsRefused
from carillon.kit.broker.port import OUTCOMES, Delivery, Done, Handler, Outcome, RetryAfter
from carillon.kit.errors import Unavailable
from carillon.kit.telemetry.metrics import MESSAGES

_log = structlog.get_logger()
_REST, _LONG_REST = 5.0, 3600.0


def dead_letters_handler(graveyard: Graveyard, reports: ReportStore) -> Handler:
    """While the database is away they wait, and keep the reason that they died of."""

    async def handle(deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        now = datetime.now(UTC)
        outcomes = await _buried([letter_of(delivery, now) for delivery in deliveries], graveyard, reports)
        for outcome in outcomes:
            MESSAGES.labels("gateway", FAILED_QUEUE, OUTCOMES[type(outcome)]).inc()
        return outcomes

    return handle


async def _buried(letters: Sequence[Letter], graveyard: Graveyard, reports: ReportStore) -> Sequence[Outcome]:
    try:
        await bury(letters, graveyard, reports)
    except Unavailable as error:
        _log.warning("dead_letters_wait", reason=error.message, messages=len(letters))
        return [_again(letter, _REST, "database_away") for letter in letters]
    except RowsRefused as error:
        if len(letters) == 1:
            _log.error("dead_letter_refused", error=str(error), message_id=str(letters[0].message_id))
            return [_again(letters[0], _LONG_REST, "unstorable")]
        return [outcome for letter in letters for outcome in await _buried([letter], graveyard, reports)]
    return [Done()] * len(letters)


def _again(letter: Letter, delay: float, why: str) -> RetryAfter:
    return RetryAfter(delay, why, {CAUSE_HEADER: letter.reason})
