"""Look-ups: shared, remembered, never older than a change, and never an invented consent."""

import asyncio
from typing import Any

import msgspec
import pytest

from carillon.contracts.preferences import Choices
from carillon.kit.auth import Caller
from carillon.kit.errors import Unauthenticated, Unavailable
from carillon.kit.ids import uuid7
from carillon.kit.remembered_tokens import RememberedTokens
from carillon.users.actions.looking_up import LookUps
from carillon.users.domain.preferences import Person
from carillon.users.errors import UnknownUser
from carillon.users.loops import Changes
from tests.unit.users.fakes import FakePeople


def person(**fields: Any) -> Person:
    known: dict[str, Any] = {
        "user_id": uuid7(), "name": "Ada", "email": "ada@example.com", "locale": None, "status": "active", "version": 1,
        "choices": Choices(), "suppressed": False, "devices": [],
    }  # fmt: skip
    return Person(**{**known, **fields})


def house(*people: Person, fresh: float = 60, stale: float = 60) -> tuple[LookUps, FakePeople]:
    reader = FakePeople(known={someone.user_id: someone for someone in people})
    return LookUps(reader, reader, fresh_seconds=fresh, stale_seconds=stale), reader


async def test_many_who_ask_at_once_share_few_queries() -> None:
    people = [person() for _ in range(200)]
    look_ups, reader = house(*people)

    await asyncio.gather(*(look_ups.preferences(someone.user_id) for someone in people for _ in range(3)))

    assert sum(len(query) for query in reader.queries) == 200
    assert len(reader.queries) <= 5


async def test_what_was_read_is_remembered_until_the_user_changes() -> None:
    ada = person()
    look_ups, reader = house(ada)
    assert (await look_ups.preferences(ada.user_id)).value.email is True
    reader.known[ada.user_id] = msgspec.structs.replace(ada, choices=Choices(email=False), version=2)

    assert (await look_ups.preferences(ada.user_id)).source == "cached"
    look_ups.changed(ada.user_id)

    found = await look_ups.preferences(ada.user_id)
    assert (found.source, found.value.email, found.value.version) == ("fresh", False, 2)
    assert (await look_ups.contact(ada.user_id, "email", None)).decision.layer == "channel_opt_out"


async def test_a_read_that_was_under_way_when_the_user_changed_is_not_kept() -> None:
    ada = person()
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Slow(FakePeople):
        async def people(self, user_ids: Any) -> list[Person]:
            found = await super().people(user_ids)
            begun.set()
            await go_on.wait()
            return found

    reader = Slow(known={ada.user_id: ada})
    look_ups = LookUps(reader, reader, fresh_seconds=60, stale_seconds=60)
    asking = asyncio.create_task(look_ups.preferences(ada.user_id))
    await asyncio.wait_for(begun.wait(), 5)

    reader.known[ada.user_id] = msgspec.structs.replace(ada, choices=Choices(email=False), version=2)
    look_ups.changed(ada.user_id)
    go_on.set()

    assert (await asyncio.wait_for(asking, 5)).value.email is False
    assert (await look_ups.preferences(ada.user_id)).value.email is False


async def test_nobody_is_unknown_for_longer_than_one_question() -> None:
    ada = person()
    look_ups, reader = house()
    with pytest.raises(UnknownUser):
        await look_ups.preferences(ada.user_id)

    reader.known[ada.user_id] = ada

    assert (await look_ups.preferences(ada.user_id)).value.version == 1


async def test_while_the_database_is_away_preferences_are_marked_stale_and_contacts_are_not_given() -> None:
    ada = person()
    look_ups, reader = house(ada, fresh=0, stale=3600)
    await look_ups.preferences(ada.user_id)
    reader.away = True

    assert (await look_ups.preferences(ada.user_id)).source == "stale"
    with pytest.raises(Unavailable):
        await look_ups.contact(ada.user_id, "email", None)
    with pytest.raises(Unavailable):
        await look_ups.contacts([ada.user_id], "email", None)
    with pytest.raises(Unavailable):
        await look_ups.preferences(uuid7())


async def test_a_batch_is_one_query_and_names_who_is_missing() -> None:
    people = [person() for _ in range(500)]
    look_ups, reader = house(*people)
    stranger = uuid7()

    found = await look_ups.contacts([stranger, *(someone.user_id for someone in people)], "email", "news")

    assert len(reader.queries) == 1
    assert [contact.user_id for contact in found.contacts] == [someone.user_id for someone in people]
    assert found.missing == [stranger]


async def test_the_database_is_asked_a_bounded_number_of_questions_at_a_time() -> None:
    running = most = 0

    class Counting(FakePeople):
        async def people(self, user_ids: Any) -> list[Person]:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return await super().people(user_ids)

    people = [person() for _ in range(1_500)]
    reader = Counting(known={each.user_id: each for each in people})
    look_ups = LookUps(reader, reader, fresh_seconds=60, stale_seconds=60, fills=2)

    await asyncio.gather(
        *(look_ups.preferences(each.user_id) for each in people),
        *(look_ups.contacts([each.user_id], "email", None) for each in people[:50]),
    )

    assert most == 2


@pytest.mark.parametrize("steps", range(4))
async def test_a_stop_that_meets_a_change_is_not_lost(steps: int) -> None:
    async def nobody(_token: str) -> Caller:
        raise Unauthenticated

    changes = Changes(house()[0], RememberedTokens(nobody, service="bells", seconds=60))

    async def loop() -> None:
        while True:
            await changes.wait(60)

    looping = asyncio.create_task(loop())
    await asyncio.sleep(0)
    changes(uuid7())
    for _ in range(steps):
        await asyncio.sleep(0)
    looping.cancel()

    done, _ = await asyncio.wait([looping], timeout=2)
    looping.cancel()
    assert done
