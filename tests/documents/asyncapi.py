"""What travels through the broker as AsyncAPI 3.0, made from the messages and from the topology."""

from inspect import cleandoc
from typing import Any

import msgspec

from carillon.contracts import channels
from carillon.contracts.messages import (
    CORRELATION_HEADER,
    DeliveriesReported,
    DeliveryReported,
    DeliveryRequested,
    Step,
)
from carillon.contracts.users import AllTold, CategoryChanged, UserChanged, UserErased
from carillon.kit.broker import port

_REF = "#/components/schemas/{name}"
_WORKERS = ("email_worker", "push_worker")
_EVENTS = (UserChanged, CategoryChanged, AllTold)
_MESSAGES: tuple[type[msgspec.Struct], ...] = (DeliveryRequested, DeliveriesReported, UserErased, *_EVENTS)
_SHAPES: tuple[type[msgspec.Struct], ...] = (*_MESSAGES, DeliveryReported, Step)
_OF_DEAD_LETTERS = {
    port.REASON_HEADER: "Why it was given up",
    port.SOURCE_QUEUE_HEADER: "The queue in which it died",
    port.PUBLISHED_AT_HEADER: "When it was first published, ISO 8601, UTC",
    port.DEAD_AT_HEADER: "When it died, ISO 8601, UTC",
}


class Way(msgspec.Struct, frozen=True):
    """Who puts what into a channel, and who takes it out."""

    messages: tuple[type[msgspec.Struct], ...]
    senders: tuple[str, ...]
    receivers: tuple[str, ...]


def ways() -> dict[str, Way]:
    """By the name of the queue or exchange; raises KeyError for a queue of the topology that nothing is said of."""
    said = {
        channels.STATUS_QUEUE: Way((DeliveriesReported,), _WORKERS, ("gateway",)),
        channels.ERASURES_QUEUE: Way((UserErased,), ("users",), ("gateway",)),
        channels.FAILED_QUEUE: Way(
            (DeliveryRequested, DeliveriesReported, UserErased), (*_WORKERS, "gateway"), ("gateway",)
        ),
    }
    for channel in channels.CHANNELS:
        for lane in channels.LANES:
            queue = channels.queue_of(channel, lane)
            said[queue] = Way((DeliveryRequested,), ("gateway",), (f"{channel}_worker",))
    found = {queue: said[queue] for queue in channels.topology().all_queues}
    return {**found, channels.USERS_EVENTS: Way(_EVENTS, ("users",), ("gateway", "templates", "users", *_WORKERS))}


def described() -> dict[str, Any]:
    """The whole document."""
    references, schemas = msgspec.json.schema_components(_MESSAGES, ref_template=_REF)
    messages = {
        kind.__name__: {
            "name": kind.__name__,
            "summary": _first_line(kind),
            "contentType": "application/json",
            "headers": _headers({CORRELATION_HEADER: "Finds all that one request led to in the logs of every service"}),
            "payload": reference,
        }
        for kind, reference in zip(_MESSAGES, references, strict=True)
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Carillon",
            "version": "1",
            "description": "What the services say to each other through the broker. Nobody else has to listen or speak "
            "here: applications use HTTP. Retries wait on a ladder of queues with a time to live, beside these.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {name: _channel(name, way) for name, way in ways().items()},
        "operations": dict(_operations()),
        "components": {"messages": messages, "schemas": _tidy(schemas)},
    }


def _tidy(value: Any) -> Any:
    """A copy in which descriptions are not indented as in the code: Python 3.13 leaves that out by itself."""
    if isinstance(value, list):
        return [_tidy(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        key: cleandoc(inner) if key == "description" and isinstance(inner, str) else _tidy(inner)
        for key, inner in value.items()
    }


def table() -> str:
    """The same at a glance."""
    lines = ["| queue or exchange | message | from | to |", "| --- | --- | --- | --- |"]
    for name, way in ways().items():
        told = ", ".join(f"`{kind.__name__}`" for kind in way.messages)
        lines.append(f"| `{name}` | {told} | {', '.join(way.senders)} | {', '.join(way.receivers)} |")
    for kind in _SHAPES:
        lines += ["", f"## {kind.__name__}", "", _first_line(kind), "", "| field | type | |", "| --- | --- | --- |"]
        lines += [_field(field) for field in msgspec.structs.fields(kind)]
    return "\n".join(lines)


def _field(field: msgspec.structs.FieldInfo) -> str:
    shown = str(field.type).replace("typing.", "").replace("datetime.", "").replace("uuid.", "")
    if isinstance(field.type, type) and not hasattr(field.type, "__args__"):
        shown = field.type.__name__
    shown = shown.replace("carillon.contracts.messages.", "").replace("|", "\\|")
    return f"| `{field.name}` | `{shown}` | {'always there' if field.required else 'may be absent'} |"


def _first_line(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def _headers(said: dict[str, str]) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": text} for name, text in said.items()}
    return {"type": "object", "properties": properties}


def _channel(name: str, way: Way) -> dict[str, Any]:
    binding: dict[str, Any]
    if name == channels.USERS_EVENTS:
        exchange = {"name": name, "type": "topic", "durable": True, "autoDelete": False}
        binding = {"is": "routingKey", "exchange": exchange}
    else:
        binding = {"is": "queue", "queue": {"name": name, "durable": True, "exclusive": False, "autoDelete": False}}
    said: dict[str, Any] = {
        "address": name,
        "messages": {kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"} for kind in way.messages},
        "bindings": {"amqp": binding},
    }
    if name == channels.FAILED_QUEUE:
        headers = ", ".join(f"{header} ({text[0].lower()}{text[1:]})" for header, text in _OF_DEAD_LETTERS.items())
        said["description"] = f"Dead letters: any message, and whatever nobody can read, with the headers {headers}."
    return said


def _operations() -> Any:
    for name, way in ways().items():
        for action, services in (("send", way.senders), ("receive", way.receivers)):
            for service in services:
                yield f"{service}.{action}.{name}", {"action": action, "channel": {"$ref": f"#/channels/{name}"}}
