"""Request bodies: strict JSON into msgspec structs, broken JSON told apart from invalid content."""

import re
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import msgspec
import msgspec.inspect
from litestar._openapi.schema_generation import SchemaCreator
from litestar.dto import AbstractDTO, DTOFieldDefinition
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition

from carillon.kit.errors import BrokenBody, FieldProblem, Invalid

T = TypeVar("T")
_WHERE = re.compile(r"^(?P<reason>.*?)(?: - at (?P<key>`key` in )?`(?P<path>[^`]*)`)?$", re.DOTALL)
_FIELD = re.compile(r"field `(?P<name>[^`]+)`")
_STEP = re.compile(r"[^.\[\]]+")
_PATTERN = "matching regex"


def decode(raw: "bytes | msgspec.Raw", decoder: "msgspec.json.Decoder[T]") -> T:
    """Raises BrokenBody (400) for what is no JSON and Invalid (422) for JSON of another shape."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        _check_is_json(raw)
        raise _invalid(str(error), decoder.type) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _broken(raw, error) from None


def reading(shape: type[T]) -> "Callable[[bytes | msgspec.Raw], T]":
    """`decode` for one shape, for those who read part of a body themselves."""
    decoder = msgspec.json.Decoder(shape)
    return lambda raw: decode(raw, decoder)


def _check_is_json(raw: "bytes | msgspec.Raw") -> None:
    """Read to the end: the shape can be wrong before the place where the text is no JSON any more."""
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _broken(raw, error) from None


def _broken(raw: "bytes | msgspec.Raw", error: Exception) -> BrokenBody:
    reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    try:
        bytes(raw).decode()
    except UnicodeDecodeError:
        reason = "the body is not UTF-8 text"
    return BrokenBody(f"The body is not valid JSON: {reason}")


def _invalid(text: str, shape: Any) -> Invalid:
    match = _WHERE.match(text)
    reason, path = (match["reason"], match["path"] or "$") if match else (text, "$")
    field = path.removeprefix("$").removeprefix(".")
    if _PATTERN in reason:
        steps = _STEP.findall(field) + (["key"] if match and match["key"] else [])
        described = _description(msgspec.inspect.type_info(shape), steps)
        reason = f"Expected: {described}" if described else "has characters that are not allowed here"
    if named := _FIELD.search(reason):
        field = f"{field}.{named['name']}" if field else named["name"]
    problem = FieldProblem(field or "body", reason)
    return Invalid(f"{problem.field}: {problem.reason}", details=[problem])


def _description(shape: msgspec.inspect.Type, steps: list[str]) -> str | None:
    """Find the description of the text with a pattern that `steps` lead to."""
    match shape:
        case msgspec.inspect.Metadata(type=msgspec.inspect.StrType(pattern=str())) if not steps:
            return (shape.extra_json_schema or {}).get("description")
        case msgspec.inspect.Metadata():
            inner = [(shape.type, steps)]
        case msgspec.inspect.UnionType():
            inner = [(one, steps) for one in shape.types]
        case msgspec.inspect.StructType() if steps:
            inner = [(one.type, steps[1:]) for one in shape.fields if one.encode_name == steps[0]]
        case msgspec.inspect.DictType() if steps:
            inner = [(shape.key_type if steps[0] == "key" else shape.value_type, steps[1:])]
        case msgspec.inspect.CollectionType() if steps:
            inner = [(shape.item_type, steps[1:])]
        case _:
            inner = []
    return next(filter(None, (_description(*one) for one in inner)), None)


class StrictBody(AbstractDTO[T]):
    """Decodes `data` with no coercion; the framework's own way would turn `"5"` into `5`."""

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Generator[DTOFieldDefinition, None, None]:
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        return False

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: Any = None
    ) -> None:
        if field_definition.name == "data":
            cls._dto_backends[handler_id] = {"data_backend": msgspec.json.Decoder(field_definition.annotation)}  # type: ignore[typeddict-item]

    @classmethod
    def is_supported_model_type_field(cls, field_definition: FieldDefinition) -> bool:
        return False

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: SchemaCreator
    ) -> Reference | Schema:
        return schema_creator.for_field_definition(field_definition)

    def decode_bytes(self, value: bytes) -> Any:
        backends: Any = self._dto_backends[self.asgi_connection.route_handler.handler_id]
        return decode(value, backends["data_backend"])
