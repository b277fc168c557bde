"""What a reply means: for good or for now, and whom it blames. By its code and its enhanced code (RFC 3463)."""

import re
from typing import Literal

from carillon.delivery.domain import Failed, Refused

What = Literal["sender", "recipient", "message"]

CLOSING = 421
LOGIN_CODES = frozenset({530, 534, 535, 538})  # our log-in is at fault, not the message
_PERMANENT = 500
_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?!\d)")

# By subject and detail, X.<subject>.<detail>; RFC 3463 where nothing else is said.
_LOGIN = frozenset({"7.8", "7.9", "7.11", "7.12"})  # RFC 4954
_SENDER = frozenset({"1.7", "1.8", "7.27"})  # our address or its domain, RFC 7505 too; often told at RCPT
_NOT_NOW = frozenset({"3.1", "3.2"})  # the server is full or takes no mail at present, whatever the class says
_TRANSIENT = frozenset({"2.2", "4.3", "4.5"})  # known as transient only: mailbox full, directory away, congestion
_MISCONFIGURED = "3.5"  # in a 5yz it may also be about the recipient's domain


def judged(what: What, code: int, text: str) -> Refused | Failed:
    """`what` the server was asked about when it refused; the caller has found the reply to be no consent."""
    said, detail = f"{code} {text}", detail_of(code, text)
    if code in LOGIN_CODES or detail in _LOGIN:
        return Failed("smtp_authentication_failed", said, down=True)
    if code == CLOSING:
        return Failed("smtp_server_closing", said, down=True)
    if detail in _NOT_NOW or (detail == _MISCONFIGURED and code < _PERMANENT):
        return Failed("smtp_server_unavailable", said, down=True)
    if detail in _SENDER:
        what = "sender"
    if code < _PERMANENT or detail in _TRANSIENT:
        return Failed(f"{what}_deferred", said)
    if what == "sender":  # it is the same for every mail: the next server may know us
        return Failed("sender_refused", said, down=True)
    return Refused(f"{what}_refused", said)


def detail_of(code: int, text: str) -> str | None:
    """`<subject>.<detail>` of the enhanced code. One of another class than the reply is not believed (RFC 2034, 4)."""
    found = _ENHANCED.match(text)
    if found is None or int(found[1]) != code // 100:
        return None
    return f"{int(found[2])}.{int(found[3])}"
