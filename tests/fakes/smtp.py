"""An SMTP server on a thread of its own: it keeps what it accepts, refuses when told, and can go away and come back."""

import asyncio
import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.processes import free_port


@dataclass
class Mail:
    recipient: str
    message: Message

    @property
    def text(self) -> str:
        parts = [part for part in self.message.walk() if part.get_content_type() == "text/plain"]
        return bytes(parts[0].get_payload(decode=True)).decode() if parts else ""


@dataclass
class FakeSmtp:
    """`answers` maps a pattern of recipients to the reply they get instead of 250."""

    port: int = field(default_factory=free_port)
    mails: list[Mail] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    attempts: list[str] = field(default_factory=list)
    seconds_a_mail: float = 0.0
    _controller: Controller | None = None

    def start(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    def stop(self) -> None:
        """Go away: connections are refused from here on."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def to(self, recipient: str) -> list[Mail]:
        return [mail for mail in self.mails if mail.recipient == recipient]

    async def handle_RCPT(  # noqa: N802 - the name aiosmtpd calls
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[Any]
    ) -> str:
        self.attempts.append(address)
        for pattern, answer in self.answers.items():
            if re.fullmatch(pattern, address):
                return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        await asyncio.sleep(self.seconds_a_mail)
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content)
        self.mails += [Mail(recipient, message) for recipient in envelope.rcpt_tos]
        return "250 accepted"


@contextlib.contextmanager
def fake_smtp() -> Iterator[FakeSmtp]:
    server = FakeSmtp()
    server.start()
    try:
        yield server
    finally:
        server.stop()
