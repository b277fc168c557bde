"""Mail over real SMTP is kept before it is acknowledged, and told as JSON."""

import asyncio
import socket

import aiosmtplib
import asyncpg
import pytest

from carillon.kit.database import open_database
from carillon.simulators.actions import Mail
from carillon.simulators.settings import SimulatorsSettings
from carillon.simulators.store import CapturedStore
from tests.integration.simulators.conftest import Simulators, mail, simulators
from tests.support.locks import HOW_MANY_WAIT
from tests.support.waiting import eventually


async def test_a_mail_is_told_with_everything_it_says(running: Simulators) -> None:
    sent = mail("Grüße, Ada ✉", "Text with ümlaut\n", "<p>HTML &amp; more</p>")
    await running.send(sent, "ada@example.com", "b@example.com")

    (kept,) = await running.mails()

    assert kept["from"] == "app@example.com"
    assert kept["to"] == ["ada@example.com", "b@example.com"]
    assert kept["subject"] == "Grüße, Ada ✉"
    assert kept["text"] == "Text with ümlaut\n"
    assert kept["html"].strip() == "<p>HTML &amp; more</p>"
    assert kept["headers"]["To"] == "Ada <ada@example.com>"
    assert kept["received_at"]
    assert kept["size"] > 100


async def test_mails_are_found_by_recipient_in_any_case_and_paged(running: Simulators) -> None:
    for n in range(5):
        await running.send(mail(f"Mail {n}"), "Ada@Example.com" if n % 2 else "bob@example.com")

    assert [m["subject"] for m in await running.mails("?to=aDA@example.COM")] == ["Mail 3", "Mail 1"]
    assert await running.mails("?to=da@example.com") == []
    assert await running.mails("?to=%25") == []
    assert [m["subject"] for m in await running.mails("?limit=2&page=2")] == ["Mail 2", "Mail 1"]
    async with running.session.get(f"{running.url}/mailbox/messages?limit=2&page=2") as answer:
        said = await answer.json()
    assert said["success"] is True
    assert (said["meta"]["total"], said["meta"]["total_pages"], said["meta"]["has_next"]) == (5, 3, True)


async def test_an_acknowledged_mail_survives_a_restart(settings: SimulatorsSettings) -> None:
    async with simulators(settings) as running:
        await running.send(mail("Kept"), "ada@example.com")
    async with simulators(settings) as running:
        assert [m["subject"] for m in await running.mails()] == ["Kept"]


async def test_a_mail_is_committed_before_it_is_acknowledged(running: Simulators, database: str) -> None:
    connection = await asyncpg.connect(database)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("LOCK TABLE simulators.mails IN EXCLUSIVE MODE")
    sending = asyncio.create_task(running.send(mail(), "ada@example.com"))
    await eventually(lambda: connection.fetchval(HOW_MANY_WAIT), says="the server waits for its commit")
    assert not sending.done()

    await transaction.rollback()
    await connection.close()
    assert "kept as" in await sending
    assert len(await running.mails()) == 1


async def test_a_mail_that_cannot_be_kept_gets_a_transient_refusal_and_the_next_is_taken(
    running: Simulators, database: str
) -> None:
    await running.send(mail("Before"), "ada@example.com")
    connection = await asyncpg.connect(database)
    await connection.execute("ALTER TABLE simulators.mails RENAME TO away")
    with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
        await running.send(mail("Lost?"), "ada@example.com")
    assert refused.value.code == 451

    await connection.execute("ALTER TABLE simulators.away RENAME TO mails")
    await connection.close()
    await running.send(mail("After"), "ada@example.com")
    assert [m["subject"] for m in await running.mails()] == ["After", "Before"]


async def test_the_server_speaks_real_smtp(running: Simulators) -> None:
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=running.smtp_port, use_tls=False, start_tls=False, timeout=20)
    async with client:
        await client.ehlo()
        assert client.supports_extension("SMTPUTF8")
        assert client.supports_extension("8BITMIME")
        assert client.esmtp_extensions["size"] == str(10 * 1024 * 1024)
        with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
            await client.sendmail("a@example.com", ["b@example.com"], b"x" * (10 * 1024 * 1024 + 1))
        assert refused.value.code == 552
        await client.sendmail(
            "ü@example.com", ["ß@example.com"], b"Subject: \xc3\xbc\r\n\r\nx", mail_options=["SMTPUTF8"]
        )
        await client.sendmail("a@example.com", ["b@example.com"], b"Subject: dots\r\n\r\n.\r\n..\r\nend")
    dots, utf8 = await running.mails()
    assert (utf8["from"], utf8["to"], utf8["subject"]) == ("ü@example.com", ["ß@example.com"], "ü")
    assert dots["text"].rstrip() == ".\n..\nend"


async def test_many_mails_at_once_are_all_kept(running: Simulators) -> None:
    await asyncio.gather(*(running.send(mail(f"Mail {n}"), f"user{n}@example.com") for n in range(60)))

    subjects = {m["subject"] for page in (1, 2, 3) for m in await running.mails(f"?limit=20&page={page}")}
    assert subjects == {f"Mail {n}" for n in range(60)}


async def test_the_mailbox_can_be_emptied(running: Simulators) -> None:
    await running.send(mail(), "ada@example.com")

    async with running.session.delete(f"{running.url}/mailbox/messages") as answer:
        assert (await answer.json())["data"] == {"deleted": 1}
    assert await running.mails() == []


async def test_only_the_newest_are_kept(settings: SimulatorsSettings) -> None:
    async with open_database(settings.database_url, name="test", size=1) as database:
        store = CapturedStore(database)
        for n in range(7):
            await store.keep_mails([Mail("a", ["b"], str(n).encode())])

        assert await store.trim(7) == 0
        assert await store.trim(3) == 4
        found, total = await store.mails(None, limit=10, offset=0)
        assert ([kept.mail.raw for kept in found], total) == ([b"6", b"5", b"4"], 3)


async def test_hostile_and_broken_mail_is_kept_and_told(running: Simulators) -> None:
    for raw in (
        b"",
        b"\x00\xff\xfe",
        b"Subject: =?nonsense?Q?=ff?=\r\nContent-Type: text/plain; charset=nope\r\n\r\n\xff",
        b"Subject: \xff\x00\r\nX: =?utf-8?B?////?=\r\nContent-Type: multipart/mixed\r\n\r\nno boundary",
        b"Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n<b>\r\n",
        b"Content-Transfer-Encoding: base64\r\n\r\n%%%%",
        b"Subject: " + b"a" * 900 + b"\r\n b\r\n\r\nx",
    ):
        await running.send(raw, "ada@example.com")

    assert len(await running.mails()) == 7
    async with running.session.get(f"{running.url}/mailbox") as answer:
        assert answer.status == 200


async def test_hostile_questions_are_refused(running: Simulators) -> None:
    for path, status in (
        ("/mailbox/messages?to=%00", 422),
        ("/mailbox/messages?limit=0", 422),
        ("/mailbox/messages?page=99999999999999999999", 422),
        ("/mailbox/pushes?token=%00", 422),
        ("/mailbox?page=0", 422),
        ("/mailbox/mails/00000000-0000-0000-0000-000000000000", 404),
        ("/mailbox/mails/nonsense", 404),
    ):
        async with running.session.get(running.url + path) as answer:
            assert (answer.status, (await answer.json())["success"]) == (status, False), path


async def test_a_connection_that_stalls_holds_nobody_else_up(running: Simulators) -> None:
    with socket.create_connection(("127.0.0.1", running.smtp_port), timeout=5) as silent:
        silent.sendall(b"EHLO x\r\nMAIL FROM:<a@example.com>\r\n")
        await running.send(mail("Through"), "ada@example.com")
    assert len(await running.mails()) == 1
