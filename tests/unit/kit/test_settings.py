"""Settings come from `CARILLON_*`; a mistake names its variable."""

from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Meta

from carillon.kit.settings import Settings, SettingsError, load, variables


class Example(Settings, frozen=True, kw_only=True):
    database_url: Annotated[str, Meta(description="Where the tables are")]
    size: Annotated[int, Meta(ge=1, description="How many")] = 5
    delays: Annotated[tuple[float, ...], Meta(description="Seconds")] = (1.0, 2.0)
    open_door: bool = False
    redis_url: str | None = None
    data_dir: Annotated[Path, Meta(description="A folder")] = Path(".carillon")


def test_a_services_own_variable_wins_over_the_shared_one_and_both_over_what_is_given() -> None:
    environ = {"CARILLON_DATABASE_URL": "shared", "CARILLON_USERS_DATABASE_URL": "own", "CARILLON_SIZE": "7"}
    found = load(Example, "users", environ, database_url="given", redis_url="redis://given")
    assert (found.database_url, found.size, found.redis_url) == ("own", 7, "redis://given")


def test_lists_numbers_and_truth_values_are_read_from_text() -> None:
    environ = {
        "CARILLON_DATABASE_URL": "x",
        "CARILLON_DELAYS": "0.5, 3",
        "CARILLON_OPEN_DOOR": "true",
        "CARILLON_DATA_DIR": "/x",
    }
    found = load(Example, "users", environ)
    assert (found.delays, found.open_door, found.data_dir) == ((0.5, 3.0), True, Path("/x"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CARILLON_USERS_SIZE", "many"),
        ("CARILLON_SIZE", "0"),
        ("CARILLON_DELAYS", "1,x"),
        ("CARILLON_OPEN_DOOR", "perhaps"),
    ],
)
def test_a_value_of_the_wrong_kind_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: "):
        load(Example, "users", {"CARILLON_DATABASE_URL": "x", name: value})


def test_a_missing_value_says_which_variable_to_set() -> None:
    with pytest.raises(SettingsError, match="Set CARILLON_USERS_DATABASE_URL"):
        load(Example, "users", {})


def test_every_setting_is_listed_with_its_default() -> None:
    listed = {variable.name: variable for variable in variables(Example, "users")}
    assert listed["CARILLON_USERS_DATABASE_URL"].default == "(required)"
    assert listed["CARILLON_USERS_DELAYS"].default == "1.0,2.0"
    assert listed["CARILLON_USERS_SIZE"].description == "How many"
