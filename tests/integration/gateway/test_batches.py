"""Many notifications in one request, on a real PostgreSQL: each on its own, all that are accepted in one commit."""

import asyncio
import io
import json
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import pytest

from carillon.contracts.batches import MOST_AT_ONCE, MOST_BYTES
from carillon.gateway.domain import MOST_BYTES as MOST_BYTES_OF_A_FIELD
from carillon.kit.http.edge import MAX_BODY
from tests.integration.gateway.house import Answer, Around, House, open_house
from tests.support.locks import END_WHO_WAITS, HOW_MANY_WAIT
from tests.support.waiting import eventually

BATCH = "/api/v1/notifications/batch"
TABLES = ("notifications", "idempotency_keys", "outbox")


async def batch(house: House, items: list[Any], *, token: str | None = None) -> Answer:
    return await raw(house, json.dumps({"notifications": items}).encode(), token=token)


async def raw(house: House, body: Any, *, path: str = BATCH, token: str | None = None) -> Answer:
    headers = {"Authorization": f"Bearer {token or house.token}", "Content-Type": "application/json"}
    data = io.BytesIO(body) if isinstance(body, bytes) else body
    async with house.session.post(path, data=data, headers=headers, allow_redirects=False) as answer:
        return Answer(answer.status, await answer.json())


def counts(answer: Answer) -> tuple[int, int, int]:
    """Accepted, replayed, refused."""
    return answer.data["accepted"], answer.data["replayed"], answer.data["refused"]


async def test_a_thousand_are_committed_at_once_and_told_in_their_order(house: House) -> None:
    user_id = house.around.contacts.add()
    items = [house.body(user_id=user_id, priority=1 + number % 10) for number in range(MOST_AT_ONCE)]

    answer = await batch(house, items)

    assert (answer.status, counts(answer)) == (202, (1000, 0, 0))
    results = answer.data["results"]
    assert [result["index"] for result in results] == list(range(1000))
    assert [result["request_id"] for result in results] == [item["request_id"] for item in items]
    assert {(result["status"], result["stage"]) for result in results} == {("pending", "accepted")}
    assert [await house.count(table) for table in TABLES] == [1000] * 3
    assert await house.sql.fetchval("SELECT count(DISTINCT xmin::text) FROM gateway.notifications_default") <= 1
    assert await house.sql.fetchval("SELECT count(DISTINCT xmin::text) FROM gateway.outbox") == 1
    rows = await house.sql.fetch("SELECT id, request_id, priority FROM gateway.notifications ORDER BY id")
    stored = {row["request_id"]: (row["id"], row["priority"]) for row in rows}
    assert stored == {
        item["request_id"]: (UUID(result["notification_id"]), item["priority"])
        for item, result in zip(items, results, strict=True)
    }


async def test_what_was_accepted_in_a_batch_reaches_the_broker(house: House) -> None:
    answer = await batch(house, [house.body() for _ in range(20)])

    async with house.loop("relay"):

        async def emptied() -> bool:
            return await house.count("outbox") == 0

        await eventually(emptied)

    sent = {message.notification_id for message in await house.messages()}
    assert sent == {UUID(result["notification_id"]) for result in answer.data["results"]}


async def test_the_same_batch_again_is_all_replayed_with_the_present_status(house: House) -> None:
    items = [house.body() for _ in range(50)]
    first = await batch(house, items)
    await house.sql.execute("UPDATE gateway.notifications SET status = 'delivered', rank = 3000")

    again = await batch(house, items)

    assert (again.status, counts(again)) == (202, (0, 50, 0))
    ids = [[result["notification_id"] for result in answer.data["results"]] for answer in (first, again)]
    assert ids[0] == ids[1]
    assert {(result["status"], result["stage"]) for result in again.data["results"]} == {("delivered", None)}
    assert await house.count("notifications") == 50


async def test_fifty_batches_at_once_with_the_same_request_ids_accept_each_once(house: House, around: Around) -> None:
    bodies = [house.body() for _ in range(60)]
    async with open_house(around) as other:
        answers = await asyncio.gather(
            *(
                batch(
                    (house, other)[turn % 2],
                    bodies[turn % 30 :: 1 + turn % 3][:: (-1) ** (turn // 2)],
                    token=house.token,
                )
                for turn in range(50)
            )
        )

    results = [result for answer in answers for result in answer.data["results"]]
    by_request: dict[str, set[str]] = {}
    for result in results:
        by_request.setdefault(result["request_id"], set()).add(result["notification_id"])
    assert len(by_request) == 60
    assert {len(ids) for ids in by_request.values()} == {1}
    assert sum(answer.data["accepted"] for answer in answers) == 60
    assert sum(answer.data["replayed"] for answer in answers) == len(results) - 60
    assert [await house.count(table) for table in TABLES] == [60] * 3


async def test_batches_and_single_requests_of_the_same_request_ids_agree(house: House) -> None:
    bodies = [house.body() for _ in range(30)]

    whole, *alone = await asyncio.gather(batch(house, bodies), *(house.post(body) for body in reversed(bodies)))

    assert [result["notification_id"] for result in whole.data["results"]] == [
        answer.data["notification_id"] for answer in reversed(alone)
    ]
    assert await house.count("notifications") == 30


async def test_of_two_items_with_one_request_id_the_first_counts(house: House) -> None:
    first = house.body(request_id="same")
    answer = await batch(house, [first, {**first, "priority": 9}, dict(reversed(first.items()))])

    one, other, same = answer.data["results"]
    assert counts(answer) == (1, 1, 1)
    assert (one["request_id"], one["status"]) == ("same", "pending")
    assert (other["request_id"], other["error"]) == ("same", "request_id_reused")
    assert "notification_id" not in other
    assert same["notification_id"] == one["notification_id"]
    assert await house.sql.fetchval("SELECT priority FROM gateway.notifications") == 5


async def test_a_request_id_of_another_body_or_of_another_caller_is_told_apart(house: House) -> None:
    body = house.body()
    await house.post(body)

    mine = await batch(house, [{**body, "priority": 9}])
    theirs = await batch(house, [body], token=house.around.callers.token("notifications:send"))

    assert mine.data["results"][0]["error"] == "request_id_reused"
    assert counts(theirs) == (1, 0, 0)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


BAD: list[tuple[Any, str]] = [
    ({"notification_type": "fax"}, "notification_type"),
    ({"user_id": "me"}, "user_id"),
    ({"template_code": "a\n"}, "template_code"),
    ({"variables": []}, "variables"),
    ({"variables": {"name": "Ada", "link": "example.com"}}, "variables.link"),
    ({"variables": {"name": "\0", "link": "https://example.com"}}, "variables"),
    ({"variables": {"name": "x" * MOST_BYTES_OF_A_FIELD, "link": "https://example.com"}}, "variables"),
    ({"metadata": nested(200)}, "metadata"),
    ({"metadata": {"a\0": 1}}, "metadata"),
    ({"request_id": "a\0b"}, "request_id"),
    ({"request_id": "x" * 201}, "request_id"),
    ({"request_id": 7}, "request_id"),
    ({"priority": 11}, "priority"),
    ({"priority": "5"}, "priority"),
    ({"priority": 10**400}, "priority"),
    ({"category": "Bad Category"}, "category"),
    ({"colour": "red"}, "colour"),
]


async def test_bad_items_are_refused_by_the_field_and_harm_no_neighbour(house: House) -> None:
    items: list[Any] = [house.body(request_id=f"good-{number}") for number in range(len(BAD) + 1)]
    for number, (change, _) in enumerate(BAD):
        items.insert(2 * number + 1, {**house.body(request_id=f"bad-{number}"), **change})

    answer = await batch(house, items)

    good, bad = answer.data["results"][0::2], answer.data["results"][1::2]
    assert (answer.status, counts(answer)) == (202, (len(BAD) + 1, 0, len(BAD)))
    assert {result["status"] for result in good} == {"pending"}
    assert {result["error"] for result in bad} == {"validation_failed"}
    assert [result["details"][0]["field"] for result in bad] == [field for _, field in BAD]
    assert [result["index"] for result in bad] == [2 * number + 1 for number in range(len(BAD))]
    named = {result["request_id"] for result in bad}
    assert named == {None} | {f"bad-{n}" for n, (change, _) in enumerate(BAD) if "request_id" not in change}
    assert await house.count("notifications") == len(BAD) + 1


async def test_what_is_no_request_at_all_is_refused_in_its_place(house: House) -> None:
    good = json.dumps(house.body()).encode()
    strange = [b"null", b"7", b'"text"', b"[]", b"{}", b"true", b'{"request_id": "\xff"}']

    answer = await raw(house, b'{"notifications": [' + b",".join([good, *strange, good]) + b"]}")

    assert (answer.status, counts(answer)) == (202, (1, 1, len(strange)))
    refused = answer.data["results"][1:-1]
    assert {result["error"] for result in refused} <= {"validation_failed", "malformed_json"}
    assert {result["request_id"] for result in refused} == {None}


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "malformed_json"),
        (b"{", 400, "malformed_json"),
        (b"[" * 100_000, 400, "malformed_json"),
        (b'{"notifications": [' + b"[" * 100_000 + b"]}", 400, "malformed_json"),
        (b'{"notifications": [{]}', 400, "malformed_json"),
        (b'{"notifications": [{}', 400, "malformed_json"),
        (b'{"notifications": [{"request_id": "\\ud800"}]}', 400, "malformed_json"),  # half a surrogate pair
        (b"null", 422, "validation_failed"),
        (b"[]", 422, "validation_failed"),
        (b"{}", 422, "validation_failed"),
        (b'{"notifications": {}}', 422, "validation_failed"),
        (b'{"notifications": null}', 422, "validation_failed"),
        (b'{"notifications": []}', 422, "validation_failed"),
        (b'{"notifications": [{}], "more": 1}', 422, "validation_failed"),
        (b'{"notifications": [' + b",".join([b"{}"] * (MOST_AT_ONCE + 1)) + b"]}", 422, "validation_failed"),
    ],
)
async def test_what_is_no_batch_is_refused_as_a_whole(house: House, body: bytes, status: int, error: str) -> None:
    answer = await raw(house, body)

    assert (answer.status, answer.body["success"], answer.body["error"]) == (status, False, error)


async def test_a_batch_may_be_larger_than_any_other_body_and_has_its_own_end(house: House) -> None:
    large = house.body(metadata={"a": "x" * (MOST_BYTES_OF_A_FIELD - 100)})
    items = [{**large, "request_id": f"r{number}"} for number in range(20)]
    assert len(json.dumps(items)) > MAX_BODY

    taken = await batch(house, items)
    alone = await raw(house, b" " * (MAX_BODY + 1), path="/api/v1/notifications")
    beyond = await raw(house, b" " * (MOST_BYTES + 1))
    chunked = await raw(house, pieces(MOST_BYTES + 1))

    assert (taken.status, counts(taken)) == (202, (20, 0, 0))
    assert [a.status for a in (alone, beyond, chunked)] == [413] * 3
    assert {a.body["error"] for a in (alone, beyond, chunked)} == {"body_too_large"}


async def pieces(size: int) -> Any:
    while size > 0:
        yield b" " * min(size, 1 << 16)
        size -= 1 << 16


async def test_an_unknown_user_or_template_is_told_in_its_place(house: House) -> None:
    items = [house.body(), house.body(user_id=uuid4()), house.body(template_code="nowhere"), house.body()]

    answer = await batch(house, items)

    assert counts(answer) == (2, 0, 2)
    assert [result.get("error") for result in answer.data["results"]] == [
        None, "user_not_found", "template_not_found", None,
    ]  # fmt: skip
    assert await house.count("notifications") == 2


async def test_a_replay_does_not_need_its_user_any_more(house: House) -> None:
    items = [house.body() for _ in range(3)]
    await batch(house, items)
    house.around.contacts.people.clear()

    answer = await batch(house, [*items, {**items[0], "priority": 9}, house.body(user_id=uuid4())])

    assert counts(answer) == (0, 3, 2)
    assert [result.get("error") for result in answer.data["results"][3:]] == ["request_id_reused", "user_not_found"]


async def test_one_row_that_cannot_be_stored_harms_no_neighbour(house: House) -> None:
    await house.sql.execute("ALTER TABLE gateway.notifications ADD CONSTRAINT test CHECK (category <> 'bad')")
    items = [house.body(category="bad" if number == 70 else "good") for number in range(100)]

    answer = await batch(house, items)

    assert counts(answer) == (99, 0, 1)
    assert answer.data["results"][70]["error"] == "validation_failed"
    assert [await house.count(table) for table in TABLES] == [99] * 3


async def test_whoever_hangs_up_on_a_batch_settles_it_by_sending_it_again(house: House) -> None:
    items = [house.body() for _ in range(100)]
    async with house.sql.transaction():  # nothing can be committed while this holds the table
        await house.sql.execute("LOCK TABLE gateway.idempotency_keys IN ACCESS EXCLUSIVE MODE")
        gone = asyncio.create_task(batch(house, items))
        await _until_someone_waits(house)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)

    again = await batch(house, items)

    assert again.data["accepted"] + again.data["replayed"] == 100
    assert await house.count("notifications") == await house.count("outbox") == 100


async def test_a_connection_lost_in_the_middle_answers_503_and_the_same_batch_settles_it(house: House) -> None:
    items = [house.body() for _ in range(10)]
    async with house.sql.transaction():
        await house.sql.execute("LOCK TABLE gateway.idempotency_keys IN ACCESS EXCLUSIVE MODE")
        post = asyncio.create_task(batch(house, items))
        await _until_someone_waits(house)
        await house.sql.execute(END_WHO_WAITS)
        lost = await post

    again = await batch(house, items)

    assert (lost.status, lost.body["error"]) == (503, "unavailable")
    assert Counter(again.data)["accepted"] == 10


async def test_who_may_not_send_may_send_no_batch(house: House) -> None:
    reader = house.around.callers.token("notifications:read")

    assert (await batch(house, [house.body()], token=reader)).status == 403
    assert (await batch(house, [house.body()], token="nobody")).status == 401
    assert await house.count("idempotency_keys") == 0


@pytest.mark.parametrize(
    "path", ["/v1/notifications/batch", "/v1/notifications/batch/", "/api/v1/notifications/batch/"]
)
async def test_every_spelling_takes_a_batch_without_a_redirect(house: House, path: str) -> None:
    large = house.body(metadata={"a": "x" * (MOST_BYTES_OF_A_FIELD - 100)})
    items = [{**large, "request_id": f"r{number}"} for number in range(10)]

    assert (await raw(house, json.dumps({"notifications": items}).encode(), path=path)).status == 202


async def _until_someone_waits(house: House) -> None:
    async def waiting() -> bool:
        return bool(await house.sql.fetchval(HOW_MANY_WAIT))

    await eventually(waiting, says="a statement waits for a lock")
