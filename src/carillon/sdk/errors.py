"""What can go wrong for an application, by kind; each tells the service's stable code and the correlation id."""

from typing import Any

from carillon.kit.errors import FieldProblem


class CarillonError(Exception):
    """`code` is stable, the sentence is for people; `correlation_id` finds the request in the logs."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: tuple[FieldProblem, ...] = (),
        correlation_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = details
        self.correlation_id = correlation_id

    def __reduce__(self) -> tuple[Any, ...]:  # an exception with more than a sentence cannot cross processes without
        return type(self), (self.status, self.code, str(self)), self.__dict__


class Refused(CarillonError):
    """The request was understood and refused: the same again would be refused again."""


class Invalid(Refused):
    """400 or 422: `details` names the fields."""


class Unauthorized(Refused):
    """401: no token, or one that does not count any more."""


class Forbidden(Refused):
    """403: the token does not allow this."""


class NotFound(Refused):
    """404: it is not there, or not the caller's."""


class Conflict(Refused):
    """409 or 412: it contradicts what is there, such as a `request_id` with another body."""


class Unreachable(CarillonError):
    """Carillon did not answer, or said that it cannot now, for as long as was tried. Status 0: nothing answered."""


class TooMany(Unreachable):
    """429 to the end; `retry_after` in seconds, where it was told."""

    retry_after: float | None = None


_BY_STATUS: dict[int, type[Refused]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    422: Invalid,
}


def refusal(status: int) -> type[Refused]:
    return _BY_STATUS.get(status, Refused)
