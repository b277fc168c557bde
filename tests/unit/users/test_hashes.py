"""Hashes of every known kind: read, bounded before anything is computed, and compared."""

import base64
import hashlib

import bcrypt
import pytest
from argon2 import PasswordHasher, Type

from carillon.users.domain.hashes import HashRefused, read_hash
from carillon.users.providers.passwords import open_passwords

SALT = b"a salt of 16 byt"


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")


def argon2(kind: Type = Type.ID) -> str:
    return PasswordHasher(time_cost=1, memory_cost=64, parallelism=1, type=kind).hash("correct horse")


def pbkdf2(name: str = "sha256", rounds: int = 1000) -> str:
    return b64(hashlib.pbkdf2_hmac(name, b"correct horse", SALT, rounds))


def scrypt() -> str:
    return b64(hashlib.scrypt(b"correct horse", salt=SALT, n=1024, r=8, p=2, dklen=32))


GOOD = {
    "argon2id": argon2(),
    "argon2i": argon2(Type.I),
    "argon2d": argon2(Type.D),
    "bcrypt 2b": bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode(),
    "bcrypt 2y": bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$"),
    "bcrypt 2a": bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode().replace("$2b$", "$2a$"),
    "PBKDF2 of passlib": f"$pbkdf2-sha256$1000${b64(SALT).replace('+', '.')}${pbkdf2().replace('+', '.')}",
    "PBKDF2 in PHC form": f"$pbkdf2-sha512$i=1000,l=64${b64(SALT)}${pbkdf2('sha512')}",
    "PBKDF2 of Django": f"pbkdf2_sha256$1000${SALT.decode().replace(' ', '_')}$"
    + base64.b64encode(hashlib.pbkdf2_hmac("sha256", b"correct horse", b"a_salt_of_16_byt", 1000)).decode(),
    "scrypt": f"$scrypt$ln=10,r=8,p=2${b64(SALT)}${scrypt()}",
}


@pytest.mark.parametrize("kept", GOOD.values(), ids=GOOD)
async def test_a_hash_of_each_kind_fits_its_password_alone_and_is_out_of_date(kept: str) -> None:
    async with open_passwords(threads=1, waiting=5) as passwords:
        assert await passwords.matches(kept, "correct horse") is True
        assert await passwords.matches(kept, "correct horsf") is False
        assert await passwords.matches(kept, "correct horse\x00") is False
        assert passwords.outdated(kept) is True
        assert passwords.outdated(await passwords.hashed("correct horse")) is False


async def test_hashes_that_others_published_fit() -> None:
    of_rfc_7914 = bytes.fromhex(
        "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
        "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
    )
    async with open_passwords(threads=1, waiting=5) as passwords:
        published = f"$scrypt$ln=14,r=8,p=1${b64(b'SodiumChloride')}${b64(of_rfc_7914)}"
        assert await passwords.matches(published, "pleaseletmein") is True
        assert await passwords.matches("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U") is True


REFUSED = {
    "4 GiB of argon2": "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43,
    "a thousand passes": "$argon2id$v=19$m=64,t=1000,p=1$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43,
    "a thousand lanes": "$argon2id$v=19$m=65536,t=1,p=1000$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43,
    "no lane": "$argon2id$v=19$m=64,t=1,p=0$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43,
    "bcrypt of a day": "$2b$31$" + "A" * 53,
    "bcrypt of cost 0": "$2b$00$" + "A" * 53,
    "PBKDF2 of an hour": f"$pbkdf2-sha256$999999999${b64(SALT)}${'A' * 43}",
    "PBKDF2 of Django of an hour": f"pbkdf2_sha256$999999999$salt_salt${'A' * 43}=",
    "4 GiB of scrypt": f"$scrypt$ln=20,r=32,p=1${b64(SALT)}${'A' * 43}",
    "scrypt of too many lanes": f"$scrypt$ln=18,r=8,p=16${b64(SALT)}${'A' * 43}",
    "scrypt beyond any machine": f"$scrypt$ln=99,r=8,p=1${b64(SALT)}${'A' * 43}",
    "an empty digest": f"$scrypt$ln=10,r=8,p=1${b64(SALT)}$AAAA",
    "no salt": f"$pbkdf2-sha256$1000$AAAA${'A' * 43}",
    "no base64": f"$pbkdf2-sha256$1000${b64(SALT)}${'A' * 45}",
    "MD5": "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
    "SHA-256 without a salt": hashlib.sha256(b"correct horse").hexdigest(),
    "the password itself": "correct horse",
    "nothing": "",
    "a megabyte": "$2b$04$" + "A" * 1_000_000,
    "a line too many": GOOD["bcrypt 2b"] + "\n",
    "digits of another script": "$2b$\u0661\u0660$" + "A" * 53,
}


@pytest.mark.parametrize("kept", REFUSED.values(), ids=REFUSED)
async def test_what_is_no_hash_or_costs_too_much_is_refused_unread_and_fits_nothing(kept: str) -> None:
    with pytest.raises(HashRefused) as refusal:
        read_hash(kept)

    assert len(str(refusal.value)) < 100
    async with open_passwords(threads=1, waiting=5) as passwords:
        assert await passwords.matches(kept, "correct horse") is False


async def test_bcrypt_takes_nothing_beyond_the_bytes_that_it_looks_at() -> None:
    shared = "x" * 72
    kept = bcrypt.hashpw(shared.encode(), bcrypt.gensalt(4)).decode()
    async with open_passwords(threads=1, waiting=5) as passwords:
        assert await passwords.matches(kept, shared) is True
        assert await passwords.matches(kept, shared + "y") is False
        assert await passwords.matches(await passwords.hashed(shared + "y"), shared + "z") is False


async def test_every_spelling_of_a_password_fits_and_so_does_a_hash_made_of_one_as_it_was_given() -> None:
    composed, decomposed, wide = "caf\u00e9 au lait", "cafe\u0301 au lait", "\uff43af\u00e9 au lait"
    async with open_passwords(threads=1, waiting=5) as passwords:
        kept = await passwords.hashed(wide)
        assert [await passwords.matches(kept, one) for one in (composed, decomposed, wide)] == [True] * 3
        of_before = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(decomposed)
        assert [await passwords.matches(of_before, one) for one in (composed, decomposed)] == [False, True]
