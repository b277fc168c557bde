"""Prepare a message: who is it for, did they agree, what does it say. Nothing is claimed or sent here."""

from dataclasses import dataclass, replace
from typing import Any

import msgspec

from carillon.contracts.rendering import MissingVariable, RenderFailed, render_content
from carillon.contracts.templates import PublishedTemplate
from carillon.contracts.users import Contact
from carillon.delivery.actions.tools import Tools, Work
from carillon.delivery.domain import (
    Ending,
    Expired,
    Policy,
    Refused,
    Suppressed,
    Undeliverable,
    Waiting,
    bound_of_age,
    deferral,
    deferred,
    in_time,
    language_of,
    patience,
    policy_of,
)
from carillon.delivery.pool import Admission
from carillon.delivery.timeline import Trail
from carillon.kit.cache import Found
from carillon.kit.http.client import ServiceUnavailable


@dataclass(frozen=True, slots=True)
class Prepared:
    """Ready to be claimed and handed to a provider; `admission` is used or told `abandoned`."""

    item: Any
    admission: Admission
    at_most_once: bool
    policy: Policy
    deferred: float = 0.0
    """Seconds of the request's age that were quiet hours."""


class _Away(Exception):
    """Nobody can tell."""

    def __init__(self, service: str, cause: ServiceUnavailable) -> None:
        super().__init__(service)
        self.service = service
        self.retry_after = cause.retry_after


async def prepare(work: Work, trail: Trail, tools: Tools) -> Prepared | Ending:
    """The message as the provider gets it, or the ending that it has come to already."""
    if work.expired(tools.now()):
        return Expired()
    step = await _prepared(work, trail, tools)
    if isinstance(step, Waiting):
        return in_time(step, work.request.expires_at, tools.now(), tools.limits.ladder)
    return step


async def _prepared(work: Work, trail: Trail, tools: Tools) -> Prepared | Ending:
    if (overdue := await _overdue(work, tools)) is not None:
        return overdue
    try:
        contact = await _recipient(work, trail, tools)
        if not isinstance(contact, Contact):
            return contact
        template = await _template(work, contact, tools)
    except _Away as away:
        delay = patience(work.seen_before, chance=tools.chance(), at_least=away.retry_after)
        return Waiting(f"{away.service}_away", delay)
    if template is None:
        return Undeliverable("template_not_found", f"no version of {work.request.template_code} is published")
    policy = policy_of(tools.policy, template.retry)
    step: Prepared | Ending = _given_up(policy)
    if not _late(work, contact, policy, tools):
        step = _routed(_composed(work, contact, template, trail, tools), template, policy, tools)
    if isinstance(step, Prepared):
        return replace(step, deferred=deferred(contact, work.request.due_at, tools.now()))
    return step


def _given_up(policy: Policy) -> Undeliverable:
    return Undeliverable("gave_up", "it could not be delivered in time", bound=bound_of_age(policy))


async def _overdue(work: Work, tools: Tools) -> Undeliverable | None:
    """What is too old by the worker's own policy is given up, but for quiet hours of whoever it is for, or a template
    that says otherwise; where nobody can tell of those, too old it is."""
    if work.age(tools.now()) <= tools.policy.give_up:
        return None
    try:
        contact = await _contact(work, Trail(), tools)
        template = await _template(work, contact, tools) if isinstance(contact, Contact) else None
    except _Away:
        return _given_up(tools.policy)
    if not isinstance(contact, Contact) or template is None:
        return None  # it ends for a better reason
    policy = policy_of(tools.policy, template.retry)
    return _given_up(policy) if _late(work, contact, policy, tools) else None


def _late(work: Work, contact: Contact, policy: Policy, tools: Tools) -> bool:
    """Quiet hours do not count."""
    late = work.age(tools.now()) - policy.give_up
    return late > 0 and late > deferred(contact, work.request.due_at, tools.now())


async def _recipient(work: Work, trail: Trail, tools: Tools) -> Contact | Ending:
    """Whom to reach, if they agreed and are not to be left alone at this hour."""
    contact = await _contact(work, trail, tools)
    if not isinstance(contact, Contact):
        return contact
    return deferral(contact, tools.now(), tools.limits.ladder, last=work.last_reason) or contact


async def _contact(work: Work, trail: Trail, tools: Tools) -> Contact | Undeliverable | Suppressed:
    """Whom to reach, if they agreed: the decision is taken now, not when the request was accepted."""
    request = work.request
    category = request.category
    if category is None:
        template = (await _published(work, None, tools)).value
        category = template.category if template else None
    try:
        found = await tools.contacts.look_up(request.user_id, tools.channel.name, category)
    except ServiceUnavailable as error:
        raise _Away("users", error) from error
    if found.value is None:
        return Undeliverable("user_not_found", "the user is unknown or was erased")
    decision = found.value.decision
    trail.note("looked_up", tools.now(), source=found.source, rule=decision.layer)
    return found.value if decision.allowed else Suppressed(decision.layer, decision.reason, decision.layers)


async def _template(work: Work, contact: Contact, tools: Tools) -> PublishedTemplate | None:
    return (await _published(work, language_of(contact.locale), tools)).value


async def _published(work: Work, language: str | None, tools: Tools) -> Found[PublishedTemplate | None]:
    try:
        return await tools.templates.look_up(work.request.template_code, tools.channel.name, language)
    except ServiceUnavailable as error:
        raise _Away("templates", error) from error


def _composed(work: Work, contact: Contact, template: PublishedTemplate, trail: Trail, tools: Tools) -> Any | Refused:
    """Rendered with the request's variables and put into the channel's own form."""
    try:
        content = render_content(template, work.request.variables, cache=tools.compiled)
    except MissingVariable as error:
        return Refused(f"missing_variable: {error.name}", str(error))
    except RenderFailed as error:
        return Refused("render_failed", str(error))
    retry = msgspec.to_builtins(template.retry) or None
    trail.note("rendered", tools.now(), version=template.version, language=template.language, retry=retry)
    return tools.channel.compose(work.request, contact, template, content)


def _routed(composed: Any | Refused, template: PublishedTemplate, policy: Policy, tools: Tools) -> Prepared | Ending:
    if isinstance(composed, Refused):
        return Undeliverable(composed.reason, composed.error)
    admission = tools.pool.admit()
    if isinstance(admission, float):
        return Waiting("provider_away", max(admission, 1.0))
    return Prepared(composed, admission, template.at_most_once, policy)
