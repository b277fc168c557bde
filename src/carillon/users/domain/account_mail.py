"""Mails about one's own account: what is to be done, and what is handed to the gateway."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias
from uuid import UUID

import msgspec

Purpose = Literal["password_reset", "email_verification"]
Notice = Literal["password_changed", "email_change_asked", "second_factor_removed", "passkey_added"]
_NOTICE_GOOD_FOR = timedelta(days=1)
_PAGES: dict[Purpose, str] = {"password_reset": "reset", "email_verification": "verify"}


class ResetAsked(msgspec.Struct, frozen=True, tag_field="kind", tag="reset_asked"):
    """Somebody asks for a new password. Whether there is such an account is found out later: it takes the same time."""

    email_key: str


class VerificationAsked(msgspec.Struct, frozen=True, tag_field="kind", tag="verification_asked"):
    """The address of this user, or the one that waits to become it, is to be confirmed."""

    user_id: UUID


class Mail(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="mail"):
    """What the gateway is asked for; of no use after `good_until`."""

    user_id: UUID
    template_code: str
    category: str
    name: str
    link: str
    good_until: datetime


AccountMail: TypeAlias = ResetAsked | VerificationAsked | Mail


@dataclass(frozen=True, slots=True)
class WaitingMail:
    """One of them, as it waits in the outbox; `mail_id` makes it idempotent at the gateway."""

    mail_id: UUID
    content: AccountMail


@dataclass(frozen=True, slots=True)
class Addressee:
    """Who is written to; `email` is the address that the mail is about."""

    user_id: UUID
    name: str
    email: str


def page(public_url: str, purpose: Purpose, token: str = "") -> str:
    """A page of ours. The token is in the fragment, which browsers keep to themselves: it is in no log, no Referer."""
    address = f"{public_url.rstrip('/')}/account/{_PAGES[purpose]}"
    return f"{address}#token={token}" if token else address


def secret_mail(to: Addressee, purpose: Purpose, *, link: str, good_until: datetime) -> Mail:
    """`password_reset` goes to the account's address; `email_verification` to the one that is to be confirmed."""
    category = "account" if purpose == "password_reset" else purpose
    return Mail(
        user_id=to.user_id, template_code=purpose, category=category, name=to.name, link=link, good_until=good_until
    )


def notice(to: Addressee, what: Notice, *, public_url: str, now: datetime) -> Mail:
    """Tells the owner what was done, and where to get a new password if it was not they who did it."""
    link = page(public_url, "password_reset")
    return Mail(
        user_id=to.user_id, template_code=what, category="account", name=to.name, link=link,
        good_until=now + _NOTICE_GOOD_FOR,
    )  # fmt: skip
