"""The client for applications: again where that is safe, one clear error where it is not Carillon that answers."""

from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import web

from carillon.contracts.batches import BatchReport, BatchResult
from carillon.contracts.envelope import Envelope
from carillon.kit.ids import uuid7
from carillon.sdk.client import CommandClient, Person, Refused, Unreachable
from tests.support.peers import Peer, peer

PERSON = Person(uuid7())


class Answers:
    """Answers one after the other; the last one for ever."""

    def __init__(self, *answers: web.Response) -> None:
        self.left = list(answers)
        self.asked = 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        answer = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers.copy())


GOOD = web.Response(body=msgspec.json.encode(Envelope(PERSON)))


@pytest.fixture
def answers() -> Answers:
    return Answers(GOOD)


@pytest.fixture
async def there(answers: Answers) -> AsyncIterator[Peer]:
    async with peer([web.post("/api/v1/contacts", answers.answer)]) as there:
        yield there


@pytest.fixture
def carillon(there: Peer) -> CommandClient:
    return CommandClient(there.session, there.url, token="crl_x")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_what_cannot_be_served_now_is_asked_again(carillon: CommandClient, answers: Answers, status: int) -> None:
    answers.left = [web.Response(status=status, headers={"Retry-After": "0"}), GOOD]
    assert await carillon.contact("ada@example.com") == PERSON.user_id
    assert answers.asked == 2


async def test_a_refusal_is_not_repeated(carillon: CommandClient, answers: Answers) -> None:
    refusal = b'{"success": false, "error": "validation_failed", "message": "email: no"}'
    answers.left = [web.Response(status=422, body=refusal)]
    with pytest.raises(Refused, match="email: no") as told:
        await carillon.contact("nobody")
    assert (told.value.status, told.value.code, answers.asked) == (422, "validation_failed", 1)


@pytest.mark.parametrize("status", [200, 404])
async def test_whoever_else_answers_is_told_as_such(carillon: CommandClient, answers: Answers, status: int) -> None:
    answers.left = [web.Response(status=status, text="<html>")]
    with pytest.raises(Refused, match="is this the right address") as told:
        await carillon.contact("ada@example.com")
    assert told.value.code == "not_carillon"


async def test_a_platform_that_stays_away_is_told_as_unreachable(carillon: CommandClient, there: Peer) -> None:
    await there.stop()
    with pytest.raises(Unreachable, match="POST /contacts"):
        await carillon.contact("ada@example.com")


async def test_a_batch_is_sent_again_as_a_whole_and_tells_of_each() -> None:
    report = BatchReport(1, 0, 1, [BatchResult(0, "a", notification_id=uuid7()), BatchResult(1, None, error="no")])
    batches = Answers(web.Response(status=503), web.Response(status=202, body=msgspec.json.encode(Envelope(report))))

    async def heard(request: web.Request) -> web.Response:
        while await request.content.readany():
            pass
        return await batches.answer(request)

    async with peer([web.post("/api/v1/notifications/batch", heard)]) as there:
        carillon = CommandClient(there.session, there.url, token="crl_x")
        assert await carillon.send_batch([{"metadata": {"a": "x" * (2 << 20)}}, {}]) == report
    assert batches.asked == 2
