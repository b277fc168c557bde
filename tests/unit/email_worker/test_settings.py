"""Where and as whom mail is sent: read early, refused with a sentence that keeps the password to itself."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from carillon.delivery.ports import Terms
from carillon.email_worker.app import build
from carillon.email_worker.domain import sender_of
from carillon.email_worker.servers import Server, servers_of
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


def test_a_server_says_how_much_it_may_be_given() -> None:
    url = "smtp://u:p@mail:25?tls=none&name=main&weight=3&rate=14.5&connections=20, smtp://mail?weight=0"

    main, reserve = servers_of(url)

    assert (main.name, main.terms) == ("main", Terms(weight=3, rate=14.5, connections=20))
    assert (reserve.name, reserve.terms) == ("smtp:mail:587", Terms(weight=0))
    assert servers_of("smtp://mail")[0].terms == Terms()


@pytest.mark.parametrize(
    "option",
    [
        "weight=-1", "weight=1001", "weight=one", "weight=", "weight=1.5", "weight=%31%0A", "weight=\u0661",
        "rate=0", "rate=0.0", "rate=-1", "rate=nan", "rate=inf", "rate=1e400", "rate=", "rate=fast", "rate=1%0A",
        "connections=0", "connections=1001", "connections=", "connections=ten", "connections=99999999999999999999",
        "name=", "name=a%20b", "name=a%0Ab", "name=%3Cscript%3E", "name=" + "a" * 65, "tls=", "tls=STARTTLS",
        "weight=1&weight=2", "secret=secret",
    ],
)  # fmt: skip
def test_a_bad_option_is_refused_without_quoting_the_url(option: str) -> None:
    with pytest.raises(SettingsError, match="CARILLON_SMTP_URL") as refused:
        servers_of(f"smtp://one, smtp://user:secret@mail.example.com?{option}")

    said = str(refused.value)
    assert not any(word in said for word in ("secret", "user:", "mail.example.com?"))


@pytest.mark.parametrize("twice", ["smtp://mail,smtp://mail", "smtp://a?name=x,smtp://b?name=x"])
def test_two_servers_are_told_apart_by_their_names(twice: str) -> None:
    with pytest.raises(SettingsError, match="called the same"):
        servers_of(twice)

    assert len(servers_of("smtp://mail?name=x,smtp://mail?name=y")) == 2


@pytest.mark.parametrize(
    "password", ["p%2Cw", "p%3Fw%26name%3Dx", "p%40w%3A"], ids=["comma", "question mark", "at and colon"]
)
def test_a_password_may_hold_what_separates_when_it_is_encoded(password: str) -> None:
    (server,) = servers_of(f"smtp://u:{password}@mail?weight=2")

    assert (server.password, server.host) == (unquote(password), "mail")


def test_a_password_that_was_not_encoded_is_refused_and_stays_unsaid() -> None:
    for url in ("smtp://user:sec,ret@mail", "smtp://user:sec#ret@mail", "smtp://user:sec/ret@mail"):
        with pytest.raises(SettingsError) as refused:
            servers_of(url)
        assert "sec" not in str(refused.value).replace("a second", "")


def test_the_breaker_s_settings_are_judged() -> None:
    for variable, value in (("BREAKER_RATIO", "0"), ("BREAKER_RATIO", "1.1"), ("BREAKER_CALLS", "1")):
        with pytest.raises(SettingsError, match=variable):
            load(EmailWorkerSettings, "email_worker", {f"CARILLON_{variable}": value}, **GIVEN)
