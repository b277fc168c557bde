"""E-mail as a channel: what it says to one recipient, as bytes, for the first SMTP server that takes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from carillon.contracts.messages import DeliveryRequested
from carillon.contracts.templates import Content, PublishedTemplate
from carillon.contracts.users import Contact
from carillon.delivery.domain import Refused
from carillon.delivery.ports import Provider
from carillon.email_worker import mime
from carillon.email_worker.domain import Address, Sender, address_of


@dataclass(frozen=True, slots=True)
class Mail:
    """An envelope and its content. `smtputf8`: the server must know internationalised addresses."""

    sender: str
    recipient: Address
    content: bytes

    @property
    def smtputf8(self) -> bool:
        return self.recipient.smtputf8


class EmailChannel:
    """Composes as `sender`; `domain` stands in Message-ID, which derives from the notification alone."""

    name: Literal["email"] = "email"

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        sender: Sender,
        domain: str = "",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.providers = providers
        self._address = str(sender.address)
        self._from = f"From: {mime.mailbox(sender.name, self._address)}\r\n"
        self._domain = domain or sender.address.domain
        self._now = now

    def compose(
        self, request: DeliveryRequested, contact: Contact, template: PublishedTemplate, content: Content
    ) -> Mail | Refused:
        del template
        if not contact.email:
            return Refused("no_address", "the user has no e-mail address")
        recipient = address_of(contact.email)
        if recipient is None:
            return Refused("address_invalid", "the address cannot be used in SMTP")
        body = _body(content, f"=_carillon_{request.notification_id.hex}")
        if body is None:
            return Refused("empty_content", "the template has neither a text nor an HTML body")
        return Mail(self._address, recipient, self._headers(request, contact, recipient, content) + body)

    def _headers(self, request: DeliveryRequested, contact: Contact, recipient: Address, content: Content) -> bytes:
        return "".join(
            (
                self._from,
                f"To: {mime.mailbox(contact.name, str(recipient))}\r\n",
                mime.header("Subject", content.subject or ""),
                mime.date(self._now()),
                f"Message-ID: <{request.notification_id}@{self._domain}>\r\n",
                "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n",
            )
        ).encode("utf-8", "replace")


def _body(content: Content, boundary: str) -> bytes | None:
    text, html = content.body_text, content.body_html
    parts = [mime.part(kind, body) for kind, body in (("plain", text), ("html", html)) if body is not None]
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else mime.alternatives(boundary, parts)
