"""Explain: why a notification did or did not reach its user, in order, for people and as data."""

from collections.abc import Mapping
from uuid import UUID

from carillon.contracts.messages import StepKind
from carillon.contracts.notifications import Explanation, Notification, Reason, TimelineStep
from carillon.gateway.actions.ports import NotificationStore
from carillon.gateway.actions.read import read_one
from carillon.gateway.domain import timeline

_SAYS: Mapping[StepKind, str] = {
    "accepted": "The request was accepted and committed",
    "scheduled": "It waits for its time",
    "queued": "The broker confirmed that it has the message",
    "looked_up": "The worker looked the user up",
    "rendered": "The template was filled in",
    "suppressed": "It was not sent, because the user may not be notified this way",
    "attempted": "It was handed to the provider",
    "attempt_failed": "The attempt failed",
    "waiting": "It waits for something that is away",
    "reported": "The provider reported that it is under way",
    "delivered": "The provider took responsibility for it",
    "bounced": "The provider took it, and later reported that it could not be delivered",
    "failed": "It was given up",
    "cancelled": "It was cancelled before it was sent",
    "expired": "Its time ran out before it could be sent",
    "replayed": "It had failed, and was queued anew by an operator",
    "requeued": "It was lost on the way, and was queued anew",
}
_WAITS: Mapping[str | None, str] = {"quiet_hours": "It waits for the end of the user's quiet hours"}
_ENDED: Mapping[str, str] = {
    "delivered": "It reached the user's provider.",
    "failed": "It did not reach the user.",
    "suppressed": "It was not sent: the user may not be notified this way.",
    "cancelled": "It was not sent: it was cancelled.",
    "expired": "It was not sent: its time ran out.",
}
_UNDER_WAY: Mapping[str | None, str] = {
    "accepted": "It is committed and waits for the broker.",
    "scheduled": "It waits for its time.",
    "queued": "It is in the queue of its channel and waits for a worker.",
    "retrying": "It was tried and will be tried again.",
}


async def explain(notification_id: UUID, store: NotificationStore, *, owner: UUID | None) -> Explanation:
    """From the row and the timeline alone; raises NotificationNotFound."""
    found = await read_one(notification_id, store, owner=owner)
    steps = timeline(found, await store.steps(notification_id))
    return Explanation(
        notification_id=notification_id,
        status=found.status,
        stage=found.stage,
        summary=_summary(found),
        reasons=[_reason(step) for step in steps],
    )


def _summary(found: Notification) -> str:
    if found.status == "pending":
        return _UNDER_WAY.get(found.stage, "It is under way.") + _because(found.error or found.reason)
    return _ENDED[found.status] + ("" if found.status == "delivered" else _because(found.reason, found.error))


def _because(*words: str | None) -> str:
    said = "; ".join(dict.fromkeys(word.rstrip(".") for word in words if word))
    return f" Reason: {said}." if said else ""


def _reason(step: TimelineStep) -> Reason:
    whom = f" by {step.provider}" if step.provider else ""
    which = f" (attempt {step.attempt}{whom})" if step.attempt else f" ({step.provider})" if step.provider else ""
    says = _WAITS.get(step.reason, _SAYS[step.kind]) if step.kind == "waiting" else _SAYS[step.kind]
    why = f": {step.reason.rstrip('.')}" if step.reason and step.reason not in _WAITS else ""
    told = {"reason": step.reason, "attempt": step.attempt, "provider": step.provider, **(step.detail or {})}
    return Reason(
        kind=step.kind,
        at=step.at,
        sentence=f"{says}{which}{why}.",
        detail={name: value for name, value in told.items() if value is not None},
    )
