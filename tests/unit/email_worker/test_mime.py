"""Mail as bytes, read back by the standard library: nothing is lost, nobody breaks out of a header."""

import re
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carillon.contracts.messages import DeliveryRequested
from carillon.contracts.templates import Content, PublishedTemplate
from carillon.contracts.users import Contact, Decision
from carillon.delivery.domain import Refused
from carillon.email_worker.channel import EmailChannel, Mail
from carillon.email_worker.domain import sender_of

ID = UUID("01890000-0000-7000-8000-000000000001")
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
WIRE = re.compile(rb"\A(?:[^\r\n]{0,998}\r\n)*\Z")
# What a line of text keeps: printable characters; the encodings of mail have no word for a lone surrogate.
LINE = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
BODY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=2000)


def composed(content: Content, *, email: str | None = "ada@example.com", name: str = "Ada") -> Mail | Refused:
    channel = EmailChannel([], sender=sender_of("Carillon <bell@carillon.example>"), now=lambda: NOW)
    request = DeliveryRequested(
        notification_id=ID,
        generation=0,
        channel="email",
        user_id=ID,
        template_code="welcome",
        variables={},
        priority=5,
        accepted_at=NOW,
        correlation_id="test",
    )
    decision = Decision(allowed=True, layer="channel_default", reason="")
    contact = Contact(user_id=ID, name=name, email=email, locale=None, devices=[], decision=decision, version=1)
    published = PublishedTemplate(
        code="welcome", channel="email", language="en", version=1, category=None, at_most_once=False, content=content
    )
    return channel.compose(request, contact, published, content)


def mail(**given: Any) -> Mail:
    fields = {"name": given.pop("name", "Ada"), "email": given.pop("email", "ada@example.com")}
    found = composed(Content(**{"subject": "Hello", "body_text": "Hi", **given}), **fields)
    assert isinstance(found, Mail)
    return found


def read(written: Mail) -> EmailMessage:
    assert WIRE.match(written.content), "CRLF and lines of at most 998 bytes throughout"
    message = message_from_bytes(written.content, policy=policy.SMTPUTF8)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n").rstrip("\n")


def shown_name(message: EmailMessage) -> str:
    """The name in To by RFC 2047: white space between encoded words is none (the address parser adds some)."""
    raw = re.sub(r"\s*<?ada@example\.com>?$", "", dict(message.raw_items())["To"])
    if raw.startswith('"'):
        return re.sub(r"\\(.)", r"\1", raw[1:-1])
    return str(make_header(decode_header(raw)))


def flat(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def test_a_mail_with_two_bodies_is_an_alternative_with_the_html_last() -> None:
    message = read(mail(body_html="<p>Hi</p>"))

    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert (body(message, "plain"), body(message, "html")) == ("Hi", "<p>Hi</p>")


@pytest.mark.parametrize(
    ("content", "kind"),
    [({"body_text": "Hi", "body_html": None}, "text/plain"), ({"body_text": None, "body_html": "Hi"}, "text/html")],
)
def test_a_mail_with_one_body_is_just_that(content: dict[str, Any], kind: str) -> None:
    assert read(mail(**content)).get_content_type() == kind


def test_the_headers_are_what_a_mail_needs() -> None:
    message = read(mail())

    assert message["From"] == "Carillon <bell@carillon.example>"
    assert message["To"] == "Ada <ada@example.com>"
    assert message["Date"].datetime == NOW
    assert message["Message-ID"] == f"<{ID}@carillon.example>"
    assert message["MIME-Version"] == "1.0"
    assert message["Auto-Submitted"] == "auto-generated"


def test_the_same_notification_makes_the_same_bytes() -> None:
    assert mail(body_html="<b>x</b>") == mail(body_html="<b>x</b>")


@settings(max_examples=60)
@given(LINE)
def test_any_subject_comes_back_as_one_line(subject: str) -> None:
    message = read(mail(subject=subject))

    assert flat(str(message["Subject"])) == flat(subject)
    assert message.keys() == read(mail()).keys()


@settings(max_examples=60)
@given(LINE)
def test_any_name_comes_back_beside_the_one_address(name: str) -> None:
    message = read(mail(name=name))

    (address,) = message["To"].addresses
    assert (address.username, address.domain) == ("ada", "example.com")
    assert flat(shown_name(message)) == flat(name)
    assert message.keys() == read(mail()).keys()


@settings(max_examples=60)
@given(BODY, BODY)
def test_any_bodies_come_back_as_they_were(text: str, html: str) -> None:
    message = read(mail(body_text=text, body_html=html))

    assert body(message, "plain") == text.rstrip("\n")
    assert body(message, "html") == html.rstrip("\n")


@pytest.mark.parametrize("text", ["a\rb", "a\r.\rb", "\r", "a\n\r\n\rb", "ü\rb"])
def test_a_lone_carriage_return_becomes_a_line_break(text: str) -> None:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")

    assert body(read(mail(body_text=text)), "plain") == lines.rstrip("\n")


@pytest.mark.parametrize("field", ["subject", "name"])
@pytest.mark.parametrize(
    "breaks", ["\r\n", "\n", "\r", "\r\n\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\x00"]
)
def test_nobody_breaks_out_of_a_header(field: str, breaks: str) -> None:
    written = mail(**{field: f"Hello{breaks}Bcc: everybody@example.com"})
    message = read(written)

    assert message["Bcc"] is None
    assert b"\nBcc" not in written.content
    assert b"\x00" not in written.content


def test_a_subject_that_looks_encoded_is_shown_as_it_was_written() -> None:
    subject = "=?utf-8?q?Bcc:_everybody?="
    assert read(mail(subject=subject))["Subject"] == subject


def test_lone_surrogates_and_very_long_words_make_a_valid_mail() -> None:
    message = read(mail(subject="\ud800 " + "x" * 5000, body_text="\ud800" + "y" * 5000, name="\udfff"))
    assert "x" * 5000 in message["Subject"]


def test_a_domain_beyond_ascii_is_put_in_its_ascii_form() -> None:
    written = mail(email="ada@bücher.example")
    assert str(written.recipient) == "ada@xn--bcher-kva.example"
    assert not written.smtputf8


def test_a_local_part_beyond_ascii_asks_for_smtputf8() -> None:
    written = mail(email="данные@example.com")
    assert written.smtputf8
    assert "To: Ada <данные@example.com>\r\n".encode() in written.content


@pytest.mark.parametrize(
    "email",
    [
        "ada", "@example.com", "ada@", "ada@exa mple.com", "a da@example.com", "ada@example.com\r\nRCPT TO:<x@y.z>",
        "<ada@example.com>", "ada@example.com>", '"a b"@example.com', "ada@[127.0.0.1]", "a@b@example.com",
        "ada\x00@example.com", "ada@-example.com", "ada@example..com", "a" * 65 + "@example.com",
        "a@" + "b" * 64 + "." + "c" * 200, "ada@\u2028example.com",
    ],
)  # fmt: skip
def test_what_is_no_mailbox_is_refused_for_good(email: str) -> None:
    found = composed(Content(subject="x", body_text="x"), email=email)
    assert isinstance(found, Refused)
    assert found.reason == "address_invalid"


def test_nobody_to_send_to_and_nothing_to_say_are_refused() -> None:
    nobody = composed(Content(subject="x", body_text="x"), email=None)
    nothing = composed(Content(subject="x"))

    assert (nobody, nothing) == (
        Refused("no_address", "the user has no e-mail address"),
        Refused("empty_content", "the template has neither a text nor an HTML body"),
    )
