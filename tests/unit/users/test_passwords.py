"""Password hashes: in threads of their own, and shed when too many wait."""

import asyncio

from carillon.kit.errors import Unavailable
from carillon.users.providers.passwords import Argon2Passwords, open_passwords
from tests.support.waiting import eventually


async def test_a_password_matches_its_own_hash_alone() -> None:
    async with open_passwords(threads=1, waiting=10) as passwords:
        kept = await passwords.hashed("correct horse")

        assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert await passwords.matches(kept, "correct horse") is True
        assert await passwords.matches(kept, "wrong horse") is False
        assert await passwords.matches(None, "the password of nobody") is False
        assert await passwords.matches("no hash at all", "correct horse") is False
        assert await passwords.hashed("correct horse") != kept


class Counting(Argon2Passwords):
    """Notes every comparison with the hash it was made with."""

    def __init__(self) -> None:
        super().__init__(threads=1, waiting=10)
        self.compared: list[str] = []

    def _verified(self, kept: str, password: str) -> bool:
        self.compared.append(kept)
        return super()._verified(kept, password)


async def test_where_there_is_no_hash_the_same_work_is_done() -> None:
    passwords = Counting()
    try:
        kept = await passwords.hashed("correct horse")
        for there in (kept, None):
            assert await passwords.matches(there, "wrong horse") is False
    finally:
        passwords.close()
    known, nobodys = passwords.compared
    assert known == kept
    assert nobodys.rpartition("$")[0].rpartition("$")[0] == kept.rpartition("$")[0].rpartition("$")[0]  # its costs


async def test_more_than_may_wait_are_sent_away_at_once_and_later_ones_are_served() -> None:
    async with open_passwords(threads=1, waiting=3) as passwords:
        answers = await asyncio.gather(*(passwords.hashed("x" * 20) for _ in range(8)), return_exceptions=True)

        shed = [answer for answer in answers if isinstance(answer, Unavailable)]
        assert (len(shed), len(answers) - len(shed)) == (5, 3)
        assert shed[0].headers["Retry-After"]
        assert (await eventually(lambda: passwords.hashed("again"), within=5)).startswith("$argon2id$")


async def test_who_hangs_up_frees_their_place() -> None:
    async with open_passwords(threads=1, waiting=2) as passwords:
        for _ in range(5):
            waiting = [asyncio.create_task(passwords.hashed("x")) for _ in range(2)]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

            async def served() -> bool:
                try:
                    return bool(await passwords.hashed("y"))
                except Unavailable:
                    return False

            assert await eventually(served, within=5)
