"""Each way in which the mail simulator misbehaves, as a real client meets it, and what the simulator says it did."""

import asyncio
from typing import Any

import aiosmtplib
import pytest

from carillon.simulators.domain.rules import Rule
from tests.integration.simulators.misbehaving import CONTENT, left_alone, simulated
from tests.support.waiting import eventually

ADA = "ada@example.com"


async def test_without_rules_mail_is_taken_and_told_without_its_content() -> None:
    async with simulated("smtp") as smtp:
        words = await smtp.mail(ADA)

        (entry,) = await smtp.received()
        status, whole = await smtp.ask("GET", f"/received/{entry['id']}")

    assert "2.0.0" in words
    assert entry["to"] == ADA
    assert entry["sender"] == "app@example.com"
    assert entry["message_id"] == "<0198c0de-0000-7000-8000-000000000001@app>"
    assert (entry["verdict"], entry["taken"], entry["rule"], entry["size"]) == ("accepted", True, None, len(CONTENT))
    assert (status, whole["data"]["content"]) == (200, None)


async def test_contents_are_shown_where_they_are_kept_and_dots_are_as_they_were() -> None:
    content = CONTENT + b".\r\n..two\r\n" + b"x" * 900 + b"\r\n"
    async with simulated("smtp", keep_bytes=1 << 20) as smtp:
        await smtp.mail(ADA, content)
        (entry,) = await smtp.received()
        _, whole = await smtp.ask("GET", f"/received/{entry['id']}")

    assert whole["data"]["content"] == content.decode()


@pytest.mark.parametrize(
    ("rule", "code", "words"),
    [
        (Rule(do="refuse", code=451), 451, "4.3.0"),
        (Rule(do="refuse", code=452, text="4.2.2 Mailbox full"), 452, "4.2.2 Mailbox full"),
        (Rule(do="refuse", code=550, text="5.7.1 Spam"), 550, "5.7.1 Spam"),
        (Rule(do="refuse", code=599), 599, "5.0.0"),
        (Rule(do="dead"), 550, "5.1.1"),
    ],
)
async def test_a_refusal_of_the_recipient_leaves_the_connection_usable(rule: Rule, code: int, words: str) -> None:
    async with simulated("smtp", Rule(do="accept", to="bob@*"), rule) as smtp, smtp.client() as client:
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
            await client.sendmail("app@example.com", [ADA], CONTENT)
        await client.sendmail("app@example.com", ["bob@example.com"], CONTENT)
        later, earlier = await smtp.received()

    (each,) = refused.value.recipients
    assert (each.code, words in each.message) == (code, True)
    assert (earlier["verdict"], earlier["taken"], earlier["rule"]) == ("refused", False, 2)
    assert earlier["said"].startswith(f"{code} ")
    assert later["verdict"] == "accepted"


async def test_a_refusal_after_the_content_takes_nothing() -> None:
    async with simulated("smtp", Rule(do="refuse", code=554, when="after")) as smtp:
        with pytest.raises(aiosmtplib.SMTPDataError) as refused:
            await smtp.mail(ADA)
        (entry,) = await smtp.received()

    assert refused.value.code == 554
    assert (entry["verdict"], entry["taken"], entry["size"]) == ("refused", False, len(CONTENT))


async def test_421_closes_the_connection() -> None:
    async with simulated("smtp", Rule(do="refuse", code=421)) as smtp:
        reader, writer = await asyncio.open_connection("127.0.0.1", smtp.port)
        writer.write(b"HELO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<ada@example.com>\r\nDATA\r\n")
        async with asyncio.timeout(10):
            said = await reader.read()
        writer.close()

    assert said.split(b"\r\n")[-2].startswith(b"421 4.3.2")


async def test_silence_before_accepting_takes_nothing_and_after_accepting_takes_it() -> None:
    async with simulated("smtp", Rule(do="hang", to="ada@*"), Rule(do="hang", when="after")) as smtp:
        ada = await left_alone(smtp, smtp.mail(ADA, seconds=60), ADA)
        bob = await left_alone(smtp, smtp.mail("bob@example.com", seconds=60), "bob@example.com")

    assert (ada["verdict"], ada["taken"]) == ("hung", False)
    assert (bob["verdict"], bob["taken"], bob["size"]) == ("hung", True, len(CONTENT))


async def test_silence_ends_after_its_seconds_with_the_connection() -> None:
    async with simulated("smtp", Rule(do="hang", seconds=0.1)) as smtp:
        with pytest.raises(aiosmtplib.SMTPServerDisconnected):
            await smtp.mail(ADA, seconds=30)


@pytest.mark.parametrize(("when", "taken"), [("before", False), ("during", False), ("after", True)])
async def test_a_dropped_connection_is_an_end_without_a_word(when: Any, taken: bool) -> None:  # noqa: FBT001
    async with simulated("smtp", Rule(do="drop", when=when, times=1)) as smtp:
        with pytest.raises((aiosmtplib.SMTPServerDisconnected, ConnectionError)):
            await smtp.mail(ADA, CONTENT + b"x" * 100_000)
        await smtp.mail(ADA)
        later, dropped = await smtp.received()

    assert (dropped["verdict"], dropped["taken"]) == ("dropped", taken)
    assert later["verdict"] == "accepted"


async def test_a_late_answer_and_one_letter_by_letter_still_come() -> None:
    async with simulated("smtp", Rule(do="delay", seconds=0.2, nth=1), Rule(do="drip", seconds=0.2)) as smtp:
        now = asyncio.get_running_loop().time
        async with smtp.client() as client:
            begun = now()
            await client.sendmail("app@example.com", [ADA], CONTENT)
            late = now()
            await client.sendmail("app@example.com", [ADA], CONTENT)
            dripped = now()
        entries = await smtp.received()

    assert late - begun > 0.19
    assert dripped - late > 0.19
    assert [(entry["verdict"], entry["taken"]) for entry in entries] == [("accepted", True)] * 2


async def test_letters_come_one_by_one() -> None:
    async with simulated("smtp", Rule(do="drip", seconds=60)) as smtp:
        reader, writer = await asyncio.open_connection("127.0.0.1", smtp.port)
        writer.write(b"HELO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<ada@example.com>\r\nDATA\r\n" + CONTENT + b".\r\n")
        async with asyncio.timeout(20):
            await reader.readuntil(b"354 End with <CRLF>.<CRLF>\r\n")
            begun = await reader.read(1 << 16)
        (entry,) = await smtp.received()
        writer.close()

    assert entry["said"].encode().startswith(begun)
    assert 0 < len(begun) < len(entry["said"])


async def test_commands_may_come_at_once_and_each_has_its_reply() -> None:
    said = (
        b"EHLO me\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<dead@example.com>\r\nRCPT TO:<ada@example.com>\r\n"
        b"DATA\r\n" + CONTENT + b".\r\nQUIT\r\n"
    )
    async with simulated("smtp", Rule(do="dead", to="dead@*")) as smtp:
        reader, writer = await asyncio.open_connection("127.0.0.1", smtp.port)
        writer.write(said)
        async with asyncio.timeout(10):
            heard = await reader.read()
        writer.close()
        entries = await smtp.received()

    codes = [line[:3] for line in heard.split(b"\r\n") if line[3:4] == b" "]
    assert codes == [b"220", b"250", b"250", b"550", b"250", b"354", b"250", b"221"]
    assert b"250-PIPELINING" in heard
    assert [(entry["to"], entry["verdict"]) for entry in entries] == [
        ("ada@example.com", "accepted"),
        ("dead@example.com", "refused"),
    ]


async def test_credentials_are_taken_whatever_they_are() -> None:
    async with simulated("smtp") as smtp, smtp.client() as client:
        code, _ = await client.login("ada", "whatever")

    assert code == 235


async def test_a_client_that_leaves_in_the_middle_is_written_down() -> None:
    async with simulated("smtp") as smtp:
        reader, writer = await asyncio.open_connection("127.0.0.1", smtp.port)
        writer.write(b"HELO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<ada@example.com>\r\nDATA\r\nhalf of")
        async with asyncio.timeout(10):
            await reader.readuntil(b"354 End with <CRLF>.<CRLF>\r\n")
        writer.close()

        (entry,) = await eventually(smtp.received, says="the unfinished mail is written down")

    assert (entry["verdict"], entry["taken"]) == ("unfinished", False)


async def test_the_same_seed_and_order_of_mails_have_the_same_verdicts() -> None:
    rules = [Rule(do="refuse", code=451, share=0.3), Rule(do="refuse", code=550, share=0.3, when="after")]

    async def verdicts(seed: int) -> list[str]:
        async with simulated("smtp", *rules, seed=seed) as smtp, smtp.client() as client:
            for _ in range(30):
                try:
                    await client.sendmail("app@example.com", [ADA], CONTENT)
                except aiosmtplib.SMTPException:
                    await client.rset()
            return [entry["said"][:3] for entry in await smtp.received()]

    first, again, other = await verdicts(1), await verdicts(1), await verdicts(2)

    assert first == again != other
    assert set(first) == {"250", "451", "550"}


async def test_a_kept_connection_outlives_any_number_of_refusals() -> None:
    refused = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<ada@example.com>\r\nDATA\r\nRSET\r\n"
    async with simulated("smtp", Rule(do="dead")) as smtp:
        reader, writer = await asyncio.open_connection("127.0.0.1", smtp.port)
        writer.write(b"EHLO me\r\n" + refused * 50 + b"QUIT\r\n")
        async with asyncio.timeout(20):
            heard = await reader.read()
        writer.close()

    assert (heard.count(b"550 5.1.1"), heard.count(b"503 5.5.1")) == (50, 50)
    assert heard.endswith(b"221 2.0.0 Bye\r\n")
