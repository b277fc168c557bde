"""Push as a channel: what it says to one user's devices, in FCM's words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import msgspec

from carillon.contracts.channels import lane_of
from carillon.contracts.messages import DeliveryRequested
from carillon.contracts.templates import Content, PublishedTemplate
from carillon.contracts.users import Contact, Device
from carillon.delivery.domain import Refused
from carillon.delivery.ports import Provider

_LARGEST_PAYLOAD = 4096
_LONGEST_TOKEN = 4096


@dataclass(frozen=True, slots=True)
class Push:
    """One message for every device of a user; `message` lacks only its token."""

    user_id: UUID
    tokens: Sequence[str]
    message: dict[str, Any]


class PushChannel:
    """The collapse keys derive from the notification alone: a second copy replaces the first on the device."""

    name: Literal["push"] = "push"

    def __init__(self, providers: Sequence[Provider]) -> None:
        self.providers = providers

    def compose(
        self, request: DeliveryRequested, contact: Contact, template: PublishedTemplate, content: Content
    ) -> Push | Refused:
        del template
        ours = [device for device in contact.devices if device.platform == "fcm"]
        if contact.devices and not ours:
            others = ", ".join(sorted({device.platform for device in contact.devices}))
            return Refused(
                "no_provider_for_platform", f"the user's devices are of {others}; pushes go out by fcm alone"
            )
        tokens = [device.token for device in ours if _usable(device)]
        if not tokens:
            return Refused("no_valid_device", "the user has no device that a push could reach")
        if not content.title and not content.body:
            return Refused("empty_content", "the template has neither a title nor a body")
        message = _message(request, content)
        if len(msgspec.json.encode((message["notification"], message["data"]))) > _LARGEST_PAYLOAD:
            return Refused("payload_too_large", f"a push carries at most {_LARGEST_PAYLOAD} bytes")
        return Push(contact.user_id, tokens, message)


def _usable(device: Device) -> bool:
    token = device.token
    return 0 < len(token) <= _LONGEST_TOKEN and token.isascii() and token.isprintable() and " " not in token


def _message(request: DeliveryRequested, content: Content) -> dict[str, Any]:
    key, urgent = request.notification_id, lane_of(request.priority) == "high"
    shown = {"title": content.title, "body": content.body, "image": content.image}
    webpush: dict[str, Any] = {"headers": {"Topic": key.hex, "Urgency": "high" if urgent else "normal"}}
    if content.link and content.link.startswith("https://"):  # FCM refuses other schemes here
        webpush["fcm_options"] = {"link": content.link}
    return {
        "notification": {name: text for name, text in shown.items() if text},
        "data": {"notification_id": str(key), **({"link": content.link} if content.link else {})},
        "android": {"collapse_key": key.hex, "priority": "HIGH" if urgent else "NORMAL"},
        "apns": {"headers": {"apns-collapse-id": str(key), "apns-priority": "10" if urgent else "5"}},
        "webpush": webpush,
    }
