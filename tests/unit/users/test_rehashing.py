"""A hash of yesterday is renewed by the next right login, and never stands in the way of it."""

from dataclasses import dataclass, field
from uuid import UUID

import pytest

from carillon.kit.errors import Unavailable
from carillon.kit.ids import uuid7
from carillon.users.actions.rehashing import rehash
from carillon.users.domain.tokens import Account
from tests.unit.users.fakes import FakePasswords


@dataclass
class Kept:
    hashes: dict[UUID, str] = field(default_factory=dict)

    async def renew_hash(self, user_id: UUID, *, kept: str, renewed: str) -> bool:
        if self.hashes[user_id] != kept:
            return False
        self.hashes[user_id] = renewed
        return True


class Crowded(FakePasswords):
    async def hashed(self, password: str) -> str:
        raise Unavailable("too many")


def account(kept: str | None) -> Account:
    return Account(uuid7(), "active", kept, 1, ())


@pytest.mark.parametrize(
    ("kept", "meanwhile", "afterwards"),
    [
        ("old kind of secret", "old kind of secret", "hash of secret"),
        ("old kind of secret", "hash of another", "hash of another"),
        ("hash of secret", "hash of secret", "hash of secret"),
    ],
    ids=["renewed", "changed meanwhile", "of today"],
)
async def test_only_the_hash_that_was_compared_is_renewed(kept: str, meanwhile: str, afterwards: str) -> None:
    ada = account(kept)
    keeper = Kept({ada.user_id: meanwhile})

    await rehash(ada, "secret", accounts=keeper, passwords=FakePasswords())

    assert keeper.hashes[ada.user_id] == afterwards


async def test_in_a_crowd_it_is_left_to_the_next_time() -> None:
    ada = account("old kind of secret")
    keeper = Kept({ada.user_id: "old kind of secret"})

    await rehash(ada, "secret", accounts=keeper, passwords=Crowded())

    assert keeper.hashes[ada.user_id] == "old kind of secret"
