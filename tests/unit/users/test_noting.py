"""When tokens were used: nothing is lost while the database is away, and the newest use counts."""

from collections.abc import Mapping
from uuid import UUID

from carillon.kit.errors import Unavailable
from carillon.kit.ids import uuid7
from carillon.users.actions.noting import TokensUsed


class Keeper:
    def __init__(self) -> None:
        self.away = False
        self.noted: list[dict[UUID, float]] = []

    async def note_used(self, used: Mapping[UUID, float]) -> None:
        if self.away:
            raise Unavailable("away")
        self.noted.append(dict(used))


async def test_uses_are_written_together_and_once() -> None:
    now, one, two, keeper = 1.0, uuid7(), uuid7(), Keeper()
    used = TokensUsed(clock=lambda: now)
    used(one)
    now = 2.0
    used(one)
    used(two)

    await used.flush(keeper)
    await used.flush(keeper)

    assert keeper.noted == [{one: 2.0, two: 2.0}]


async def test_what_cannot_be_written_is_kept_and_a_newer_use_wins() -> None:
    now, one, two, keeper = 1.0, uuid7(), uuid7(), Keeper()
    used = TokensUsed(clock=lambda: now)
    used(one)
    used(two)
    keeper.away = True
    await used.flush(keeper)
    now = 5.0
    used(one)
    keeper.away = False

    await used.flush(keeper)

    assert keeper.noted == [{one: 5.0, two: 1.0}]
