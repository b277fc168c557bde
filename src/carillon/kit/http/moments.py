"""Times in a query: RFC 3339, in UTC where no zone is given."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from litestar.params import QueryParameter

from carillon.kit.errors import invalid

Moment = Annotated[
    str | None, QueryParameter(max_length=40, schema_extra={"format": "date-time"}, description="RFC 3339")
]
"""A parameter to be read by `moment`: the framework's own reading would take numbers as well."""


def moment(field: str, text: str | None) -> datetime | None:
    """Raises Invalid for what is no time."""
    try:
        given = None if text is None else msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        raise invalid(field, "Expected a time: 2030-01-31T12:00:00Z") from None
    return None if given is None else given.replace(tzinfo=given.tzinfo or UTC)
