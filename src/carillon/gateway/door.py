"""`POST /notifications` past the server and the framework: the route's own decoder, action and answer."""

from functools import partial
from typing import Final

from carillon.contracts.notifications import NotificationAccepted, NotificationRequested
from carillon.gateway.actions.accept import Acceptor, accept
from carillon.kit.auth import Caller
from carillon.kit.http.bodies import reading
from carillon.kit.http.door import Done, Door, KnownTokens
from carillon.kit.http.envelope import Envelope
from carillon.kit.telemetry import correlation

NOTIFICATIONS: Final = "/notifications"
SEND: Final = "notifications:send"

read_notification = reading(NotificationRequested)


async def sent(asked: NotificationRequested, caller: Caller, acceptor: Acceptor) -> Done:
    """The answer, whichever way the request came."""
    standing = await accept(asked, acceptor, caller_id=caller.caller_id, correlation_id=correlation.current())
    answer = NotificationAccepted(standing.notification_id, asked.request_id, standing.status, standing.stage)
    if standing.fresh:
        return Done(202, Envelope(answer, "accepted"))
    return Done(200, Envelope(answer, "accepted before"))


def door(acceptor: Acceptor, tokens: KnownTokens, *, service: str, counted: bool) -> Door[NotificationRequested]:
    """`counted`: there is a limit of requests, which the ordinary way sees to."""
    return Door(
        NOTIFICATIONS,
        needs=SEND,
        read=read_notification,
        act=partial(sent, acceptor=acceptor),
        tokens=tokens,
        service=service,
        counted=counted,
    )
