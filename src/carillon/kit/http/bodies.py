"""Request bodies: strict JSON into msgspec structs, broken JSON told apart from invalid content."""

import re
from collections.abc import Generator
from typing import Any, TypeVar

import msgspec
from litestar._openapi.schema_generation import SchemaCreator
from litestar.dto import AbstractDTO, DTOFieldDefinition
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition

from carillon.kit.errors import BrokenBody, FieldProblem, Invalid

T = TypeVar("T")
_WHERE = re.compile(r"^(?P<reason>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_FIELD = re.compile(r"field `(?P<name>[^`]+)`")


def decode(raw: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    """Raises BrokenBody (400) for what is no JSON and Invalid (422) for JSON of another shape."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenBody(f"The body is not valid JSON: {error}") from None


def _invalid(text: str) -> Invalid:
    match = _WHERE.match(text)
    reason, path = (match["reason"], match["path"] or "$") if match else (text, "$")
    field = path.removeprefix("$").removeprefix(".")
    if named := _FIELD.search(reason):
        field = f"{field}.{named['name']}" if field else named["name"]
    problem = FieldProblem(field or "body", reason)
    return Invalid(f"{problem.field}: {problem.reason}", details=[problem])


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
