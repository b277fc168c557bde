"""Dry run: what would happen to a request, decided and rendered as it would be, with nothing written."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from carillon.contracts.notifications import Forecast, NotificationRequested
from carillon.contracts.quiet_hours import quiet_until
from carillon.contracts.rendering import CompiledTemplates, RenderFailed, missing_variables, render_content
from carillon.contracts.schedule import over
from carillon.contracts.templates import Content, PublishedTemplate
from carillon.contracts.users import Contact
from carillon.gateway.actions.look_up import AWAY, LookedUp, Neighbours, ask, look_up
from carillon.gateway.actions.ports import AcceptanceStore
from carillon.gateway.domain import Acceptance, acceptance_of, checked_variables
from carillon.gateway.errors import RequestIdReused
from carillon.kit.errors import Unavailable
from carillon.kit.ids import uuid7


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a dry run takes; `compiled` is kept between runs."""

    store: AcceptanceStore
    neighbours: Neighbours
    compiled: CompiledTemplates


class _Rendering(msgspec.Struct, frozen=True):
    content: Content | None
    missing: list[str]
    failure: str | None


async def dry_run(asked: NotificationRequested, rehearsal: Rehearsal, *, caller_id: UUID) -> Forecast:
    """Raises what the request itself would (Invalid, UserNotFound, TemplateNotFound, RequestIdReused), and Unavailable
    where a neighbour that has to be asked is away."""
    acceptance = acceptance_of(asked, notification_id=uuid7(), caller_id=caller_id, correlation_id="")
    present = await rehearsal.store.find(caller_id, asked.request_id)
    if present is not None:
        if present.body_hash != acceptance.body_hash:
            raise RequestIdReused
        return _forecast(acceptance, outcome="replayed", reason=f"request_id was used for {present.notification_id}")
    if acceptance.doubt is not None:
        raise acceptance.doubt
    contact, template = await _known(asked, rehearsal.neighbours)
    rendering = _render(template, checked_variables(asked.variables), rehearsal.compiled)
    waits_until = _waits_until(contact, acceptance)
    outcome, reason = _outcome(
        contact, rendering, late=waits_until is not None and over(acceptance.expires_at, waits_until)
    )
    return _forecast(
        acceptance,
        outcome=outcome,
        reason=reason,
        decision=contact.decision,
        waits_until=waits_until if outcome == "sent" else None,
        template_version=template.version,
        language=template.language,
        missing_variables=rendering.missing,
        rendered=rendering.content,
    )


async def _known(asked: NotificationRequested, neighbours: Neighbours) -> tuple[Contact, PublishedTemplate]:
    """As the worker will ask: the template in the user's language, the decision for the category that applies."""
    found = await look_up(asked, neighbours)
    if (unknown := found.unknown(asked)) is not None:
        raise unknown
    contact, template = _told(found)
    if contact.locale:
        found = replace(found, template=await ask(neighbours, _published(asked, contact, neighbours)) or template)
        contact, template = _told(found)
    category = asked.category or template.category
    if category is not None:
        question = neighbours.contacts.contact(asked.user_id, asked.notification_type, category)
        contact, template = _told(replace(found, contact=await ask(neighbours, question) or contact))
    return contact, template


def _published(asked: NotificationRequested, contact: Contact, neighbours: Neighbours) -> Any:
    return neighbours.templates.published(asked.template_code, asked.notification_type, contact.locale)


def _told(found: LookedUp) -> tuple[Contact, PublishedTemplate]:
    if found.contact is AWAY or found.contact is None:
        raise Unavailable("The users service is away; without it nobody can tell what would happen.", retry_after=2)
    if found.template is AWAY or found.template is None:
        raise Unavailable("The templates service is away; without it nobody can tell what would happen.", retry_after=2)
    return found.contact, found.template


def _render(template: PublishedTemplate, variables: dict[str, Any], compiled: CompiledTemplates) -> _Rendering:
    try:
        missing = missing_variables(template, variables, cache=compiled)
        if missing:
            return _Rendering(None, missing, None)
        return _Rendering(render_content(template, variables, cache=compiled), [], None)
    except RenderFailed as error:
        return _Rendering(None, [], str(error))


def _outcome(contact: Contact, rendering: _Rendering, *, late: bool) -> tuple[str, str | None]:
    if not contact.decision.allowed:
        return "suppressed", contact.decision.reason
    if late:
        return "expired", "Its time runs out in the user's quiet hours."
    if rendering.missing:
        return "failed", f"Missing variables: {', '.join(rendering.missing)}"
    return ("failed", rendering.failure) if rendering.failure else ("sent", None)


def _waits_until(contact: Contact, acceptance: Acceptance) -> datetime | None:
    if contact.urgent or contact.quiet_hours is None:
        return acceptance.send_at
    return quiet_until(contact.quiet_hours, None, acceptance.send_at or datetime.now(UTC)) or acceptance.send_at


def _forecast(acceptance: Acceptance, **known: Any) -> Forecast:
    blank: dict[str, Any] = {
        "decision": None,
        "template_version": None,
        "language": None,
        "missing_variables": [],
        "rendered": None,
    }
    return Forecast(**{"queue": acceptance.queue, **blank, **known})
