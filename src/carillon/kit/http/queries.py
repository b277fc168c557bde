"""Query parameters that a route does not take are refused by name: a filter misspelt would choose everything."""

import inspect
from collections.abc import Callable, Collection
from typing import Any

from litestar import Request
from litestar.params import BodyKwarg, HeaderParameter, PathParameter

from carillon.kit.errors import FieldProblem, Invalid

_ELSEWHERE = (BodyKwarg, HeaderParameter, PathParameter)
_MOST_NAMED = 10
_LONGEST_NAMED = 100


def query_names(function: Callable[..., Any]) -> frozenset[str]:
    """The query parameters of a route's function, read off its annotations."""
    found = set()
    for name, parameter in inspect.signature(function).parameters.items():
        told = getattr(parameter.annotation, "__metadata__", ())
        if name not in {"request", "data"} and not any(isinstance(one, _ELSEWHERE) for one in told):
            found.add(next((alias for one in told if (alias := getattr(one, "name", None))), name))
    return frozenset(found)


def refuse_unknown(request: Request[Any, Any, Any], known: Collection[str]) -> None:
    """Raises Invalid, which names those that are not `known`."""
    unknown = [name for name in dict.fromkeys(request.query_params.keys()) if name not in known]
    if not unknown:
        return
    reason = f"Unknown here; this route takes {', '.join(sorted(known)) or 'no query parameters'}."
    details = [FieldProblem(name[:_LONGEST_NAMED], reason) for name in unknown[:_MOST_NAMED]]
    raise Invalid(f"{details[0].field}: {reason}", details=details)
