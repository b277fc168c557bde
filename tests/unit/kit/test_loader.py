"""The data loader: one question for all that gathered, each caller its own answer."""

import asyncio
import contextvars
from collections.abc import Mapping, Sequence

import pytest

from carillon.kit.loader import Loader
from tests.support.waiting import eventually


class Elsewhere:
    """Knows the squares of small numbers; refuses 13 alone, and everything while `broken`."""

    def __init__(self) -> None:
        self.questions: list[Sequence[int]] = []
        self.broken = False

    async def load(self, keys: Sequence[int]) -> Mapping[int, int | Exception]:
        self.questions.append(keys)
        await asyncio.sleep(0)
        if self.broken:
            raise ConnectionError("nobody there")
        return {key: ValueError("unlucky") if key == 13 else key * key for key in keys if key < 100}


async def test_keys_asked_for_at_once_are_loaded_with_one_question() -> None:
    elsewhere = Elsewhere()
    loader = Loader(elsewhere.load)

    assert await asyncio.gather(*(loader(key) for key in (1, 2, 3, 2, 1))) == [1, 4, 9, 4, 1]
    assert elsewhere.questions == [[1, 2, 3]]


async def test_a_question_never_exceeds_its_size() -> None:
    elsewhere = Elsewhere()
    loader = Loader(elsewhere.load, size=10)

    await asyncio.gather(*(loader(key) for key in range(20, 55)))
    assert sorted(len(question) for question in elsewhere.questions) == [5, 10, 10, 10]


async def test_an_unknown_key_is_none_and_a_refused_one_raises_to_its_caller_alone() -> None:
    loader = Loader(Elsewhere().load)

    answers = await asyncio.gather(loader(2), loader(500), loader(13), return_exceptions=True)
    assert (answers[0], answers[1]) == (4, None)
    assert isinstance(answers[2], ValueError)


async def test_a_question_that_fails_fails_for_all_and_the_next_is_asked_anew() -> None:
    elsewhere = Elsewhere()
    loader = Loader(elsewhere.load)
    elsewhere.broken = True
    assert all(
        isinstance(answer, ConnectionError)
        for answer in await asyncio.gather(loader(1), loader(2), return_exceptions=True)
    )

    elsewhere.broken = False
    assert await loader(1) == 1


async def test_a_caller_who_hangs_up_disturbs_nobody() -> None:
    loader = Loader(Elsewhere().load)
    leaving = asyncio.create_task(loader(1))
    staying = asyncio.create_task(loader(2))
    await asyncio.sleep(0)
    leaving.cancel()

    assert await staying == 4
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_each_load_is_in_the_name_of_one_who_asks_for_it() -> None:
    name, gate = contextvars.ContextVar[str]("name"), asyncio.Event()
    loads: list[tuple[str, list[int]]] = []

    async def load(keys: Sequence[int]) -> dict[int, int]:
        loads.append((name.get(), list(keys)))
        name.set("whoever loaded before")
        await gate.wait()
        return {key: key for key in keys}

    loader = Loader(load, parallel=1)

    async def ask(who: str, key: int) -> int | None:
        name.set(who)
        return await loader(key)

    async with asyncio.timeout(20):
        async with asyncio.TaskGroup() as group:
            group.create_task(ask("first", 1))
            await eventually(lambda: loads)
            group.create_task(ask("second", 2))
            await asyncio.sleep(0)
            gate.set()
        await ask("third", 3)

    assert loads == [("first", [1]), ("second", [2]), ("third", [3])]
