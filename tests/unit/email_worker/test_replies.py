"""What a server's reply means: for good or for now, and whom it blames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.delivery.domain import Failed, Refused
from carillon.email_worker.replies import What, detail_of, judged

FOR_GOOD, LATER, NEXT = "for good", "later", "the next server"


def meaning(answer: Refused | Failed) -> str:
    if isinstance(answer, Refused):
        return FOR_GOOD
    assert not answer.unknown, "a reply is a definite answer"
    return NEXT if answer.down else LATER


@pytest.mark.parametrize(
    ("what", "reply", "means", "reason"),
    [
        # X.1: addresses
        ("recipient", "550 5.1.1 no such user", FOR_GOOD, "recipient_refused"),
        ("recipient", "450 4.1.1 unverified", LATER, "recipient_deferred"),
        ("recipient", "550 5.1.2 no such host", FOR_GOOD, "recipient_refused"),
        ("recipient", "553 5.1.3 bad syntax", FOR_GOOD, "recipient_refused"),
        ("recipient", "551 5.1.6 moved", FOR_GOOD, "recipient_refused"),
        ("recipient", "553 5.1.7 bad sender", NEXT, "sender_refused"),
        ("recipient", "553 5.1.8 sender's domain", NEXT, "sender_refused"),
        ("recipient", "450 4.1.8 sender's domain not found", LATER, "sender_deferred"),
        ("recipient", "556 5.1.10 takes no mail", FOR_GOOD, "recipient_refused"),
        # X.2: mailboxes
        ("recipient", "550 5.2.1 disabled", FOR_GOOD, "recipient_refused"),
        ("recipient", "450 4.2.1 disabled for now", LATER, "recipient_deferred"),
        ("recipient", "552 5.2.2 mailbox full", LATER, "recipient_deferred"),
        ("message", "552 5.2.2 mailbox full", LATER, "message_deferred"),
        ("recipient", "452 4.2.2 mailbox full", LATER, "recipient_deferred"),
        ("message", "552 5.2.3 too long for this mailbox", FOR_GOOD, "message_refused"),
        # X.3: the server
        ("message", "451 4.3.0 queue trouble", LATER, "message_deferred"),
        ("message", "452 4.3.1 disk full", NEXT, "smtp_server_unavailable"),
        ("message", "552 5.3.1 disk full", NEXT, "smtp_server_unavailable"),
        ("sender", "453 4.3.2 not now", NEXT, "smtp_server_unavailable"),
        ("sender", "521 5.3.2 takes no mail", NEXT, "smtp_server_unavailable"),
        ("message", "552 5.3.4 too big", FOR_GOOD, "message_refused"),
        ("recipient", "451 4.3.5 configuration", NEXT, "smtp_server_unavailable"),
        ("recipient", "553 5.3.5 loops back to myself", FOR_GOOD, "recipient_refused"),
        ("sender", "421 4.3.2 closing", NEXT, "smtp_server_closing"),
        # X.4: network and routing
        ("recipient", "450 4.4.1 no answer from host", LATER, "recipient_deferred"),
        ("recipient", "550 5.4.1 access denied", FOR_GOOD, "recipient_refused"),
        ("recipient", "550 5.4.3 directory away", LATER, "recipient_deferred"),
        ("message", "554 5.4.5 congestion", LATER, "message_deferred"),
        ("message", "554 5.4.6 routing loop", FOR_GOOD, "message_refused"),
        # X.5: protocol
        ("recipient", "452 4.5.3 too many recipients", LATER, "recipient_deferred"),
        ("message", "554 5.5.1 no valid recipients", FOR_GOOD, "message_refused"),
        # X.6: content
        ("message", "554 5.6.0 malformed", FOR_GOOD, "message_refused"),
        # X.7: policy
        ("recipient", "450 4.7.1 greylisted", LATER, "recipient_deferred"),
        ("message", "550 5.7.1 spam", FOR_GOOD, "message_refused"),
        ("sender", "550 5.7.1 not you", NEXT, "sender_refused"),
        ("message", "550 5.7.26 not authenticated", FOR_GOOD, "message_refused"),
        ("recipient", "550 5.7.27 sender takes no mail", NEXT, "sender_refused"),
        ("sender", "530 5.7.0 log in first", NEXT, "smtp_authentication_failed"),
        ("sender", "550 5.7.8 credentials", NEXT, "smtp_authentication_failed"),
        ("sender", "550 5.7.9 mechanism too weak", NEXT, "smtp_authentication_failed"),
        ("recipient", "538 5.7.11 encrypt first", NEXT, "smtp_authentication_failed"),
        # without an enhanced code, or with one that is not to be believed
        ("recipient", "550 no such user", FOR_GOOD, "recipient_refused"),
        ("recipient", "450 later", LATER, "recipient_deferred"),
        ("message", "554", FOR_GOOD, "message_refused"),
        ("recipient", "450 5.1.1 which of the two", LATER, "recipient_deferred"),
        ("recipient", "550 4.3.1 which of the two", FOR_GOOD, "recipient_refused"),
        ("message", "554 10.5.3.1 is blocked", FOR_GOOD, "message_refused"),
        ("message", "554 5.3.1000 no such code", FOR_GOOD, "message_refused"),
    ],
)
def test_a_reply_is_judged_by_its_code_and_its_enhanced_code(what: What, reply: str, means: str, reason: str) -> None:
    code, _, text = reply.partition(" ")
    answer = judged(what, int(code), text)

    assert (meaning(answer), answer.reason) == (means, reason)
    assert answer.error.strip() == reply


@pytest.mark.parametrize(
    ("code", "text", "detail"),
    [
        (550, "5.1.1 no", "1.1"), (550, "5.1.1", "1.1"), (550, "5.01.001 no", "1.1"), (550, "no 5.1.1", None),
        (550, "", None), (550, "5.1", None), (450, "5.1.1 no", None), (550, "5.1.1\n5.1.1 no", "1.1"),
    ],
)  # fmt: skip
def test_the_enhanced_code_stands_at_the_beginning_and_is_of_the_replys_class(
    code: int, text: str, detail: str | None
) -> None:
    assert detail_of(code, text) == detail


@given(st.sampled_from(["sender", "recipient", "message"]), st.integers(200, 599), st.text())
def test_no_reply_is_too_strange_and_none_counts_as_perhaps_taken(what: What, code: int, text: str) -> None:
    answer = judged(what, code, text)
    assert isinstance(answer, Refused) or not answer.unknown
    assert code >= 500 or isinstance(answer, Failed), "what may succeed later is never given up"
