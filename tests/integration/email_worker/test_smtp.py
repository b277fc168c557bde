"""The SMTP provider against servers that refuse, close, fall silent, or ask for TLS and a password."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from carillon.delivery.domain import Accepted, Failed, Refused
from carillon.email_worker.channel import Mail
from carillon.email_worker.domain import Address
from carillon.email_worker.providers.smtp import SmtpProvider
from carillon.email_worker.servers import Server, Tls
from tests.integration.email_worker.server import CLOSE, PIPELINING, REPLIES, SILENCE, ScriptedSmtp, scripted_smtp
from tests.support.waiting import eventually

MAIL = Mail("bell@example.com", Address("ada", "example.com"), b"Subject: x\r\n\r\n.dot first\r\n..\r\nlast\r\n")


@pytest.fixture(params=[REPLIES["EHLO"], PIPELINING], ids=["one by one", "pipelining"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[ScriptedSmtp]:
    async with scripted_smtp() as scripted:
        scripted.replies["EHLO"] = request.param
        yield scripted


@pytest.fixture
async def provider(server: ScriptedSmtp) -> AsyncIterator[SmtpProvider]:
    smtp = SmtpProvider(Server("127.0.0.1", server.port, "none"), connections=3, deadline=5)
    yield smtp
    await smtp.close()


async def test_a_mail_is_taken_as_it_is_with_the_servers_word_for_it(
    provider: SmtpProvider, server: ScriptedSmtp
) -> None:
    assert await provider.send(MAIL) == Accepted("2.0.0 queued as 42")
    assert server.mails == [b"Subject: x\r\n\r\n..dot first\r\n...\r\nlast\r\n"]
    assert server.lines[1:4] == ["MAIL FROM:<bell@example.com>", "RCPT TO:<ada@example.com>", "DATA"]


async def test_connections_are_kept_and_bounded(provider: SmtpProvider, server: ScriptedSmtp) -> None:
    for _ in range(5):
        await provider.send(MAIL)
    assert server.connections == 1

    answers = await asyncio.gather(*(provider.send(MAIL) for _ in range(30)))
    assert all(isinstance(answer, Accepted) for answer in answers)
    assert server.connections <= 3
    await provider.close()
    assert server.count("QUIT") == server.connections


async def test_a_connection_that_idled_for_long_is_not_used_again(server: ScriptedSmtp) -> None:
    provider = SmtpProvider(Server("127.0.0.1", server.port, "none"), idle_seconds=0)
    for _ in range(2):
        assert isinstance(await provider.send(MAIL), Accepted)

    assert server.connections == 2
    await provider.close()


async def test_a_server_that_closed_its_idle_connections_costs_no_attempt(
    provider: SmtpProvider, server: ScriptedSmtp
) -> None:
    await asyncio.gather(*(provider.send(MAIL) for _ in range(3)))
    await server.hang_up()

    assert isinstance(await provider.send(MAIL), Accepted)


async def test_a_server_that_says_goodbye_unasked_costs_no_attempt(
    provider: SmtpProvider, server: ScriptedSmtp
) -> None:
    await provider.send(MAIL)
    for writer in server.open:
        writer.write(b"421 4.4.2 idle for too long\r\n")
    await eventually(lambda: not server.open)

    assert isinstance(await provider.send(MAIL), Accepted)
    assert server.connections == 2


async def test_a_server_that_wants_a_content_for_nobody_gets_none(provider: SmtpProvider, server: ScriptedSmtp) -> None:
    server.replies["EHLO"] = PIPELINING
    server.replies["RCPT"] = "550 5.1.1 nobody"
    assert await provider.send(MAIL) == Refused("recipient_refused", "550 5.1.1 nobody")

    server.replies["RCPT"] = "250 ok"
    assert isinstance(await provider.send(MAIL), Accepted)
    assert (server.connections, server.mails) == (1, [b"Subject: x\r\n\r\n..dot first\r\n...\r\nlast\r\n"])


async def test_replies_are_read_however_they_arrive(provider: SmtpProvider, server: ScriptedSmtp) -> None:
    server.replies["END"] = "250-2.0.0 queued\r\n250 as 42"
    assert await provider.send(MAIL) == Accepted("2.0.0 queued\nas 42")

    server.replies["END"] = "what?"
    answer = await provider.send(MAIL)
    assert isinstance(answer, Failed)
    assert (answer.down, answer.unknown) == (True, True)


@pytest.mark.parametrize("farewell", [CLOSE, "421 4.4.2 idle for too long"])
async def test_a_server_that_closes_a_kept_connection_at_the_next_command_costs_no_attempt(
    provider: SmtpProvider, server: ScriptedSmtp, farewell: str
) -> None:
    await provider.send(MAIL)
    farewells = [farewell]
    server.replies["MAIL"] = lambda: farewells.pop() if farewells else "250 ok"

    assert isinstance(await provider.send(MAIL), Accepted)
    assert len(server.mails) == 2


@pytest.mark.parametrize(
    ("command", "reply", "answer"),
    [
        ("MAIL", "550 5.7.1 not you", Failed("sender_refused", "550 5.7.1 not you", down=True)),
        ("MAIL", "451 4.3.0 later", Failed("sender_deferred", "451 4.3.0 later")),
        ("RCPT", "550 5.1.1 nobody", Refused("recipient_refused", "550 5.1.1 nobody")),
        ("RCPT", "553 5.1.3 bad", Refused("recipient_refused", "553 5.1.3 bad")),
        ("RCPT", "450 4.2.1 greylisted", Failed("recipient_deferred", "450 4.2.1 greylisted")),
        ("RCPT", "530 5.7.0 log in first", Failed("smtp_authentication_failed", "530 5.7.0 log in first", down=True)),
        ("DATA", "554 5.5.1 no", Refused("message_refused", "554 5.5.1 no")),
        ("END", "552 5.3.4 too big", Refused("message_refused", "552 5.3.4 too big")),
        ("END", "452 4.3.1 full", Failed("smtp_server_unavailable", "452 4.3.1 full", down=True)),
        ("END", "451 4.3.0 trouble", Failed("message_deferred", "451 4.3.0 trouble")),
        ("RCPT", "552 5.2.2 mailbox full", Failed("recipient_deferred", "552 5.2.2 mailbox full")),
        ("RCPT", "553 5.1.8 who", Failed("sender_refused", "553 5.1.8 who", down=True)),
        ("END", "421 4.3.2 closing", Failed("smtp_server_closing", "421 4.3.2 closing", down=True)),
        ("CONNECT", "554 5.3.2 go away", Failed("smtp_connection_failed", "554 5.3.2 go away", down=True)),
        ("CONNECT", "421 4.3.2 full", Failed("smtp_server_closing", "421 4.3.2 full", down=True)),
    ],
)
async def test_a_reply_says_whether_to_try_again_and_whom_to_blame(
    provider: SmtpProvider, server: ScriptedSmtp, command: str, reply: str, answer: Refused | Failed
) -> None:
    server.replies[command] = reply
    assert await provider.send(MAIL) == answer

    server.replies[command] = {"CONNECT": "220 ready", "DATA": "354 go on"}.get(command, "250 ok")
    assert isinstance(await provider.send(MAIL), Accepted)
    assert len(server.mails) == 1


@pytest.mark.parametrize(
    ("command", "reply", "kept"),
    [
        ("RCPT", "550 5.1.1 <Ada@Example.COM>: no such user", "550 5.1.1 <…>: no such user"),
        (
            "RCPT",
            "550-5.1.1 Ada is unknown\r\n550 5.1.1 at example.com",
            "550 5.1.1 … is unknown\n5.1.1 at example.com",
        ),
        ("RCPT", "450 4.2.1 try ada%40example.com later", "450 4.2.1 try … later"),
        ("END", "554 5.7.1 bell@example.com may not write to ada@example.com", "554 5.7.1 … may not write to …"),
        ("END", "250 2.0.0 <ada@example.com> queued as 42", "2.0.0 <…> queued as 42"),
    ],
)
async def test_what_a_server_says_comes_back_without_the_address_it_quotes(
    provider: SmtpProvider, server: ScriptedSmtp, command: str, reply: str, kept: str
) -> None:
    server.replies[command] = reply

    answer = await provider.send(MAIL)

    assert (answer.provider_message_id if isinstance(answer, Accepted) else answer.error) == kept


async def test_after_a_refusal_the_connection_is_reset_and_used_again(
    provider: SmtpProvider, server: ScriptedSmtp
) -> None:
    server.replies["RCPT"] = "550 no"
    await provider.send(MAIL)
    server.replies["RCPT"] = "250 ok"
    await provider.send(MAIL)

    assert (server.connections, server.count("RSET")) == (1, 1)


@pytest.mark.parametrize(
    ("command", "reply", "unknown"),
    [("RCPT", CLOSE, False), ("END", CLOSE, True), ("END", SILENCE, True), ("CONNECT", CLOSE, False)],
)
async def test_a_lost_connection_is_of_unknown_outcome_only_once_content_went_over_it(
    server: ScriptedSmtp, command: str, reply: str, *, unknown: bool
) -> None:
    provider = SmtpProvider(Server("127.0.0.1", server.port, "none"), deadline=0.5)
    server.replies[command] = reply
    answer = await provider.send(MAIL)

    assert isinstance(answer, Failed)
    assert (answer.down, answer.unknown) == (True, unknown)
    await provider.close()


@pytest.mark.parametrize("command", ["CONNECT", "EHLO", "MAIL", "RCPT"])
async def test_a_server_that_falls_silent_before_the_content_has_certainly_not_taken_it(
    server: ScriptedSmtp, command: str
) -> None:
    provider = SmtpProvider(Server("127.0.0.1", server.port, "none"), deadline=3)
    server.replies[command] = SILENCE
    async with asyncio.timeout(3):  # what the caller grants a whole send
        answer = await provider.send(MAIL)

    assert isinstance(answer, Failed)
    assert (answer.reason, answer.down, answer.unknown) == ("smtp_timeout", True, False)
    await provider.close()


async def test_nobody_there_is_the_providers_trouble() -> None:
    answer = await SmtpProvider(Server("127.0.0.1", 1, "none"), deadline=2).send(MAIL)
    assert isinstance(answer, Failed)
    assert (answer.reason, answer.down, answer.unknown) == ("smtp_connection_failed", True, False)


async def test_a_send_that_is_cut_short_leaves_no_half_used_connection(
    provider: SmtpProvider, server: ScriptedSmtp
) -> None:
    server.replies["END"] = SILENCE
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await provider.send(MAIL)
    await eventually(lambda: not server.open)

    server.replies["END"] = "250 ok"
    assert isinstance(await provider.send(MAIL), Accepted)


async def test_an_internationalised_address_needs_a_server_that_knows_them(
    provider: SmtpProvider, server: ScriptedSmtp
) -> None:
    mail = Mail("bell@example.com", Address("данные", "example.com"), MAIL.content)
    answer = await provider.send(mail)
    assert isinstance(answer, Refused)
    assert answer.reason == "smtputf8_unsupported"

    server.replies["EHLO"] = "250-here\r\n250 SMTPUTF8"
    await provider.close()
    assert isinstance(await provider.send(mail), Accepted)
    assert server.count("RCPT TO:<данные@EXAMPLE.COM>".upper()) == 1


class Keeping:
    """Keeps mail from whoever logged in."""

    def __init__(self) -> None:
        self.mails: list[tuple[bool, bytes]] = []

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if not session.authenticated:
            return "530 5.7.0 log in first"
        envelope.mail_from = address
        return "250 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        assert server.transport is not None
        self.mails.append((server.transport.get_extra_info("ssl_object") is not None, envelope.content))
        return "250 kept"


def log_in(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
    assert isinstance(data, LoginPassword)
    return AuthResult(success=(data.login, data.password) == (b"bell", b"p:w @"), handled=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of its own for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "pair.pem"
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(pem + built.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("password", ["p:w @", "wrong"])
async def test_tls_and_a_password_are_asked_for_and_given(certificate: Path, tls: Tls, password: str) -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate)
    keeping, loop = Keeping(), asyncio.get_running_loop()
    starttls = theirs if tls == "starttls" else None
    listening = await loop.create_server(
        lambda: SMTP(
            keeping,
            hostname="localhost",
            loop=loop,
            tls_context=starttls,
            require_starttls=starttls is not None,
            auth_require_tls=tls == "starttls",
            authenticator=log_in,
        ),
        "127.0.0.1",
        0,
        ssl=theirs if tls == "implicit" else None,
    )
    port = listening.sockets[0].getsockname()[1]
    ours = ssl.create_default_context(cafile=str(certificate))
    provider = SmtpProvider(Server("localhost", port, tls, "bell", password), tls=ours, deadline=5)

    answer = await provider.send(MAIL)

    if password == "wrong":
        assert isinstance(answer, Failed)
        assert (answer.reason, answer.down) == ("smtp_authentication_failed", True)
        assert keeping.mails == []
    else:
        assert isinstance(answer, Accepted)
        assert keeping.mails == [(True, MAIL.content)]
    await provider.close()
    listening.close()


async def test_a_certificate_that_nobody_vouches_for_keeps_the_mail_at_home(certificate: Path) -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate)
    keeping, loop = Keeping(), asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: SMTP(keeping, hostname="localhost", loop=loop), "127.0.0.1", 0, ssl=theirs
    )
    port = listening.sockets[0].getsockname()[1]
    provider = SmtpProvider(Server("localhost", port, "implicit"), tls=ssl.create_default_context(), deadline=5)

    answer = await provider.send(MAIL)
    assert isinstance(answer, Failed)
    assert answer.down
    assert keeping.mails == []
    listening.close()
