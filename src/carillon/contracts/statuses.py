"""The states of a notification and their ranks: a report applies only if its (generation, rank) is greater."""

from typing import Literal

Status = Literal["pending", "delivered", "failed", "suppressed", "cancelled", "expired"]
Stage = Literal["accepted", "scheduled", "queued", "retrying"]

RANK_ACCEPTED = 0
RANK_SUPPRESSED = 2_000
RANK_FAILED = 2_000
RANK_EXPIRED = 2_000
RANK_DELIVERED = 3_000
RANK_BOUNCED_EARLY = 3_500
"""A provider's `failed` that overtook the worker's `delivered`: by then the provider had the message."""
RANK_CONFIRMED = 3_600
"""The provider's `delivered` after such a `failed`."""
RANK_BOUNCED = 4_000
RANK_CANCELLED = 5_000
"""Nothing was sent, so there is nothing to report."""
_RETRYING = 10
_MOST_ATTEMPTS = 1_000


def rank_of_retry(attempt: int) -> int:
    """Later attempts outrank earlier ones, and every ending outranks them all."""
    return _RETRYING + min(attempt, _MOST_ATTEMPTS)
