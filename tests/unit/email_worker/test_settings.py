"""Where and as whom mail is sent: read early, refused with a sentence that keeps the password to itself."""

from pathlib import Path
from typing import Any

import pytest

from carillon.email_worker.app import build
from carillon.email_worker.domain import Server, sender_of, servers_of
from carillon.email_worker.settings import EmailWorkerSettings
from carillon.kit.settings import SettingsError, load


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example.com", Server("mail.example.com", 587, "starttls")),
        ("smtps://mail.example.com", Server("mail.example.com", 465, "implicit")),
        ("smtp://127.0.0.1:1025?tls=none", Server("127.0.0.1", 1025, "none")),
        ("smtp://u%40x:p%3Aw@mail:2525?tls=implicit", Server("mail", 2525, "implicit", "u@x", "p:w")),
    ],
)
def test_a_url_names_a_server(url: str, server: Server) -> None:
    assert servers_of(url) == [server]


def test_several_servers_are_tried_in_their_order() -> None:
    assert [s.host for s in servers_of("smtp://one?tls=none, smtp://two?tls=none")] == ["one", "two"]


@pytest.mark.parametrize(
    "url",
    [
        "", "mail.example.com", "http://mail", "smtp://", "smtp://mail:99999", "smtp://mail?tls=maybe",
        "smtp://mail?colour=red", "smtp://secret@mail",
    ],
)  # fmt: skip
def test_a_bad_url_is_refused_before_anything_is_opened(url: str) -> None:
    with pytest.raises(SettingsError, match="CARILLON_SMTP_URL") as refused:
        servers_of(url)
    assert "secret" not in str(refused.value)


def test_a_server_does_not_show_its_password() -> None:
    assert "secret" not in repr(servers_of("smtp://user:secret@mail"))


@pytest.mark.parametrize("sender", ["", "Carillon", "Carillon <carillon>", "x <данные@example.com>"])
def test_a_sender_that_is_no_mailbox_is_refused(sender: str) -> None:
    with pytest.raises(SettingsError, match="CARILLON_MAIL_FROM"):
        sender_of(sender)


GIVEN = {"database_url": "postgresql://x", "broker_url": "postgresql://x", "token_file": "t"}


def test_settings_come_from_the_workers_own_variables_first() -> None:
    environ = {
        "CARILLON_SMTP_URL": "smtp://shared",
        "CARILLON_EMAIL_WORKER_SMTP_URL": "smtp://own",
        "CARILLON_RETRY_DELAYS": "0.2,0.5",
        "CARILLON_MAX_ATTEMPTS": "3",
    }
    settings = load(EmailWorkerSettings, "email_worker", environ, **GIVEN)

    assert (settings.smtp_url, settings.retry_delays, settings.max_attempts) == ("smtp://own", (0.2, 0.5), 3)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"retry_delays": (5.0, 1.0)}, "ascending"),
        ({"send_seconds": 90.0}, "CARILLON_SEND_SECONDS"),
        ({"smtp_ca_file": "/nowhere.pem"}, "CARILLON_SMTP_CA_FILE"),
    ],
)
def test_a_bad_setting_fails_at_building(changes: dict[str, Any], sentence: str) -> None:
    settings = EmailWorkerSettings(
        database_url="postgresql://x", broker_url="postgresql://x", token_file=Path("t"), **changes
    )
    with pytest.raises(SettingsError, match=sentence):
        build(settings)
