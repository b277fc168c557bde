"""Each way in which the push simulator misbehaves, as an HTTP client meets it, and what the simulator says it did."""

import asyncio
import io
from pathlib import Path

import aiohttp
import pytest

from carillon.simulators.domain.rules import Rule
from tests.integration.simulators.misbehaving import left_alone, simulated
from tests.support.waiting import eventually


async def test_a_push_is_taken_from_the_holder_of_the_account_alone(tmp_path: Path) -> None:
    async with simulated("fcm", folder=tmp_path) as fcm:
        strangers, _, _ = await fcm.push("device", bearer="nobody")
        status, said, _ = await fcm.push("device", bearer=await fcm.bearer())
        (entry,) = await fcm.received()

    assert (strangers, status) == (401, 200)
    assert (entry["to"], entry["message_id"], entry["verdict"], entry["taken"]) == (
        "device",
        said["name"],
        "accepted",
        True,
    )


@pytest.mark.parametrize(
    ("rule", "status", "error_code", "retry_after"),
    [
        (Rule(do="refuse", code=429, retry_after=7), 429, "QUOTA_EXCEEDED", "7"),
        (Rule(do="refuse", code=503), 503, "UNAVAILABLE", None),
        (Rule(do="refuse", code=500), 500, "INTERNAL", None),
        (Rule(do="refuse", code=400, text="Not today"), 400, "INVALID_ARGUMENT", None),
        (Rule(do="refuse", code=418), 418, "UNSPECIFIED_ERROR", None),
        (Rule(do="dead"), 404, "UNREGISTERED", None),
    ],
)
async def test_a_refusal_wears_fcms_shape(
    tmp_path: Path, rule: Rule, status: int, error_code: str, retry_after: str | None
) -> None:
    async with simulated("fcm", rule, folder=tmp_path) as fcm:
        answered, said, headers = await fcm.push("device", bearer=await fcm.bearer())
        (entry,) = await fcm.received()

    assert (answered, headers.get("Retry-After")) == (status, retry_after)
    assert said["error"]["code"] == status
    assert [detail["errorCode"] for detail in said["error"]["details"]] == [error_code]
    assert rule.text is None or said["error"]["message"] == rule.text
    assert (entry["verdict"], entry["taken"], entry["said"]) == ("refused", False, f"{status} {error_code}")


async def test_a_token_that_is_dead_is_dead_each_time(tmp_path: Path) -> None:
    async with simulated("fcm", Rule(do="dead", share=0.5), folder=tmp_path, seed=3) as fcm:
        bearer = await fcm.bearer()
        tokens = [f"device-{number}" for number in range(20)]
        first = [(await fcm.push(token, bearer=bearer))[0] for token in tokens]
        again = [(await fcm.push(token, bearer=bearer))[0] for token in tokens]

    assert first == again
    assert set(first) == {200, 404}


@pytest.mark.parametrize(("when", "taken"), [("before", False), ("during", True), ("after", True)])
async def test_a_dropped_connection_ends_without_a_whole_answer(tmp_path: Path, when: str, taken: bool) -> None:  # noqa: FBT001
    async with simulated("fcm", folder=tmp_path) as fcm:
        bearer = await fcm.bearer()
        await fcm.follow({"do": "drop", "when": when, "times": 1})
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await fcm.push("device", bearer=bearer)
        (entry,) = await fcm.received()
        status, _, _ = await fcm.push("device", bearer=bearer)

    assert (entry["verdict"], entry["taken"], status) == ("dropped", taken, 200)


@pytest.mark.parametrize(("when", "taken"), [("before", False), ("after", True)])
async def test_silence_is_borne_as_long_as_the_client_likes(tmp_path: Path, when: str, taken: bool) -> None:  # noqa: FBT001
    async with simulated("fcm", folder=tmp_path) as fcm:
        bearer = await fcm.bearer()
        await fcm.follow({"do": "hang", "when": when})
        entry = await left_alone(fcm, fcm.push("device", bearer=bearer, seconds=60), "device")

    assert (entry["verdict"], entry["taken"]) == ("hung", taken)


async def test_a_late_answer_and_one_letter_by_letter_still_come(tmp_path: Path) -> None:
    rules = (Rule(do="delay", seconds=0.2, nth=1), Rule(do="drip", seconds=0.2))
    async with simulated("fcm", *rules, folder=tmp_path) as fcm:
        bearer = await fcm.bearer()
        now = asyncio.get_running_loop().time
        begun = now()
        answers = [(await fcm.push("device", bearer=bearer))[:2]]
        late = now()
        answers += [(await fcm.push("device", bearer=bearer))[:2]]
        dripped = now()

    assert late - begun > 0.19
    assert dripped - late > 0.19
    assert [status for status, _ in answers] == [200, 200]
    assert all(said["name"].startswith("projects/") for _, said in answers)


async def test_letters_come_one_by_one(tmp_path: Path) -> None:
    async with simulated("fcm", Rule(do="drip", seconds=60), folder=tmp_path) as fcm:
        bearer = await fcm.bearer()
        url = f"http://127.0.0.1:{fcm.port}/v1/projects/{fcm.account['project_id']}/messages:send"
        body, headers = {"message": {"token": "device"}}, {"Authorization": f"Bearer {bearer}"}
        async with asyncio.timeout(20), fcm.session.post(url, json=body, headers=headers) as answer:
            begun = await answer.content.readany()

    assert answer.status == 200
    assert 0 < len(begun) < int(answer.headers["Content-Length"])


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST /v1/projects/x/messages:send HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /simulators/fcm/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\n\xff%%%",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_nonsense_is_refused_and_the_next_push_is_taken(tmp_path: Path, raw: bytes) -> None:
    async with simulated("fcm", folder=tmp_path) as fcm:
        reader, writer = await asyncio.open_connection("127.0.0.1", fcm.port)
        writer.write(raw)
        async with asyncio.timeout(10):
            heard = await reader.readline()
        writer.close()
        status, _, _ = await fcm.push("device", bearer=await fcm.bearer())

    assert heard.startswith(b"HTTP/1.")
    assert heard.split()[1][:1] == b"4"
    assert status == 200


async def test_a_body_beyond_the_limit_is_413(tmp_path: Path) -> None:
    async with simulated("fcm", folder=tmp_path) as fcm:
        url = f"http://127.0.0.1:{fcm.port}/v1/projects/x/messages:send"
        async with fcm.session.post(url, data=io.BytesIO(b"x" * ((1 << 20) + 1))) as answer:
            assert answer.status == 413


async def test_only_so_many_wait_at_once_and_who_leaves_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carillon.simulators.tool.fcm._MOST_AT_ONCE", 60)
    async with simulated("fcm", folder=tmp_path) as fcm:
        bearer = await fcm.bearer()
        await fcm.follow({"do": "hang"})
        pushes = [asyncio.create_task(fcm.push("device", bearer=bearer, seconds=60)) for _ in range(60)]

        async def all_hang() -> bool:
            return (await fcm.counts())["hung"] == len(pushes)

        await eventually(all_hang, within=20, says="each is met with silence")
        await fcm.follow()
        assert (await fcm.push("device", bearer=bearer))[0] == 503
        for push in pushes:
            push.cancel()
        await asyncio.gather(*pushes, return_exceptions=True)

        async def taken() -> bool:
            return (await fcm.push("device", bearer=bearer))[0] == 200

        await eventually(taken, within=20, says="there is room again")
