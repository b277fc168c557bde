"""The tables in the reference of preferences are what the decision decides."""

from tests.documents.generated import check_generated
from tests.documents.preferences_table import table


def test_the_tables_of_the_preferences_are_what_is_decided() -> None:
    check_generated("docs/reference/preferences.md", table())
