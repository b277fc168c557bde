"""Loaded by schemathesis: who asks changes somebody else, for whoever changes their own rights is nobody afterwards.

`ASKER` in the environment is the id of who asks, `STAND_IN` that of the account which is changed instead.
"""

import os
from typing import Any

import schemathesis

READING = {"GET", "HEAD", "OPTIONS"}


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Everybody may be read, the asker as well."""
    changed = case.path_parameters.get("user_id")
    if changed and changed == os.environ.get("ASKER") and case.method.upper() not in READING:
        case.path_parameters["user_id"] = os.environ["STAND_IN"]
