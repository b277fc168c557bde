"""Dead letters: what their headers tell, and the API shapes of those that are kept."""

from typing import Final

FIRST_ERROR_HEADER: Final = "x-carillon-first-error"
"""What the first failed attempt met, without addresses; this and the following are hints."""
LAST_ERROR_HEADER: Final = "x-carillon-last-error"
ATTEMPTS_HEADER: Final = "x-carillon-attempts"
PROVIDER_HEADER: Final = "x-carillon-provider"
"""The provider of the last attempt."""
REPORTED_HEADER: Final = "x-carillon-reported"
"""Its worker has told the gateway that the notification failed."""
CAUSE_HEADER: Final = "x-carillon-cause"
"""Why it died, on a dead letter that could not be kept yet: the reason of its wait takes the place of the other."""
