"""A misspelt variable is told, not silently ignored."""

import pytest

from carillon.all_in_one import unknown_variables


def test_a_variable_that_nobody_reads_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARILLON_SMPT_URL", "smtp://mail.example.com")
    assert unknown_variables() == ["CARILLON_SMPT_URL"]


@pytest.mark.parametrize(
    "name",
    [
        "CARILLON_DATA_DIR",
        "CARILLON_SMTP_URL",
        "CARILLON_SMTP_URL_FILE",
        "CARILLON_EMAIL_WORKER_SMTP_URL",
        "CARILLON_SIMULATORS_SMTP_PORT",
    ],
)
def test_variables_that_somebody_reads_are_not(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    assert unknown_variables() == []
