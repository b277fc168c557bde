"""What FCM HTTP v1 answers to a message: the same refusals, in its own words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

LARGEST_PAYLOAD: Final = 4096
_TARGETS: Final = ("token", "topic", "condition")
_RESERVED: Final = ("from", "message_type")

_NO_NUL = r"\A[^\x00]*\Z"
_Text = Annotated[str, Meta(pattern=_NO_NUL)]
_Free = dict[str, Any]
_Texts = dict[_Text, _Text]


class _Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Fields as in the reference of FCM; others are refused."""


class _Notification(_Shape, frozen=True):
    title: _Text | None = None
    body: _Text | None = None
    image: _Text | None = None


class _Options(_Shape, frozen=True):
    analytics_label: _Text | None = None


class _Android(_Shape, frozen=True):
    collapse_key: _Text | None = None
    priority: Annotated[str, Meta(pattern=r"\A(?i:normal|high)\Z")] | None = None
    ttl: Annotated[str, Meta(pattern=r"\A\d+(\.\d{1,9})?s\Z")] | None = None
    restricted_package_name: _Text | None = None
    data: _Texts | None = None
    notification: _Free | None = None
    fcm_options: _Options | None = None
    direct_boot_ok: bool | None = None


class _WebOptions(_Shape, frozen=True):
    link: Annotated[str, Meta(pattern=r"\Ahttps://[^\x00-\x20]+\Z")] | None = None
    analytics_label: _Text | None = None


class _Web(_Shape, frozen=True):
    headers: _Texts | None = None
    data: _Texts | None = None
    notification: _Free | None = None
    fcm_options: _WebOptions | None = None


class _Apple(_Shape, frozen=True):
    headers: _Texts | None = None
    payload: _Free | None = None
    fcm_options: _Free | None = None


class _Message(_Shape, frozen=True):
    name: _Text | None = None
    data: _Texts | None = None
    notification: _Notification | None = None
    android: _Android | None = None
    webpush: _Web | None = None
    apns: _Apple | None = None
    fcm_options: _Options | None = None
    token: Annotated[str, Meta(min_length=1, pattern=r"\A[^\x00-\x20]*\Z")] | None = None
    topic: Annotated[str, Meta(pattern=r"\A[a-zA-Z0-9\-_.~%]+\Z")] | None = None
    condition: _Text | None = None


class _Sending(_Shape, frozen=True):
    message: _Message
    validate_only: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that FCM would take; with `validate_only` it goes nowhere."""

    token: str | None
    message: dict[str, Any]
    validate_only: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error of Google's APIs. `error_code` is FCM's own, `status` that of all of Google's."""

    code: int
    status: str
    message: str
    error_code: str | None = None
    fields: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        details: list[dict[str, Any]] = []
        if self.error_code:
            kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
            details.append({"@type": kind, "errorCode": self.error_code})
        if self.fields:
            violations = [{"field": name, "description": reason} for name, reason in self.fields]
            details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations})
        error: dict[str, Any] = {"code": self.code, "message": self.message, "status": self.status}
        return {"error": {**error, **({"details": details} if details else {})}}


UNAUTHENTICATED: Final = Refusal(
    401,
    "UNAUTHENTICATED",
    "Request had invalid authentication credentials. Expected OAuth 2 access token.",
    headers={"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'},
)
OTHER_PROJECT: Final = Refusal(403, "PERMISSION_DENIED", "The caller does not have permission on this project.")
_BY_TOKEN: Final = {
    "unregistered": Refusal(404, "NOT_FOUND", "Requested entity was not found.", "UNREGISTERED"),
    "quota": Refusal(
        429, "RESOURCE_EXHAUSTED", "Quota exceeded for this device.", "QUOTA_EXCEEDED", headers={"Retry-After": "1"}
    ),
    "unavailable": Refusal(
        503, "UNAVAILABLE", "The service is currently unavailable.", "UNAVAILABLE", headers={"Retry-After": "1"}
    ),
    "mismatch": Refusal(403, "PERMISSION_DENIED", "SenderId mismatch", "SENDER_ID_MISMATCH"),
}


def judge(body: bytes) -> Taken | Refusal:
    """Tokens that begin with `unregistered`, `quota`, `unavailable` or `mismatch` are refused in that way."""
    try:
        sending = msgspec.json.decode(body, type=_Sending)
    except msgspec.ValidationError as error:
        return _malformed(str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _invalid("body", "Invalid JSON payload received.")
    refusal = _unfit(sending.message) or _by_token(sending.message.token or "")
    return refusal or Taken(sending.message.token, msgspec.to_builtins(sending.message), sending.validate_only)


def _unfit(message: _Message) -> Refusal | None:
    """What the shape alone does not tell."""
    targets = [name for name in _TARGETS if getattr(message, name) is not None]
    if len(targets) != 1:
        return _invalid("message", "Exactly one of token, topic or condition is needed.")
    for key in message.data or ():
        if key in _RESERVED or key.startswith(("google.", "gcm.notification.")):
            return _invalid(f"message.data.{key}", "Invalid data payload key.")
    if (size := _payload(message)) > LARGEST_PAYLOAD:
        return _invalid("message", f"The payload has {size} bytes; at most {LARGEST_PAYLOAD} are taken.")
    return None


def _by_token(token: str) -> Refusal | None:
    return next((refusal for prefix, refusal in _BY_TOKEN.items() if token.startswith(prefix)), None)


def _payload(message: _Message) -> int:
    return len(msgspec.json.encode((message.notification, message.data or {})))


def _malformed(error: str) -> Refusal:
    reason, _, where = error.partition(" - at `$")
    return _invalid(where.strip("`").lstrip(".") or "body", reason)


def _invalid(name: str, reason: str) -> Refusal:
    return Refusal(
        400, "INVALID_ARGUMENT", f"Invalid value at '{name}': {reason}", "INVALID_ARGUMENT", fields=((name, reason),)
    )
