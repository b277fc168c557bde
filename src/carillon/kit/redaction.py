"""Takes addresses and secrets out of words that others wrote, so that the words can be kept and shown; pure."""

import re

ELIDED = "…"

_SIGNS = ("@", "＠", "﹫", "%40", "&#64", "&#x40")  # noqa: RUF001 - how an at sign is written
_QUOTED_LOCAL = re.compile(r'"[^"]{1,128}"(?=[@＠﹫])')  # noqa: RUF001
_WORD = re.compile(r'[^\s<>()\[\],;:"]+')
_OPAQUE = re.compile(r"[A-Za-z0-9_:%+=-]{40,}")


def without_addresses(words: str) -> str:
    """`550 5.1.1 <a@b.c> unknown` becomes `550 5.1.1 <…> unknown`; whatever is joined to the address goes with it."""
    if not any(sign in words.lower() for sign in _SIGNS):
        return words
    return _WORD.sub(_elided, _QUOTED_LOCAL.sub("", words))


def without(words: str, *known: str) -> str:
    """Elide what is known to be personal wherever it stands as a word of its own, in any case of letters."""
    lowered = words.lower()
    present = [value for value in known if value and value.lower() in lowered]  # most words hold none, and cost little
    for value in sorted(present, key=len, reverse=True):
        words = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", ELIDED, words, flags=re.IGNORECASE)
    return words


def without_opaque(words: str) -> str:
    """Elide runs of 40 and more characters that no language has: tokens and keys. Identifiers as UUIDs are shorter."""
    return _OPAQUE.sub(ELIDED, words)


def _elided(word: re.Match[str]) -> str:
    lowered = word[0].lower()
    return ELIDED if any(sign in lowered for sign in _SIGNS) else word[0]
