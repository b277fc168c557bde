"""Every mail can be read and shown, whatever it contains."""

from datetime import UTC, datetime
from email.message import EmailMessage

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.kit.errors import Unavailable
from carillon.kit.ids import uuid7
from carillon.simulators.actions import KeptMail, Mail
from carillon.simulators.domain.mail import read_mail
from carillon.simulators.page import list_page, mail_page
from carillon.simulators.smtp import _Handler


def kept(raw: bytes, sender: str = "a@example.com", *to: str) -> KeptMail:
    return KeptMail(uuid7(), datetime.now(UTC), Mail(sender, list(to), raw))


def test_encoded_words_folded_lines_and_charsets_are_read() -> None:
    content = read_mail(
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n =?iso-8859-1?q?_=FC?= plain\r\n"
        b"Received: one\r\nReceived: two\r\n"
        b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=FCber\r\n"
    )

    assert content.subject == "Grüße ü plain"
    assert content.text == "über\n"
    assert content.html is None
    assert content.headers["Received"] == "one\ntwo"


def test_an_attachment_is_not_taken_for_the_text() -> None:
    mail = EmailMessage()
    mail["Subject"] = "With a file"
    mail.set_content("The text")
    mail.add_alternative("<p>The HTML</p>", subtype="html")
    mail.add_attachment("Not this", filename="note.txt")

    content = read_mail(mail.as_bytes())

    assert (content.text, content.html) == ("The text\n", "<p>The HTML</p>\n")


_HEADS = st.sampled_from(
    [
        b"Subject: =?utf-8?b?////?=\r\n",
        b"Subject: \xff\xfe\x00\r\n",
        b"Content-Type: text/html; charset=nope\r\n",
        b"Content-Type: text/plain; charset*=a'b'%ff\r\n",
        b"Content-Type: multipart/mixed; boundary=x\r\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Transfer-Encoding: x-uuencode\r\n",
        b"Content-Disposition: \xff\r\n",
        b": nothing\r\n",
    ]
)


@given(st.lists(_HEADS, max_size=5).map(b"".join), st.binary(max_size=200))
def test_no_mail_breaks_its_reader(heads: bytes, body: bytes) -> None:
    raw = heads + b"\r\n--x\r\n" + heads + b"\r\n" + body

    content = read_mail(raw)

    assert "\x00" not in msgspec.json.encode(content).decode()
    assert mail_page(kept(raw)).encode()


def test_nothing_of_a_mail_reaches_the_page_unescaped() -> None:
    hostile = "</pre></iframe>\"'><script>alert(1)</script>"
    mail = EmailMessage()
    mail["X-Hostile"] = mail["Subject"] = hostile
    mail.set_content(hostile)
    mail.add_alternative(hostile, subtype="html")
    message = kept(mail.as_bytes(), hostile, hostile)

    for page in (mail_page(message), list_page([message], total=1, page=1)):
        assert "<script" not in page
        assert page.count("</iframe>") == page.count("<iframe")
        assert "alert(1)" in page


def test_pages_turn_between_newer_and_older() -> None:
    assert "page=2" in list_page([kept(b"")], total=51, page=1)
    assert "page=1" in list_page([kept(b"")], total=51, page=2)
    assert "page=3" not in list_page([kept(b"")], total=51, page=2)
    assert "No mail yet" in list_page([], total=0, page=1)


@pytest.mark.parametrize("error", [Unavailable("away"), TimeoutError()])
async def test_a_mail_that_cannot_be_kept_is_refused_for_now(error: Exception) -> None:
    class Envelope:
        mail_from, rcpt_tos, content = "a@example.com", ["b@example.com"], b"x"

    async def keep(_mail: Mail) -> None:
        raise error

    assert (await _Handler(keep).handle_DATA(None, None, Envelope())).startswith("451 ")  # type: ignore[arg-type]
