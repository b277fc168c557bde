"""What the command line says of failures that nobody foresaw: one line, and no value in it."""

from pathlib import Path

import asyncpg
import pytest

import carillon.gateway
from carillon import cli
from carillon.kit.embedded_postgres.ports import free_port
from carillon.kit.migrations import is_current
from carillon.kit.settings import SettingsError


@pytest.mark.parametrize("kind", [ValueError, asyncpg.InterfaceError])
def test_an_unforeseen_value_is_one_line_without_the_value(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app() -> None:
        raise kind("cannot parse postgresql://user:s3cret@host")

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    told = capsys.readouterr()
    assert told.err.startswith(f"carillon: A value cannot be used ({kind.__name__} in test_last_net.py:")
    assert (told.err.count("\n"), "s3cret" in told.err) == (1, False)


async def test_a_postgresql_that_is_not_there_is_named_without_its_password() -> None:
    closed_port = free_port()
    folder = Path(carillon.gateway.__file__).parent / "migrations"
    with pytest.raises(SettingsError, match=f"127.0.0.1:{closed_port}, for the schema gateway") as told:
        await is_current(f"postgresql://u:s3cret@127.0.0.1:{closed_port}/x", "gateway", folder)
    assert "s3cret" not in str(told.value)
