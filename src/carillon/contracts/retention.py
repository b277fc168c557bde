"""How long what has ended is kept, unless a setting says otherwise; gateway and workers go by the same figures."""

KEEP_DAYS = 90
"""A notification that has ended leaves with its month, once the whole month is older than that."""

LONGEST_MONTH_DAYS = 31
OUTLIVED_BY_DAYS = 7
"""By how much the workers' deliveries outlive the last notification of such a month."""


def deliveries_kept_days(keep_days: int) -> int:
    """Since a delivery was settled: its notification has left before it."""
    return keep_days + LONGEST_MONTH_DAYS + OUTLIVED_BY_DAYS
