"""The settings of the gateway's connections, which make its plans certain, and what the statements share."""

from urllib.parse import urlencode

import asyncpg
from asyncpg.exceptions._base import DataError as UnsendableError

STEADY = {
    # The outbox is mostly empty and a month's partition is so at its start, so statistics mislead, and a prepared
    # statement keeps the plan they led to: at a backlog of 60,000 a sequential scan and sort cost 108 µs a row, the
    # index 9.5. Every statement has its index, and finds its rows by `= ANY(array)` or from a fenced subquery.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_nestloop": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "synchronous_commit": "on",  # the promise of a 2xx, whatever the server's default
}

BAD_DATA = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, UnsendableError)
"""What one row's content can provoke; its neighbours are innocent."""

STAGE = """
CASE
    WHEN n.status <> 'pending' THEN NULL
    WHEN n.stage IS NOT NULL THEN n.stage
    ELSE coalesce((
        SELECT CASE WHEN n.send_at > now() THEN 'scheduled' ELSE 'accepted' END
        FROM gateway.outbox o WHERE o.notification_id = n.id
    ), 'queued')
END AS stage
"""


def steady(dsn: str) -> str:
    """The DSN with those settings as the connection's own, so that no reset undoes them."""
    return f"{dsn}{'&' if '?' in dsn else '?'}{urlencode(STEADY)}"
