"""Broken promises that an answer can tell: each has a stable code, an HTTP status and a sentence for people."""

import math
from collections.abc import Collection, Mapping, Sequence

import msgspec


class FieldProblem(msgspec.Struct, frozen=True):
    """One field of a request and what is wrong with it."""

    field: str
    reason: str


class Problem(Exception):
    """Anything that ends a request with an error envelope; subclasses fix `code` and `status`."""

    code = "internal_error"
    status = 500
    data: msgspec.Struct | None = None
    """What a caller needs to go on, where a code and a sentence do not tell."""

    def __init__(
        self, message: str, *, details: Sequence[FieldProblem] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.headers = dict(headers or {})


class Crashed(Problem):
    """A mistake of ours."""

    def __init__(self) -> None:
        super().__init__("Something went wrong on our side. The correlation id finds it in the logs.")


class BrokenBody(Problem):
    """The body is no JSON at all."""

    code, status = "malformed_json", 400


class Unauthenticated(Problem):
    """Nobody, or nobody known, is asking."""

    code, status = "unauthenticated", 401

    def __init__(self, message: str = "Send a valid token: Authorization: Bearer <token>.") -> None:
        super().__init__(message, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(Problem):
    """The caller is known and may not do this."""

    code, status = "forbidden", 403


class NotFound(Problem):
    """There is no such thing, or none that this caller may know of."""

    code, status = "not_found", 404


class WrongMethod(Problem):
    """There is something at this address that takes other methods."""

    code, status = "method_not_allowed", 405

    def __init__(self, allowed: str) -> None:
        super().__init__(f"This address takes {allowed}.", headers={"Allow": allowed})


class Conflict(Problem):
    """The request contradicts what is already there."""

    code, status = "conflict", 409


class PreconditionFailed(Problem):
    """What the writer insisted on is not so, and nothing was changed; the present version goes along as `ETag`."""

    code, status = "precondition_failed", 412

    def __init__(self, version: int) -> None:
        super().__init__(
            "This is another version by now: read it again, then change it.", headers={"ETag": f'"{version}"'}
        )


class TooLarge(Problem):
    """The body exceeds what this route takes."""

    code, status = "body_too_large", 413


class UnsupportedMediaType(Problem):
    """The body is not declared as JSON."""

    code, status = "unsupported_media_type", 415


class Invalid(Problem):
    """The body or a parameter breaks a rule; `details` names the fields."""

    code, status = "validation_failed", 422


class TooManyRequests(Problem):
    """A limit is used up; `Retry-After` tells when to come again."""

    code, status = "rate_limited", 429

    def __init__(self, message: str, *, retry_after: float, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, headers={"Retry-After": str(max(1, math.ceil(retry_after))), **(headers or {})})


class Unavailable(Problem):
    """Something this request needs is away; trying again later helps."""

    code, status = "unavailable", 503

    def __init__(self, message: str, *, retry_after: float = 1) -> None:
        super().__init__(message, headers={"Retry-After": str(max(1, math.ceil(retry_after)))})


def check_version(version: int, expected: Collection[int] | None) -> None:
    """Raises PreconditionFailed for a version that the writer did not expect; without expectations any will do."""
    if expected is not None and version not in expected:
        raise PreconditionFailed(version)


def invalid(field: str, reason: str) -> Invalid:
    """One field's problem as a whole answer."""
    return Invalid(f"{field}: {reason}", details=[FieldProblem(field, reason)])
