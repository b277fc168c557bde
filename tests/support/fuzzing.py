"""Asking every route of an OpenAPI document what it should and should not take: no 500, no undocumented answer."""

from collections.abc import Callable
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
Case = schemathesis.Case[Any]


def fuzz(address: str, *, token: str = "", examples: int, prepare: Callable[[Case], None] = lambda _case: None) -> None:
    """Blocking: run it in a thread. `prepare` may lead a case to something that exists."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    for found in schemathesis.openapi.from_url(address).get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: Case) -> None:
            prepare(case)
            case.call_and_validate(headers=headers, timeout=30, checks=CHECKS)

        ask()
