"""Reading a mail, however broken or hostile: a text for everything, and never an exception."""

from dataclasses import dataclass
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message


@dataclass(frozen=True, slots=True)
class MailContent:
    """`text` and `html` are the first such parts that are no attachments; None where there is none."""

    subject: str
    text: str | None
    html: str | None
    headers: dict[str, str]


def read_mail(raw: bytes) -> MailContent:
    mail = message_from_bytes(raw)
    headers: dict[str, str] = {}
    for name, value in mail.raw_items():
        key, text = clean(name), _decoded(value)
        headers[key] = f"{headers[key]}\n{text}" if key in headers else text
    subjects = [text for name, text in headers.items() if name.lower() == "subject"]
    return MailContent(subjects[0] if subjects else "", _part(mail, "text/plain"), _part(mail, "text/html"), headers)


def clean(text: str) -> str:
    """What a database and JSON can hold: bytes that were no text become U+FFFD, NUL too."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\x00", "\ufffd")


def _decoded(value: object) -> str:
    """A header's text: encoded words decoded, folded lines joined."""
    raw = " ".join(clean(str(value)).split())
    try:
        return clean(str(make_header(decode_header(raw))))
    except (HeaderParseError, LookupError, UnicodeError, ValueError):
        return raw


def _part(mail: Message, kind: str) -> str | None:
    for part in mail.walk():
        if part.get_content_type() == kind and part.get_content_disposition() != "attachment":
            payload = part.get_payload(decode=True)
            if isinstance(payload, bytes):
                return _text(payload, part)
    return None


def _text(payload: bytes, part: Message) -> str:
    try:
        return clean(payload.decode(str(part.get_content_charset("utf-8")), "replace")).replace("\r\n", "\n")
    except (LookupError, ValueError):
        return clean(payload.decode("utf-8", "replace")).replace("\r\n", "\n")
