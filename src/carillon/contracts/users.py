"""API shapes of the users service that other services rely on."""

import contextlib
from typing import Annotated, Any, ClassVar, Final, Literal, get_args
from uuid import UUID

import msgspec
from msgspec import Meta

from carillon.contracts.channels import Channel
from carillon.contracts.quiet_hours import QuietHours
from carillon.kit.auth import CallerKind

_BASE64URL: Final = r"\A[A-Za-z0-9_\-]+={0,2}\Z"
DevicePlatform = Literal["fcm", "apns", "webpush"]
PushToken = Annotated[
    str, Meta(min_length=1, max_length=2048, pattern=r"\A[\x21-\x7e]+\Z", description="Printable ASCII, no spaces")
]
DecisionLayer = Literal[
    "suppressed_address", "category_required", "channel_opt_out", "category_channel_choice", "category_choice",
    "category_default", "channel_default", "unreachable",
]  # fmt: skip
# A text on the wire: whoever runs an older release reads the name of a layer that it does not know.
LayerName = Annotated[
    str,
    Meta(description="The rule", extra_json_schema={"enum": list(get_args(DecisionLayer))}),
]


ISSUER: Final = "carillon"
AUDIENCE: Final = "carillon"
TOKEN_TYPE: Final = "at+jwt"  # noqa: S105 - the value of a header, no secret
OPAQUE_PREFIX: Final = "crl_"
LONGEST_TOKEN: Final = 8192
LONGEST_ACCESS_SECONDS: Final = 3600
"""No access token lives longer, so that nobody need remember its revocation for longer."""

_USER: Final = "01a1d1a0-0000-7000-8000-000000000001"


class LayerVerdict(msgspec.Struct, frozen=True):
    """What one layer says of a notification: `allows` null has no say; `reason` is for people."""

    layer: LayerName
    allows: bool | None
    reason: str


class Decision(msgspec.Struct, frozen=True):
    """Whether this user may be notified on this channel and category; `reason` is for people, `layer` is the rule.

    `layers` are all verdicts in order, of which `layer` is the one that counts; an older release tells none.
    """

    allowed: bool
    layer: LayerName
    reason: str
    layers: tuple[LayerVerdict, ...] = ()


class WebPushKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a browser gave with its subscription, base64url: its public key, and a shared secret."""

    p256dh: Annotated[
        str, Meta(max_length=100, pattern=_BASE64URL, description="65 bytes: a point on P-256, uncompressed")
    ]
    auth: Annotated[str, Meta(max_length=100, pattern=_BASE64URL, description="16 bytes")]


class Device(msgspec.Struct, frozen=True):
    """One place where a user is pushed to. `token` is the endpoint of a Web Push subscription, which has keys too."""

    device_id: UUID
    platform: DevicePlatform
    token: str
    keys: WebPushKeys | None = None


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """How a user is reached on one channel, and whether they agreed. `version` rises with every change.

    `quiet_hours`: not to be disturbed then, unless it is `urgent`; their timezone is always given.
    """

    user_id: UUID
    name: str
    email: str | None
    locale: str | None
    devices: list[Device]
    decision: Decision
    version: int
    quiet_hours: QuietHours | None = None
    urgent: bool = False


class ContactsWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /users/contacts`: up to 500 users, one channel and category."""

    EXAMPLES: ClassVar[Any] = ({"user_ids": [_USER], "channel": "email", "category": "billing"},)

    user_ids: Annotated[list[UUID], Meta(max_length=500)]
    channel: Channel
    category: Annotated[str, Meta(max_length=200)] | None = None


class ContactsFound(msgspec.Struct, frozen=True):
    contacts: list[Contact]
    missing: list[UUID]


class TokenToIntrospect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /auth/introspect`."""

    EXAMPLES: ClassVar[Any] = ({"token": "crl_01a1d1a0…"},)

    token: Annotated[str, Meta(max_length=LONGEST_TOKEN)]


class Introspection(msgspec.Struct, frozen=True, kw_only=True):
    """`active` false means: refuse. `expires_at` is a Unix time in seconds."""

    active: bool
    caller_id: UUID | None = None
    kind: CallerKind | None = None
    permissions: list[str] = []
    expires_at: float | None = None
    session_id: UUID | None = None


class DeviceGone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /users/devices/invalid`: a provider says that this token is dead."""

    EXAMPLES: ClassVar[Any] = ({"user_id": _USER, "token": "fcm-token", "reason": "UNREGISTERED"},)

    user_id: UUID
    token: PushToken
    reason: Annotated[str, Meta(max_length=2000, pattern=r"\A[^\x00]*\Z")]
    platform: DevicePlatform = "fcm"


class UserChanged(msgspec.Struct, frozen=True, kw_only=True):
    """Event on `users.events`: drop what is remembered of this user, or of this application.

    `token_version`: access tokens of an older version are void. `ended_sessions`: so are those of these sessions.
    `tokens_changed`: opaque tokens of this owner are to be verified anew.
    """

    user_id: UUID
    version: int
    token_version: int | None = None
    ended_sessions: list[UUID] = []
    tokens_changed: bool = False


class CategoryChanged(msgspec.Struct, frozen=True, kw_only=True):
    """Event on `users.events`: a category was made, changed or dropped; decisions that are remembered may be wrong."""

    category: str
    version: int


TOLD_WITHIN_SECONDS = 2.0


class AllTold(msgspec.Struct, frozen=True, kw_only=True):
    """Event on `users.events`, once or twice a second: whatever was committed more than 2 s ago has been told."""

    all_told: Literal[True]


def event_of(body: bytes) -> UserChanged | CategoryChanged | AllTold:
    """What an event on `users.events` says; raises msgspec.DecodeError for what is none of them."""
    try:
        with contextlib.suppress(msgspec.ValidationError):
            return msgspec.json.decode(body, type=UserChanged)
        with contextlib.suppress(msgspec.ValidationError):
            return msgspec.json.decode(body, type=CategoryChanged)
        return msgspec.json.decode(body, type=AllTold)
    except RecursionError as error:
        raise msgspec.DecodeError("it is nested too deeply") from error


class UserErased(msgspec.Struct, frozen=True):
    """Message of the queues of erasures, one for each service that keeps something on people: forget this one."""

    user_id: UUID
