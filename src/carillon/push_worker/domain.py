"""What FCM's answers mean for one device, and what the answers of all devices mean for the push."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from carillon.delivery.domain import Accepted, Failed, ProviderAnswer, Refused
from carillon.kit.redaction import without, without_opaque

_OK, _BAD, _UNAUTHENTICATED, _TOO_MANY = 200, 400, 401, 429
_MINUTE = 60.0  # after a 429 that names no time: FCM's quotas are filled up by the minute
_THIRD_PARTY = "THIRD_PARTY_AUTH_ERROR"
_REASONS = {
    401: "fcm_authentication_failed",
    403: "fcm_authentication_failed",
    404: "fcm_project_not_found",
}


@dataclass(frozen=True, slots=True)
class Gone:
    """The provider knows no such device any more: users shall hear of it."""

    reason: str


DeviceAnswer = Accepted | Refused | Failed | Gone


def of_device(status: int, headers: Mapping[str, str], body: bytes) -> DeviceAnswer:
    """One answer of `messages:send`."""
    if status == _OK:
        name = _decoded(body).get("name")
        return Accepted(name if isinstance(name, str) else None)
    return _of_error(status, headers, _error(body))


def redacted(answer: DeviceAnswer, token: str) -> DeviceAnswer:
    """The answer without the device's token, which the provider may have quoted."""
    if not isinstance(answer, Refused | Failed):
        return answer
    return replace(answer, error=without_opaque(without(answer.error, token)))


def refuses_bearer(status: int, body: bytes) -> bool:
    """Whether another access token may help: a 401 may also be about the project's key for APNs or a browser."""
    return status == _UNAUTHENTICATED and _code(_error(body)) != _THIRD_PARTY


def _of_error(status: int, headers: Mapping[str, str], error: Mapping[str, Any]) -> DeviceAnswer:
    code, words = _code(error), f"{status} {error.get('status', '')} {error.get('message', '')}".strip()
    if code == "UNREGISTERED":
        return Gone("unregistered")
    if status == _BAD:
        return Gone("invalid_token") if _blames_token(error) else Refused("message_refused", words)
    if code == "SENDER_ID_MISMATCH":  # the token is another project's; with a wrong account every token would be
        return Refused("sender_id_mismatch", words)
    if code == _THIRD_PARTY:  # the project's key for APNs or a browser is wrong: its other devices are served
        return Failed("fcm_third_party_authentication_failed", words)
    wait = _retry_after(headers)
    if status == _TOO_MANY or code == "QUOTA_EXCEEDED":
        return Failed("fcm_quota_exceeded", words, retry_after=_MINUTE if wait is None else wait)
    return Failed(_REASONS.get(status, "fcm_unavailable"), words, retry_after=wait, down=True)


def of_all(answers: Sequence[DeviceAnswer]) -> ProviderAnswer:
    """Delivered if one device took it; tried again only while none did and one still may."""
    if taken := [answer for answer in answers if isinstance(answer, Accepted)]:
        return taken[0]
    if failed := [answer for answer in answers if isinstance(answer, Failed)]:
        waits = [answer.retry_after for answer in failed if answer.retry_after is not None]
        return Failed(
            failed[0].reason,
            failed[0].error,
            retry_after=max(waits, default=None),
            down=all(answer.down for answer in failed),
            unknown=any(answer.unknown for answer in failed),
        )
    refused = [answer for answer in answers if isinstance(answer, Refused)]
    return refused[0] if refused else Refused("no_valid_device", "every device of the user is gone")


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _error(body: bytes) -> dict[str, Any]:
    error = _decoded(body).get("error")
    return error if isinstance(error, dict) else {}


def _details(error: Mapping[str, Any]) -> list[dict[str, Any]]:
    return _objects(error.get("details"))


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _code(error: Mapping[str, Any]) -> str:
    """FCM's own code, where the answer carries one."""
    return next((str(detail["errorCode"]) for detail in _details(error) if "errorCode" in detail), "")


def _blames_token(error: Mapping[str, Any]) -> bool:
    violations = [v for detail in _details(error) for v in _objects(detail.get("fieldViolations"))]
    if violations:
        return all(str(violation.get("field")) == "message.token" for violation in violations)
    return "registration token is not a valid" in str(error.get("message", ""))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, or a date (RFC 9110, 10.2.3), which is reckoned from the answer's own."""
    value = headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        seconds = float(value)
        return seconds if math.isfinite(seconds) else None
    try:
        until, now = (parsedate_to_datetime(text) for text in (value, headers.get("Date", "")))
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
