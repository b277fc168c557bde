"""The control API: found by recipient and verdict, rules changed while it runs, hostile questions refused."""

import asyncio

import aiosmtplib
import pytest

from carillon.simulators.domain.rules import Rule
from tests.integration.simulators.misbehaving import simulated
from tests.support.fuzzing import fuzz


async def test_entries_are_found_by_recipient_and_verdict_in_pages() -> None:
    async with simulated("smtp", Rule(do="dead", to="dead@*")) as smtp:
        async with smtp.client() as client:
            for number in range(3):
                await client.sendmail("app@example.com", [f"ada{number % 2}@example.com"], b"\r\nHello")
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
            await smtp.mail("dead@example.com")

        newest = await smtp.received("?limit=2")
        of_one = await smtp.received("?to=ADA0@example.com")
        refused = await smtp.received("?verdict=refused")
        _, second = await smtp.ask("GET", "/received?limit=3&page=2")

    assert [entry["number"] for entry in newest] == [4, 3]
    assert [entry["number"] for entry in of_one] == [3, 1]
    assert [entry["to"] for entry in refused] == ["dead@example.com"]
    assert (second["meta"]["total"], second["meta"]["has_next"], len(second["data"])) == (4, False, 1)


async def test_rules_change_while_it_runs_and_the_seed_stays() -> None:
    async with simulated("smtp", Rule(do="dead"), seed=5) as smtp:
        status, said = await smtp.ask("PUT", "/rules", json={"rules": [{"do": "delay", "seconds": 0}]})
        await smtp.mail("ada@example.com")
        _, shown = await smtp.ask("GET", "/rules")

    assert (status, said["data"]) == (200, shown["data"])
    assert shown["data"] == {"rules": [{"do": "delay", "seconds": 0}], "seed": 5}


async def test_a_reset_tells_the_counts_and_begins_at_one() -> None:
    async with simulated("smtp", Rule(do="refuse", code=451, nth=1)) as smtp:
        for _ in range(2):
            with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
                await smtp.mail("ada@example.com")
            await smtp.mail("ada@example.com")
            _, told = await smtp.ask("DELETE", "/received")
            after = await smtp.counts()

            assert (told["data"]["tries"], told["data"]["refused"], told["data"]["taken"]) == (2, 1, 1)
            assert set(after.values()) == {0}
            assert await smtp.received() == []


async def test_only_so_many_are_remembered_while_the_counts_go_on() -> None:
    async with simulated("smtp", keep=2) as smtp:
        async with smtp.client() as client:
            for _ in range(5):
                await client.sendmail("app@example.com", ["ada@example.com"], b"\r\nHello")
        counts = await smtp.counts()
        numbers = [entry["number"] for entry in await smtp.received()]

    assert (counts["tries"], counts["kept"], numbers) == (5, 2, [5, 4])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 422),
        (b'{"rules": [{"do": "explode"}]}', 422),
        (b'{"rules": [{"do": "refuse"}]}', 422),
        (b'{"rules": [{"do": "refuse", "code": 451, "retry_after": 3}]}', 422),
        (b'{"rules": [], "colour": "red"}', 422),
        (b'{"rules": [], "seed": -1}', 422),
        (b'{"rules": [{"do": "accept", "to": "\\u0000"}]}', 422),
        (b'{"rules": [{"do": "refuse", "code": 550, "text": "a\\r\\nb"}]}', 422),
        (b'{"rules": [' + b'{"do":"accept"},' * 1_000 + b'{"do":"accept"}]}', 422),
    ],
)
async def test_bad_rules_are_refused_and_the_old_ones_stay(body: bytes, status: int) -> None:
    async with simulated("smtp", Rule(do="accept", to="ada@*")) as smtp:
        answered, said = await smtp.ask("PUT", "/rules", data=body, headers={"Content-Type": "application/json"})
        _, shown = await smtp.ask("GET", "/rules")

    assert (answered, said["success"]) == (status, False)
    assert shown["data"]["rules"] == [{"do": "accept", "to": "ada@*"}]


@pytest.mark.parametrize(("method", "path"), [("GET", "/received"), ("GET", "/counts"), ("DELETE", "/received")])
async def test_a_page_that_leads_a_browser_here_under_its_own_name_sees_nothing(method: str, path: str) -> None:
    async with simulated("smtp") as smtp:
        status, said = await smtp.ask(method, path, headers={"Host": "evil.example"})

    assert (status, said["error"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "path", ["/received?limit=0", "/received?page=none", "/received?verdict=lost", "/received?colour=red"]
)
async def test_a_bad_question_is_422(path: str) -> None:
    async with simulated("smtp") as smtp:
        status, said = await smtp.ask("GET", path)

    assert (status, said["error"]) == (422, "validation_failed")


@pytest.mark.timeout(180)
async def test_fuzzing_finds_no_500_and_no_undocumented_answer() -> None:
    async with simulated("smtp", Rule(do="bounce", share=0.5)) as smtp:
        await smtp.mail("ada@example.com")

        await asyncio.to_thread(fuzz, f"{smtp.control}/openapi.json", examples=15)
