"""How a request to the gateway fails: each with its code and its HTTP status."""

from carillon.kit.errors import Conflict, NotFound


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


class RowsRefused(Exception):
    """The database takes one row at least of a batch for bad data; nothing of the batch was written."""
