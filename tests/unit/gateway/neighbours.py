"""The services around the gateway, as fakes with state: people, words and callers."""

import time
from dataclasses import dataclass, field
from uuid import UUID

from carillon.contracts.audiences import AudienceFilter, AudiencePage
from carillon.contracts.channels import Channel
from carillon.contracts.templates import Content, PublishedTemplate
from carillon.contracts.users import Contact, Decision
from carillon.kit.auth import Caller, CallerKind
from carillon.kit.errors import Unauthenticated
from carillon.kit.http.client import ServiceUnavailable
from carillon.kit.ids import uuid7

ALLOWED = Decision(allowed=True, layer="channel_default", reason="nothing speaks against it")
OPTED_OUT = Decision(allowed=False, layer="channel_opt_out", reason="the user opted out of e-mail")


def contact(user_id: UUID, *, locale: str | None = None, decision: Decision = ALLOWED) -> Contact:
    return Contact(
        user_id=user_id, name="Ada", email="ada@example.com", locale=locale, devices=[], decision=decision, version=1
    )


def template(code: str, *, language: str = "en", subject: str = "Hello {{ name }}") -> PublishedTemplate:
    content = Content(subject=subject, body_text="See {{ link }}")
    return PublishedTemplate(
        code=code, channel="email", language=language, version=3, category=None, at_most_once=False, content=content
    )


@dataclass
class FakeContacts:
    """Knows whoever was added; `away` makes it fall silent."""

    people: dict[UUID, Contact] = field(default_factory=dict)
    told: dict[UUID, Contact] = field(default_factory=dict)
    away: bool = False
    looked_at: int = 1_000

    def add(self, *, locale: str | None = None, decision: Decision = ALLOWED) -> UUID:
        user_id = uuid7()
        self.people[user_id] = contact(user_id, locale=locale, decision=decision)
        return user_id

    def remembered(self, user_id: UUID, channel: Channel, category: str | None) -> Contact | None:
        return self.told.get(user_id)

    async def contact(self, user_id: UUID, channel: Channel, category: str | None) -> Contact | None:
        if self.away:
            raise ServiceUnavailable("users is away")
        return self.people.get(user_id)

    async def audience(self, wanted: AudienceFilter, *, after: UUID | None, count_only: bool = False) -> AudiencePage:
        """Looks at `looked_at` people a page; whoever speaks the language fits."""
        if self.away:
            raise ServiceUnavailable("users is away")
        behind = sorted(key for key in self.people if after is None or key > after)
        seen = behind[: self.looked_at]
        fit = [key for key in seen if wanted.locale in {None, self.people[key].locale}]
        return AudiencePage(len(fit), [] if count_only else fit, seen[-1] if len(behind) > len(seen) else None)


@dataclass
class FakeTemplates:
    """Publishes by (code, channel, language); without a language English is meant."""

    published_now: dict[tuple[str, Channel, str], PublishedTemplate] = field(default_factory=dict)
    told: dict[str, PublishedTemplate] = field(default_factory=dict)
    away: bool = False

    def publish(self, code: str, *, channel: Channel = "email", language: str = "en", subject: str = "Hi") -> None:
        self.published_now[code, channel, language] = template(code, language=language, subject=subject)

    def remembered(self, code: str, channel: Channel, language: str | None) -> PublishedTemplate | None:
        return self.told.get(code)

    async def published(self, code: str, channel: Channel, language: str | None) -> PublishedTemplate | None:
        if self.away:
            raise ServiceUnavailable("templates is away")
        return self.published_now.get((code, channel, language or "en"))


@dataclass
class Callers:
    """Hands out tokens; each stands for a caller of its own."""

    known: dict[str, Caller] = field(default_factory=dict)

    def token(self, *permissions: str, kind: CallerKind = "application") -> str:
        caller_id = uuid7()
        self.known[caller_id.hex] = Caller(caller_id, kind, frozenset(permissions), time.time() + 3600)
        return caller_id.hex

    async def __call__(self, token: str) -> Caller:
        if token not in self.known:
            raise Unauthenticated
        return self.known[token]

    def at_hand(self, token: str) -> Caller | None:
        return self.known.get(token)
