"""Settings come from `CARILLON_*`; a mistake names its variable."""

import os
from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Meta

from carillon.kit.settings import Settings, SettingsError, load, variables
from carillon.services import SERVICES

SHARED, OWN = "postgresql://shared", "postgresql://u:p@own:5432/users?sslmode=require"


class Example(Settings, frozen=True, kw_only=True):
    database_url: Annotated[str, Meta(description="Where the tables are")]
    size: Annotated[int, Meta(ge=1, description="How many")] = 5
    delays: Annotated[tuple[float, ...], Meta(description="Seconds")] = (1.0, 2.0)
    open_door: bool = False
    redis_url: str | None = None
    broker_url: str = "amqp://queue"
    users_url: str = "http://127.0.0.1:8000"
    lease_seconds: float = 60.0
    data_dir: Annotated[Path, Meta(description="A folder")] = Path(".carillon")


def test_a_services_own_variable_wins_over_the_shared_one_and_both_over_what_is_given() -> None:
    environ = {"CARILLON_DATABASE_URL": SHARED, "CARILLON_USERS_DATABASE_URL": OWN, "CARILLON_SIZE": "7"}
    found = load(Example, "users", environ, database_url="postgresql://given", redis_url="redis://given")
    assert (found.database_url, found.size, found.redis_url) == (OWN, 7, "redis://given")


def test_lists_numbers_and_truth_values_are_read_from_text() -> None:
    environ = {
        "CARILLON_DATABASE_URL": SHARED,
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
        load(Example, "users", {"CARILLON_DATABASE_URL": SHARED, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CARILLON_DATABASE_URL", "s3cret"),
        ("CARILLON_DATABASE_URL", "user:s3cret@host/name"),
        ("CARILLON_DATABASE_URL", "mysql://user:s3cret@host/name"),
        ("CARILLON_DATABASE_URL", "postgresql://user:s3cret/more@host/name"),
        ("CARILLON_DATABASE_URL", "postgresql://user:[s3cret@host/name"),
        ("CARILLON_DATABASE_URL", "postgresql://user:s3cret@host:many/name"),
        ("CARILLON_DATABASE_URL", "postgresql://user:s3cret@host:70000/name"),
        ("CARILLON_DATABASE_URL", "postgresql://user:s3cret@/name"),
        ("CARILLON_USERS_BROKER_URL", "redis://:s3cret@host"),
        ("CARILLON_BROKER_URL", "amqp://u:s3cret@host:0"),
        ("CARILLON_REDIS_URL", "http://s3cret"),
        ("CARILLON_USERS_URL", "s3cret:8000"),
        ("CARILLON_USERS_URL", "http://"),
    ],
)
def test_an_address_that_cannot_be_one_names_its_variable_and_is_never_quoted(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: ") as told:
        load(Example, "users", {"CARILLON_DATABASE_URL": SHARED, name: value})
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "postgres://u:p%40@[::1]:5432/name"),
        ("database_url", "postgresql://u:p@first:5432,second:5433/name"),
        ("database_url", "postgresql:///name?host=/run/postgresql"),
        ("broker_url", "amqps://u:p@host/%2f"),
        ("redis_url", "unix:///run/redis.sock"),
        ("users_url", "https://users.example.com/below"),
        ("lease_seconds", "86400"),
    ],
)
def test_every_usual_address_is_taken(name: str, value: str) -> None:
    found = load(Example, "users", {"CARILLON_DATABASE_URL": SHARED, f"CARILLON_{name}".upper(): value})
    assert str(getattr(found, name)) in {value, f"{value}.0"}


@pytest.mark.parametrize("value", ["inf", "nan", "1e9"])
def test_seconds_that_no_clock_can_count_are_refused(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^CARILLON_LEASE_SECONDS: "):
        load(Example, "users", {"CARILLON_DATABASE_URL": SHARED, "CARILLON_LEASE_SECONDS": value})


def test_a_missing_value_says_which_variable_to_set() -> None:
    with pytest.raises(SettingsError, match="Set CARILLON_USERS_DATABASE_URL"):
        load(Example, "users", {})


def test_every_setting_is_listed_with_its_default() -> None:
    listed = {variable.name: variable for variable in variables(Example, "users")}
    assert listed["CARILLON_USERS_DATABASE_URL"].default == "(required)"
    assert listed["CARILLON_USERS_DELAYS"].default == "1.0,2.0"
    assert listed["CARILLON_USERS_SIZE"].description == "How many"


def test_a_value_may_be_in_a_file_of_one_line(tmp_path: Path) -> None:
    secret, size = tmp_path / "secret", tmp_path / "size"
    secret.write_text(f"{OWN}\n")
    size.write_text("7\r\n")

    environ = {"CARILLON_USERS_DATABASE_URL_FILE": str(secret), "CARILLON_SIZE_FILE": str(size)}
    found = load(Example, "users", environ | {"CARILLON_DATABASE_URL": SHARED})

    assert (found.database_url, found.size) == (OWN, 7)


def test_a_variable_and_its_file_together_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^CARILLON_SIZE and CARILLON_SIZE_FILE are both set: keep one\.$"):
        load(Example, "users", {"CARILLON_SIZE": "7", "CARILLON_SIZE_FILE": str(tmp_path)})


@pytest.mark.parametrize(
    "content",
    [b"", b" \n", b"s3cret\ns3cret\n", b"s3cret" * 20_000, b"s3cret\xff"],
    ids=lambda content: f"{content[:7]!r}",
)
def test_a_file_that_holds_no_value_is_named_and_never_quoted(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_bytes(content)

    with pytest.raises(SettingsError, match=f"^CARILLON_DATABASE_URL_FILE: {file} ") as raised:
        load(Example, "users", {"CARILLON_DATABASE_URL_FILE": str(file)})

    assert "s3cret" not in str(raised.value)


def test_a_value_of_the_wrong_kind_in_a_file_names_the_variable_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_text("mysql://s3cret")

    with pytest.raises(SettingsError, match=r"^CARILLON_DATABASE_URL_FILE: ") as raised:
        load(Example, "users", {"CARILLON_DATABASE_URL_FILE": str(file)})

    assert "s3cret" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for path in (tmp_path / "missing", tmp_path, pipe):
        with pytest.raises(SettingsError, match=f"^CARILLON_SIZE_FILE: {path} (is no file|cannot be read)"):
            load(Example, "users", {"CARILLON_SIZE_FILE": str(path)})


def test_no_setting_has_a_file_of_its_own_beside_the_one_that_every_setting_may_come_from() -> None:
    for entry in SERVICES.values():
        names = set(entry.settings.__struct_fields__)
        assert {name for name in names if f"{name}_file" in names} == set()
