"""One connection to the misbehaving mail server: SMTP with pipelining, decided at each recipient."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn

from carillon.simulators.domain.rules import Chosen, Rule
from carillon.simulators.tool.book import Book, Entry, Verdict
from carillon.simulators.tool.dialogue import (
    TooLong,
    address_of,
    message_id_of,
    read_command,
    read_content,
)
from carillon.simulators.tool.misbehaving import HANGING_SECONDS, LATE_SECONDS, WRITING_SECONDS, cut, letters

_IDLE_SECONDS: Final = 300.0
_MOST_RECIPIENTS: Final = 1_000
_MOST_MISTAKES: Final = 20
_CLOSING: Final = 421
_NO_SUCH_MAILBOX: Final = 550
_PERMANENT: Final = 500
_BEFORE_THE_END: Final = 16
_TEXTS: Final = {
    421: "4.3.2 Service not available, closing",
    450: "4.2.0 Mailbox unavailable, try again later",
    451: "4.3.0 Local error, try again later",
    452: "4.3.1 No room now, try again later",
    550: "5.1.1 No such mailbox",
    552: "5.2.2 Mailbox full",
    554: "5.7.1 Refused",
}


@dataclass(slots=True)
class _Mail:
    """A transaction: the sender, and each recipient that was taken with what shall happen."""

    sender: str
    recipients: list[tuple[str, Chosen]] = field(default_factory=list)

    def first(self, deed: str, moment: str | None = None) -> Rule | None:
        """The first recipient's rule that asks for this."""
        rules = (chosen.rule for _, chosen in self.recipients)
        return next((rule for rule in rules if rule.do == deed and moment in {None, rule.moment}), None)


class Over(Exception):
    """This connection has ended, by us or by them."""


class Session:
    """One connection. Replies go out in the order of the commands, so that clients may pipeline them."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        book: Book,
        *,
        max_bytes: int,
        bounce: Callable[[Entry, Rule], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._book = book
        self._max_bytes = max_bytes
        self._bounce = bounce
        self._mail: _Mail | None = None
        self._mistakes = 0
        self._commands = {
            b"EHLO": self._ehlo,
            b"HELO": self._helo,
            b"MAIL": self._from,
            b"RCPT": self._to,
            b"DATA": self._data,
            b"RSET": self._reset,
            b"NOOP": self._ok,
            b"VRFY": self._verify,
            b"AUTH": self._authenticate,
            b"QUIT": self._quit,
        }

    async def converse(self) -> None:
        await self._say("220 carillon-simulator ESMTP")
        while True:
            try:
                line = await read_command(self._reader, seconds=_IDLE_SECONDS)
            except TooLong:
                await self._close("500 5.5.2 Line too long")
            except TimeoutError:
                await self._close("421 4.4.2 Silent for too long")
            if line is None:
                raise Over
            verb, _, rest = line.partition(b" ")
            command = self._commands.get(verb.upper().strip())
            if command is None:
                await self._mistake("500 5.5.2 Command not recognized")
            else:
                await command(rest.strip())

    def leave(self) -> None:
        """What was begun and not brought to its end is written down as well."""
        self._enter("unfinished", taken=False)

    async def _ehlo(self, _rest: bytes) -> None:
        self.leave()
        extensions = ("PIPELINING", f"SIZE {self._max_bytes}", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8")
        lines = ["carillon-simulator", *extensions, "AUTH PLAIN"]
        text = "".join(f"250-{line}\r\n" for line in lines[:-1]) + f"250 {lines[-1]}"
        await self._say(text)

    async def _helo(self, _rest: bytes) -> None:
        self.leave()
        await self._say("250 carillon-simulator")

    async def _from(self, rest: bytes) -> None:
        sender = address_of(rest, b"FROM:")
        if self._mail is not None:
            await self._mistake("503 5.5.1 One mail at a time")
        elif sender is None:
            await self._mistake("501 5.1.7 MAIL FROM:<address>")
        else:
            self._mail = _Mail(sender)
            await self._say("250 2.1.0 OK")

    async def _to(self, rest: bytes) -> None:
        recipient = address_of(rest, b"TO:")
        if self._mail is None:
            await self._mistake("503 5.5.1 MAIL first")
        elif not recipient:
            await self._mistake("501 5.1.3 RCPT TO:<address>")
        elif len(self._mail.recipients) >= _MOST_RECIPIENTS:
            await self._say("452 4.5.3 Too many recipients")
        else:
            await self._decide(recipient, self._mail)

    async def _decide(self, recipient: str, mail: _Mail) -> None:
        chosen = self._book.choose(recipient)
        rule = chosen.rule
        if rule.do == "dead" or (rule.do == "refuse" and rule.moment == "before"):
            said = _refusal(rule)
            self._enter_one(Entry(chosen.number, recipient, "refused", taken=False, rule=chosen.place, said=said))
            await self._refuse(said)
            return
        if rule.do in {"hang", "drop"} and rule.moment == "before":
            verdict: Verdict = "hung" if rule.do == "hang" else "dropped"
            self._enter_one(Entry(chosen.number, recipient, verdict, taken=False, rule=chosen.place))
            await self._end(rule)
        mail.recipients.append((recipient, chosen))
        await self._say("250 2.1.5 OK")

    async def _data(self, _rest: bytes) -> None:
        if self._mail is None:
            await self._mistake("503 5.5.1 MAIL first")
            return
        if not self._mail.recipients:  # no mistake of a client that sends its commands at once
            await self._say("503 5.5.1 No valid recipients")
            return
        dropped = self._mail.first("drop", "during")
        await self._say("354 End with <CRLF>.<CRLF>")
        try:
            content = await read_content(
                self._reader,
                seconds=_IDLE_SECONDS,
                max_bytes=self._max_bytes,
                stop_after=_BEFORE_THE_END if dropped else None,
            )
        except TimeoutError:
            await self._close("421 4.4.2 Silent for too long")
        if dropped is not None:
            self._enter("dropped", taken=False)
            await self._end(dropped)
        if content is None:
            raise Over
        await self._judge(content, self._mail)

    async def _judge(self, content: bytes, mail: _Mail) -> None:
        if len(content) > self._max_bytes:
            said = "552 5.3.4 Message too big"
            self._enter("refused", taken=False, said=said)
            await self._say(said)
        elif (rule := mail.first("refuse", "after")) is not None:
            self._enter("refused", taken=False, said=_refusal(rule), content=content)
            await self._refuse(_refusal(rule))
        elif (rule := mail.first("hang", "after") or mail.first("drop", "after")) is not None:
            self._enter("hung" if rule.do == "hang" else "dropped", taken=True, content=content)
            await self._end(rule)
        else:
            await self._take(content, mail)

    async def _take(self, content: bytes, mail: _Mail) -> None:
        delayed, dripped = mail.first("delay"), mail.first("drip")
        said = f"250 2.0.0 OK: taken as {mail.recipients[0][1].number}"
        self._enter("accepted", taken=True, said=said, content=content)
        if delayed is not None:
            await asyncio.sleep(LATE_SECONDS if delayed.seconds is None else delayed.seconds)
        if dripped is not None:
            await letters(f"{said}\r\n".encode(), dripped.seconds or LATE_SECONDS, self._write)
        else:
            await self._say(said)

    async def _reset(self, _rest: bytes) -> None:
        self.leave()
        await self._say("250 2.0.0 OK")

    async def _ok(self, _rest: bytes) -> None:
        await self._say("250 2.0.0 OK")

    async def _verify(self, _rest: bytes) -> None:
        await self._say("252 2.1.5 Try to deliver")

    async def _authenticate(self, rest: bytes) -> None:
        """Anybody may: what is said is read and forgotten."""
        mechanism, _, said = rest.partition(b" ")
        if mechanism.upper() != b"PLAIN":
            await self._mistake("504 5.5.4 AUTH PLAIN alone")
            return
        if not said:
            await self._say("334 ")
            try:
                if await read_command(self._reader, seconds=_IDLE_SECONDS) is None:
                    raise Over
            except (TooLong, TimeoutError):
                await self._close("500 5.5.6 Line too long or none")
        await self._say("235 2.7.0 Welcome, whoever you are")

    async def _quit(self, _rest: bytes) -> None:
        await self._close("221 2.0.0 Bye")

    async def _mistake(self, said: str) -> None:
        self._mistakes += 1
        if self._mistakes >= _MOST_MISTAKES:
            await self._close("421 4.7.0 Too many mistakes")
        await self._say(said)

    async def _refuse(self, said: str) -> None:
        if said.startswith(str(_CLOSING)):
            await self._close(said)
        await self._say(said)

    async def _end(self, rule: Rule) -> NoReturn:
        """Nothing more comes from us. Raises Over."""
        if rule.do == "hang":
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(HANGING_SECONDS if rule.seconds is None else rule.seconds):
                    while await self._reader.read(1 << 16):
                        pass
        cut(self._writer.transport)
        raise Over

    async def _close(self, said: str) -> NoReturn:
        """Raises Over."""
        await self._say(said)
        raise Over

    async def _say(self, said: str) -> None:
        await self._write(f"{said}\r\n".encode())

    async def _write(self, said: bytes) -> None:
        self._writer.write(said)
        async with asyncio.timeout(WRITING_SECONDS):
            await self._writer.drain()

    def _enter(self, verdict: Verdict, *, taken: bool, said: str = "", content: bytes = b"") -> None:
        """The whole transaction, once for each recipient; then it is over."""
        mail, self._mail = self._mail, None
        message_id = message_id_of(content)
        for recipient, chosen in mail.recipients if mail is not None else ():
            entry = Entry(chosen.number, recipient, verdict, taken=taken, rule=chosen.place, said=said)
            entry.sender, entry.message_id = mail.sender if mail is not None else None, message_id
            self._book.enter(entry, content)
            if chosen.rule.do == "bounce" and taken:
                self._bounce(entry, chosen.rule)

    def _enter_one(self, entry: Entry) -> None:
        entry.sender = self._mail.sender if self._mail is not None else None
        self._book.enter(entry)


def _refusal(rule: Rule) -> str:
    """A refusal's line; the text carries the enhanced code where somebody gave one."""
    code = rule.code or _NO_SUCH_MAILBOX
    default = "4.0.0 Try again later" if code < _PERMANENT else "5.0.0 Refused"
    return f"{code} {rule.text or _TEXTS.get(code, default)}"
