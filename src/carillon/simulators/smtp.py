"""A mail server on the wire that delivers nowhere: a mail is committed before its 250."""

import asyncio
import contextlib
import socket
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from carillon.kit.errors import Unavailable
from carillon.simulators.actions import Mail
from carillon.simulators.domain.mail import clean

_log = structlog.get_logger()
_STORING_SECONDS = 20
_IDLE_SECONDS = 300
_TRY_AGAIN = "451 4.3.0 Cannot store the mail now; try again"
_MOST_RECIPIENTS = 1_000


class _Handler:
    """What the protocol asks of us: taking recipients, and keeping the mail."""

    def __init__(self, keep: Callable[[Mail], Awaitable[Any]]) -> None:
        self._keep = keep

    async def handle_RCPT(  # noqa: N802 - the protocol's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if len(envelope.rcpt_tos) >= _MOST_RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        raw = envelope.content if isinstance(envelope.content, bytes) else str(envelope.content or "").encode()
        mail = Mail(clean(envelope.mail_from or ""), [clean(address) for address in envelope.rcpt_tos], raw)
        try:
            async with asyncio.timeout(_STORING_SECONDS):
                mail_id = await self._keep(mail)
        except (Unavailable, TimeoutError) as error:
            _log.warning("mail_not_kept", error=type(error).__name__)
            return _TRY_AGAIN
        return f"250 2.0.0 OK: kept as {mail_id}"

    async def handle_exception(self, error: Exception) -> str:
        """The protocol would answer 500, which tells the sender to give up."""
        _log.error("mail_server_failed", exc_info=error)
        return _TRY_AGAIN


@contextlib.asynccontextmanager
async def mail_server(
    keep: Callable[[Mail], Awaitable[Any]], listening: socket.socket, *, max_bytes: int
) -> AsyncIterator[None]:
    """Serve SMTP on a listening socket; connections still open at the end are closed, their mail unanswered."""
    loop = asyncio.get_running_loop()
    handler = _Handler(keep)
    open_ones: weakref.WeakSet[SMTP] = weakref.WeakSet()

    def protocol() -> SMTP:
        made = SMTP(
            handler,
            data_size_limit=max_bytes,
            enable_SMTPUTF8=True,
            hostname="carillon",
            ident="Carillon mail simulator",
            timeout=_IDLE_SECONDS,
            loop=loop,
        )
        open_ones.add(made)
        return made

    server = await loop.create_server(protocol, sock=listening)
    try:
        yield
    finally:
        server.close()
        for each in open_ones:
            if each.transport is not None:
                each.transport.close()
