"""What a password is, and which are refused: too short, too long, one of the common ones, or the owner's own name."""

import unicodedata
from collections.abc import Callable

from carillon.users.errors import WeakPassword

SHORTEST, LONGEST = 8, 256


def normalised(password: str) -> str:
    """NFKC: the same password typed on another keyboard, or in full-width letters, is the same text."""
    return unicodedata.normalize("NFKC", password)


def comparable(password: str) -> str:
    """How passwords are compared with what everybody knows: in no case."""
    return normalised(normalised(password).casefold())


def check_password(
    password: str, *, email: str, name: str, is_common: Callable[[str], bool], field: str = "password"
) -> None:
    """Raises WeakPassword, which says what to do instead; lengths are counted after normalisation."""
    if (length := len(normalised(password))) < SHORTEST or length > LONGEST:
        raise WeakPassword(field, f"Expected {SHORTEST} to {LONGEST} characters; these are {length}.")
    known = comparable(password)
    if known in _of_owner(email, name):
        raise WeakPassword(field, "This is your own address or name: choose something that others cannot guess.")
    if is_common(known):
        raise WeakPassword(field, "This is one of the most common passwords: choose one that others do not use.")


def _of_owner(email: str, name: str) -> set[str]:
    given = {email, email.rpartition("@")[0], name, name.replace(" ", "")}
    return {comparable(text.strip()) for text in given}
