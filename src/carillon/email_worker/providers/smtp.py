"""One SMTP server: kept connections, looked at before they are reused; replies become accepted, refused or failed."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import replace

import aiosmtplib
from aiosmtplib import SMTP

from carillon.delivery.domain import Accepted, Failed, ProviderAnswer, Refused
from carillon.email_worker.channel import Mail
from carillon.email_worker.domain import redacted
from carillon.email_worker.providers.line import Line, Reply, stuffed
from carillon.email_worker.replies import CLOSING, LOGIN_CODES, What, judged
from carillon.email_worker.servers import Server

_GO_ON, _TAKEN = 354, 250
_DONE = frozenset({250, 251})
_QUIT_SECONDS = 2.0
_TROUBLE = (aiosmtplib.SMTPException, OSError, TimeoutError)
_WORDS: dict[type[BaseException], What] = {
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
        self.name = server.name
        self.terms = server.terms
        self._server = server
        self._room = asyncio.Semaphore(server.terms.connections or connections)
        self._deadline = deadline
        self._idle_seconds = idle_seconds
        self._tls = tls
        self._helo = helo or socket.gethostname()
        self._idle: list[tuple[Line, float]] = []

    async def send(self, mail: Mail) -> ProviderAnswer:
        """A server's words come back without the address: what nobody keeps, nobody has to erase."""
        return _redacted(await self._sent(mail), mail)

    async def _sent(self, mail: Mail) -> ProviderAnswer:
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
        await asyncio.gather(*(_quit(line) for line, _ in idle))

    def _reusable(self) -> Line | None:
        """The connection used last that is still open and not idle for long."""
        while self._idle:
            line, since = self._idle.pop()
            if line.open and time.monotonic() - since < self._idle_seconds:
                return line
            line.close()
        return None

    async def _connected(self) -> Line:
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
                if connection.is_ehlo_or_helo_needed:
                    await connection.ehlo()
        except BaseException:
            connection.close()
            raise
        return Line(connection)

    async def _hand_over(self, line: Line, mail: Mail) -> ProviderAnswer:
        """Raises _Lost while it is certain that nothing was taken; keeps the connection where it is still good."""
        if mail.smtputf8 and not line.smtputf8:
            self._keep(line)
            return Refused("smtputf8_unsupported", "the server takes no internationalised addresses")
        content_went = False
        try:
            await _envelope(line, mail, seconds=self._deadline / 3)
            content_went = True
            said = await _content(line, mail, seconds=self._deadline)
        except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPRecipientRefused, aiosmtplib.SMTPDataError) as error:
            await self._recycle(line, error.code)
            if error.code == CLOSING and not content_went:
                raise _Lost from error
            return _judged(error)
        except (aiosmtplib.SMTPServerDisconnected, ConnectionError) as error:
            line.close()
            if not content_went:
                raise _Lost from error
            return _judged(error, unknown=True)
        except _TROUBLE as error:
            line.close()
            return _judged(error, unknown=content_went)
        except BaseException:
            line.close()
            raise
        self._keep(line)
        return Accepted(said)

    async def _recycle(self, line: Line, code: int) -> None:
        """After a refusal the transaction is taken back; a server that is closing is left alone."""
        try:
            if code == CLOSING:
                line.close()
            else:
                await line.ask(b"RSET\r\n", seconds=_QUIT_SECONDS)
                self._keep(line)
        except _TROUBLE:
            line.close()

    def _keep(self, line: Line) -> None:
        self._idle.append((line, time.monotonic()))


async def _envelope(line: Line, mail: Mail, *, seconds: float) -> None:
    """Return when the content may go. Raises the first refusal; both addresses are known to be safe on a line."""
    sender, recipient = mail.sender, str(mail.recipient)
    mark = b" SMTPUTF8" if mail.smtputf8 else b""
    commands = (
        b"MAIL FROM:<%s>%s\r\n" % (sender.encode(), mark),
        b"RCPT TO:<%s>\r\n" % recipient.encode(),
        b"DATA\r\n",
    )
    said = await line.ask_all(commands, seconds=seconds)
    refused = _refusal(said, sender, recipient)
    if refused is not None:
        if said[-1].code == _GO_ON:  # it wants a content nevertheless: none (RFC 2920, 3.1)
            await line.ask(b".\r\n", seconds=_QUIT_SECONDS)
        raise refused
    if len(said) < len(commands):
        raise aiosmtplib.SMTPServerDisconnected("Connection lost")


async def _content(line: Line, mail: Mail, *, seconds: float) -> str:
    """The server's word on the mail it has taken. Raises its refusal."""
    (said,) = await line.ask(stuffed(mail.content), seconds=seconds)
    if said.code != _TAKEN:
        raise aiosmtplib.SMTPDataError(said.code, said.text)
    return said.text


def _refusal(said: Sequence[Reply], sender: str, recipient: str) -> aiosmtplib.SMTPResponseException | None:
    """What the first reply that is no consent amounts to."""
    for place, (code, text) in enumerate(said):
        if place == 0 and code not in _DONE:
            return aiosmtplib.SMTPSenderRefused(code, text, sender)
        if place == 1 and code not in _DONE:
            return aiosmtplib.SMTPRecipientRefused(code, text, recipient)
        if place == 2 and code != _GO_ON:  # noqa: PLR2004 - DATA is the third
            return aiosmtplib.SMTPDataError(code, text)
    return None


async def _quit(line: Line) -> None:
    with contextlib.suppress(*_TROUBLE):
        await line.ask(b"QUIT\r\n", seconds=_QUIT_SECONDS)
    line.close()


def _redacted(answer: ProviderAnswer, mail: Mail) -> ProviderAnswer:
    if not isinstance(answer, Accepted):
        return replace(answer, error=redacted(answer.error, mail.recipient))
    said = answer.provider_message_id
    return Accepted(redacted(said, mail.recipient)) if said else answer


def _judged(error: BaseException, *, unknown: bool = False) -> Refused | Failed:
    """A reply to our sender, recipient or message is judged by its codes; whatever else keeps every message out."""
    code = getattr(error, "code", None)
    text = str(getattr(error, "message", ""))
    what = _WORDS.get(type(error))
    if what is not None and code is not None:
        return judged(what, code, text)
    said = f"{code} {text}" if code else f"{type(error).__name__}: {error}"
    if isinstance(error, aiosmtplib.SMTPAuthenticationError) or code in LOGIN_CODES:
        return Failed("smtp_authentication_failed", said, down=True)
    if code == CLOSING:
        return Failed("smtp_server_closing", said, down=True)
    timed_out = isinstance(error, TimeoutError)
    return Failed("smtp_timeout" if timed_out else "smtp_connection_failed", said, down=True, unknown=unknown)
