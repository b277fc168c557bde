"""How a request to the gateway fails: each with its code and its HTTP status."""

from carillon.kit.errors import Conflict, NotFound, TooManyRequests

_MEASURED_ANEW = 5.0
"""Seconds: nothing is known to be better before."""


class UserNotFound(NotFound):
    """The users service knows nobody of that id."""

    code = "user_not_found"


class TemplateNotFound(NotFound):
    """No version of that template is published for the channel."""

    code = "template_not_found"


class NotificationNotFound(NotFound):
    """There is none, or none that the caller may know of."""

    def __init__(self) -> None:
        super().__init__("There is no such notification, or it is not yours.")


class RequestIdReused(Conflict):
    """The caller's `request_id` belongs to a notification of another body."""

    code = "request_id_reused"

    def __init__(self) -> None:
        super().__init__("This request_id was used with another body. Send a new request_id, or the first body again.")


class RequestIdSpent(Conflict):
    """The caller's `request_id` belongs to a notification that is not kept any more."""

    code = "request_id_spent"

    def __init__(self) -> None:
        super().__init__("The notification of this request_id is not kept any more. Send a new request_id.")


class TooMuchWaits(TooManyRequests):
    """So much is committed and not with the broker yet that the bulk lane takes nothing new."""

    code = "too_much_waits"

    def __init__(self) -> None:
        super().__init__(
            "Too much waits to be sent: nothing new of priority 1 to 3 is taken before Retry-After seconds. "
            "Higher priorities pass.",
            retry_after=_MEASURED_ANEW,
        )


class AlreadyQueued(Conflict):
    """The relay has the notification, or has handed it to the broker."""

    code = "already_queued"

    def __init__(self) -> None:
        super().__init__("It is on its way already and cannot be cancelled any more.")


class AlreadyEnded(Conflict):
    """There is nothing left to cancel."""

    code = "already_ended"

    def __init__(self, status: str) -> None:
        super().__init__(f"It has ended already, as {status}.")


class BroadcastNotFound(NotFound):
    """There is none, or none that the caller may know of."""

    def __init__(self) -> None:
        super().__init__("There is no such broadcast, or it is not yours.")


class BroadcastBegun(Conflict):
    """People are added before it begins, and to one that takes ids."""

    code = "broadcast_begun"

    def __init__(self) -> None:
        super().__init__("It has begun, or its people follow from a filter: begin another for these ids.")


class BroadcastEnded(Conflict):
    """It is past what was asked of it."""

    code = "broadcast_ended"

    def __init__(self, status: str) -> None:
        super().__init__(f"It stands as {status} and cannot be turned to that any more.")


class RowsRefused(Exception):
    """The database takes one row at least of a batch for bad data; nothing of the batch was written."""
