"""A port that a test was given is nobody else's, whether anything listens on it or not."""

from pathlib import Path

import pytest

from carillon.kit.embedded_postgres import ports
from tests.support import processes


def test_a_port_is_given_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen = iter([20001, 20001, 20002])
    monkeypatch.setattr(processes, "_PORTS", tmp_path / "ports")
    monkeypatch.setattr(ports, "free_port", lambda: next(chosen))
    assert [processes.free_port(), processes.free_port()] == [20001, 20002]
