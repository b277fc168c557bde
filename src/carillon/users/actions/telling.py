"""The owner of an account is told by mail of what opens it differently from now on."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

from carillon.users.domain.account_mail import Addressee, Mail, Notice, notice

Told: TypeAlias = Callable[[Addressee], Mail]
"""Makes the mail, once it is known to whom it goes."""


def telling(what: Notice, *, public_url: str) -> Told:
    return lambda to: notice(to, what, public_url=public_url, now=datetime.now(UTC))
