"""How FCM words each status that a rule may ask for."""

from typing import Final

from carillon.simulators.domain.fcm import Refusal
from carillon.simulators.domain.rules import Rule

_WORDS: Final = {
    400: ("INVALID_ARGUMENT", "INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR", "Auth error from APNS or Web Push Service"),
    403: ("PERMISSION_DENIED", "SENDER_ID_MISMATCH", "SenderId mismatch"),
    404: ("NOT_FOUND", "UNREGISTERED", "Requested entity was not found."),
    429: ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", "Sending limit exceeded for the message target."),
    500: ("INTERNAL", "INTERNAL", "Internal error encountered."),
    503: ("UNAVAILABLE", "UNAVAILABLE", "The service is currently unavailable."),
}
_GONE: Final = 404


def refusal_of(rule: Rule) -> Refusal:
    """A dead token's, or the one with the rule's code."""
    code = rule.code or _GONE
    status, error_code, message = _WORDS.get(code, ("UNKNOWN", "UNSPECIFIED_ERROR", "Unknown error."))
    headers = {} if rule.retry_after is None else {"Retry-After": str(rule.retry_after)}
    return Refusal(code, status, rule.text or message, error_code, headers=headers)
