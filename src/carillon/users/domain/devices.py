"""What a user is pushed to: a token of FCM or APNs, or a Web Push subscription with its keys."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from carillon.contracts.users import DevicePlatform, WebPushKeys
from carillon.contracts.web_push import NotPublic, public_endpoint
from carillon.kit.errors import invalid

MOST_DEVICES: Final = 20
_APNS_TOKEN = re.compile(r"([0-9a-fA-F]{2}){32,100}", re.ASCII)
_POINT_BYTES, _UNCOMPRESSED = 65, 4
_AUTH_BYTES = 16


@dataclass(frozen=True, slots=True)
class NewDevice:
    """A device in the one spelling under which it is kept."""

    platform: DevicePlatform
    token: str
    name: str = ""
    keys: WebPushKeys | None = None


def new_device(platform: DevicePlatform, token: str, *, name: str, keys: WebPushKeys | None) -> NewDevice:
    """Raises Invalid for a token that its platform cannot have made, and for keys that nothing can be sealed with."""
    if (keys is None) is (platform == "webpush"):
        raise invalid("keys", "A webpush device has keys, and no other has.")
    if platform == "apns":
        if _APNS_TOKEN.fullmatch(token) is None:
            raise invalid("token", "A token of APNs is 64 to 200 hexadecimal digits.")
        return NewDevice(platform, token.lower(), name)
    if keys is None:
        return NewDevice(platform, token, name)
    try:
        return NewDevice(platform, public_endpoint(token), name, _checked(keys))
    except NotPublic as error:
        raise invalid("token", str(error)) from None


def _checked(keys: WebPushKeys) -> WebPushKeys:
    point, auth = _bytes("keys.p256dh", keys.p256dh), _bytes("keys.auth", keys.auth)
    if len(auth) != _AUTH_BYTES:
        raise invalid("keys.auth", f"Expected {_AUTH_BYTES} bytes, got {len(auth)}.")
    if len(point) != _POINT_BYTES or point[0] != _UNCOMPRESSED:
        raise invalid("keys.p256dh", f"Expected an uncompressed point: {_POINT_BYTES} bytes that begin with 4.")
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise invalid("keys.p256dh", "The point is not on the curve P-256.") from None
    return WebPushKeys(_text(point), _text(auth))


def _bytes(field: str, text: str) -> bytes:
    bare = text.rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise invalid(field, "Expected base64url.") from None


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
