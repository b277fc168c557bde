"""One SMTP server: kept connections, looked at before they are reused; replies become accepted, refused or failed."""

import asyncio
import contextlib
import socket
import ssl
import time

import aiosmtplib
from aiosmtplib import SMTP

from carillon.delivery.domain import Accepted, Failed, ProviderAnswer, Refused
from carillon.email_worker.channel import Mail
from carillon.email_worker.domain import Server

_PERMANENT, _CLOSING = 500, 421
_DONE = frozenset({250, 251})
_OURS = frozenset({530, 534, 535, 538})  # authentication: our configuration is at fault, not the message
_QUIT_SECONDS = 2.0
_TROUBLE = (aiosmtplib.SMTPException, OSError, TimeoutError)
_WORDS: dict[type[BaseException], str] = {
    aiosmtplib.SMTPSenderRefused: "sender",
    aiosmtplib.SMTPRecipientRefused: "recipient",
    aiosmtplib.SMTPDataError: "message",
}


class _Lost(Exception):
    """The connection was gone before any content went over it: nothing can have been taken."""


class SmtpProvider:
    """`connections` are kept at most; `deadline` bounds each step in seconds, the caller bounds the whole send.

    Connecting, and what is said before the content, each get a third: a silent server is told from an unknown outcome.
    """

    def __init__(
        self,
        server: Server,
        *,
        connections: int = 10,
        deadline: float = 20.0,
        idle_seconds: float = 60.0,
        tls: ssl.SSLContext | None = None,
        helo: str = "",
    ) -> None:
        self.name = f"smtp:{server.host}:{server.port}"
        self._server = server
        self._room = asyncio.Semaphore(connections)
        self._deadline = deadline
        self._idle_seconds = idle_seconds
        self._tls = tls
        self._helo = helo or socket.gethostname()
        self._idle: list[tuple[SMTP, float]] = []

    async def send(self, mail: Mail) -> ProviderAnswer:
        """A server that closed an idle connection costs a new connection, not an attempt."""
        async with self._room:
            while (kept := self._reusable()) is not None:
                with contextlib.suppress(_Lost):
                    return await self._hand_over(kept, mail)
            try:
                return await self._hand_over(await self._connected(), mail)
            except _Lost as lost:
                return _judged(lost.__cause__ or lost)
            except _TROUBLE as error:
                return _judged(error)

    async def close(self) -> None:
        """Take leave of the kept connections; bounded."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(_quit(connection) for connection, _ in idle))

    def _reusable(self) -> SMTP | None:
        """The connection used last that is still open and not idle for long."""
        while self._idle:
            connection, since = self._idle.pop()
            if connection.is_connected and time.monotonic() - since < self._idle_seconds:
                return connection
            connection.close()
        return None

    async def _connected(self) -> SMTP:
        server = self._server
        connection = SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            local_hostname=self._helo,
            timeout=self._deadline,
            use_tls=server.tls == "implicit",
            start_tls=server.tls == "starttls",
            tls_context=self._tls if server.tls != "none" else None,
        )
        try:
            async with asyncio.timeout(self._deadline / 3):
                await connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection

    async def _hand_over(self, connection: SMTP, mail: Mail) -> ProviderAnswer:
        """Raises _Lost while it is certain that nothing was taken; keeps the connection where it is still good."""
        content_went = False
        try:
            async with asyncio.timeout(self._deadline / 3):
                if connection.is_ehlo_or_helo_needed:
                    await connection.ehlo()
                if mail.smtputf8 and not connection.supports_extension("smtputf8"):
                    self._keep(connection)
                    return Refused("smtputf8_unsupported", "the server takes no internationalised addresses")
                await _envelope(connection, mail)
            content_went = True
            response = await connection.data(mail.content)
        except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPRecipientRefused, aiosmtplib.SMTPDataError) as error:
            await self._recycle(connection, error.code)
            if error.code == _CLOSING and not content_went:
                raise _Lost from error
            return _judged(error)
        except (aiosmtplib.SMTPServerDisconnected, ConnectionError) as error:
            connection.close()
            if not content_went:
                raise _Lost from error
            return _judged(error, unknown=True)
        except _TROUBLE as error:
            connection.close()
            return _judged(error, unknown=content_went)
        except BaseException:
            connection.close()
            raise
        self._keep(connection)
        return Accepted(response.message)

    async def _recycle(self, connection: SMTP, code: int) -> None:
        """After a refusal the transaction is taken back; a server that is closing is left alone."""
        try:
            if code == _CLOSING:
                connection.close()
            else:
                await connection.rset(timeout=_QUIT_SECONDS)
                self._keep(connection)
        except _TROUBLE:
            connection.close()

    def _keep(self, connection: SMTP) -> None:
        self._idle.append((connection, time.monotonic()))


async def _envelope(connection: SMTP, mail: Mail) -> None:
    """MAIL and RCPT by hand: both addresses are known to be good, and the library would parse them anew (30 µs)."""
    options = [b"SMTPUTF8"] if mail.smtputf8 else []
    said = await connection.execute_command(b"MAIL", b"FROM:<%s>" % mail.sender.encode(), *options)
    if said.code not in _DONE:
        raise aiosmtplib.SMTPSenderRefused(said.code, said.message, mail.sender)
    said = await connection.execute_command(b"RCPT", b"TO:<%s>" % str(mail.recipient).encode())
    if said.code not in _DONE:
        raise aiosmtplib.SMTPRecipientRefused(said.code, said.message, str(mail.recipient))


async def _quit(connection: SMTP) -> None:
    with contextlib.suppress(*_TROUBLE):
        await connection.quit(timeout=_QUIT_SECONDS)
    connection.close()


def _judged(error: BaseException, *, unknown: bool = False) -> Refused | Failed:
    """5xx to a message is permanent, 4xx transient; whatever keeps every message out is the server's trouble."""
    code = getattr(error, "code", None)
    said = f"{code} {getattr(error, 'message', '')}" if code else f"{type(error).__name__}: {error}"
    if isinstance(error, aiosmtplib.SMTPAuthenticationError) or code in _OURS:
        return Failed("smtp_authentication_failed", said, down=True)
    if code == _CLOSING:
        return Failed("smtp_server_closing", said, down=True)
    what = _WORDS.get(type(error))
    if what == "sender" and code is not None and code >= _PERMANENT:  # it is the same for every mail
        return Failed("sender_refused", said, down=True)
    if what is None or code is None:
        timed_out = isinstance(error, TimeoutError)
        return Failed("smtp_timeout" if timed_out else "smtp_connection_failed", said, down=True, unknown=unknown)
    return Refused(f"{what}_refused", said) if code >= _PERMANENT else Failed(f"{what}_deferred", said)
