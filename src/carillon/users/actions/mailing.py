"""Mails about accounts: the secret is made here, and the mail handed to the gateway, which delivers it as any other."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog

from carillon.users.actions.authenticating import secret_hash
from carillon.users.domain.account_mail import (
    Addressee,
    Mail,
    Purpose,
    ResetAsked,
    VerificationAsked,
    WaitingMail,
    page,
    secret_mail,
)

_log = structlog.get_logger()
LEASE_SECONDS = 30.0
BATCH = 20
_AGAIN_SECONDS = 5.0
_QUIET_SECONDS = 60.0
"""No two mails of one purpose to one address within a minute, whoever asks for them."""


class GatewayAway(Exception):
    """Nobody took the mail; another time somebody will."""


class MailRefused(Exception):
    """The gateway will never take this mail; `code` is its reason."""


class Waiting(Protocol):
    """Mails that were committed with their reason."""

    async def claim(self, *, size: int, lease_seconds: float) -> list[WaitingMail]: ...

    async def settle(self, mail_id: UUID) -> None: ...

    async def put_off(self, mail_id: UUID, seconds: float) -> None: ...


class Issuing(Protocol):
    """Single-use tokens, and whom they are for."""

    async def to_reset(self, key: str, *, contacts_too: bool) -> Addressee | None: ...

    async def to_verify(self, user_id: UUID) -> Addressee | None: ...

    async def issue(
        self, asked_id: UUID, to: Addressee, purpose: Purpose, *, secret_hash: bytes, seconds: float, mail: Mail,
        quiet_seconds: float,
    ) -> bool: ...  # fmt: skip


class Gateway(Protocol):
    """Takes notifications. Raises GatewayAway, MailRefused."""

    async def send(self, mail_id: UUID, mail: Mail) -> None: ...


@dataclass(frozen=True, slots=True)
class Terms:
    """How long tokens are good, where their pages are, and whether a contact may become an account."""

    public_url: str
    reset_seconds: float
    verification_seconds: float
    contacts_too: bool


async def mail_batch(waiting: Waiting, *, issuing: Issuing, gateway: Gateway, terms: Terms) -> int:
    """What waits is done, or put off; how many there were."""
    claimed = await waiting.claim(size=BATCH, lease_seconds=LEASE_SECONDS)
    away = False
    for one in claimed:
        match one.content:
            case Mail() if away:
                await waiting.put_off(one.mail_id, _AGAIN_SECONDS)
            case Mail() as mail:
                away = not await _send(one.mail_id, mail, waiting=waiting, gateway=gateway)
            case ResetAsked(key):
                to = await issuing.to_reset(key, contacts_too=terms.contacts_too)
                await _issue(one.mail_id, to, "password_reset", waiting=waiting, issuing=issuing, terms=terms)
            case VerificationAsked(user_id):
                to = await issuing.to_verify(user_id)
                await _issue(one.mail_id, to, "email_verification", waiting=waiting, issuing=issuing, terms=terms)
    return len(claimed)


async def _issue(
    asked_id: UUID, to: Addressee | None, purpose: Purpose, *, waiting: Waiting, issuing: Issuing, terms: Terms
) -> None:
    if to is None:
        await waiting.settle(asked_id)
        return
    secret = secrets.token_urlsafe(32)
    seconds = terms.reset_seconds if purpose == "password_reset" else terms.verification_seconds
    link = page(terms.public_url, purpose, secret)
    mail = secret_mail(to, purpose, link=link, good_until=datetime.now(UTC) + timedelta(seconds=seconds))
    issued = await issuing.issue(
        asked_id, to, purpose, secret_hash=secret_hash(secret), seconds=seconds, mail=mail,
        quiet_seconds=_QUIET_SECONDS,
    )  # fmt: skip
    _log.info("one_time_token_issued" if issued else "one_time_token_not_issued", purpose=purpose)


async def _send(mail_id: UUID, mail: Mail, *, waiting: Waiting, gateway: Gateway) -> bool:
    """False where nobody was there to take it."""
    if mail.good_until <= datetime.now(UTC):
        _log.warning("account_mail_too_late", mail_id=str(mail_id), template=mail.template_code)
        await waiting.settle(mail_id)
        return True
    try:
        await gateway.send(mail_id, mail)
    except GatewayAway as error:
        _log.warning("account_mail_put_off", mail_id=str(mail_id), reason=str(error))
        await waiting.put_off(mail_id, _AGAIN_SECONDS)
        return False
    except MailRefused as error:
        _log.warning("account_mail_refused", mail_id=str(mail_id), template=mail.template_code, reason=str(error))
    await waiting.settle(mail_id)
    return True
