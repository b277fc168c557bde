"""Which statements of a revision the release before could not live with, or would have to wait for."""

import re
from collections.abc import Iterable, Iterator

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_TEXT = re.compile(r"\$(\w*)\$.*?\$\1\$|'(?:[^']|'')*'", re.DOTALL)
_MADE = re.compile(r"^CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?([\w.\"]+)", re.IGNORECASE)
_TOUCHED = re.compile(
    r"^(?:ALTER TABLE (?:IF EXISTS )?(?:ONLY )?|CREATE (?:UNIQUE )?INDEX .*? ON (?:ONLY )?)([\w.\"]+)", re.IGNORECASE
)
_NEVER = {
    r"^DROP (?!INDEX)": "the release before may still read it",
    r"^DROP INDEX (?!CONCURRENTLY)": "writers wait for it: drop it concurrently",
    r"^TRUNCATE\b": "everybody waits for it, and what it held is gone",
    r"^LOCK\b": "everybody waits for it",
}
_CLAUSE = r"(?:(?!\bADD\b|\b{}\b).)*"
_OF_A_TABLE_IN_USE = {
    r"\bRENAME\b": "the release before knows only the old name",
    r"\bDROP (?:COLUMN|CONSTRAINT|EXPRESSION)\b|\bDROP (?!COLUMN|CONSTRAINT|NOT|DEFAULT|EXPRESSION|INDEX)\w+": (
        "the release before may still read it, or name it in ON CONFLICT"
    ),
    r"\bDROP NOT NULL\b": "the release before meets a NULL that it does not know",
    r"\bALTER (?:COLUMN )?\S+ (?:SET DATA )?TYPE\b": "the table is written anew, everybody waits",
    r"\bSET NOT NULL\b": "the release before may still leave it out",
    rf"\bADD (?!CONSTRAINT){_CLAUSE.format('DEFAULT')}\bNOT NULL\b(?!{_CLAUSE.format('ADD')}\bDEFAULT\b)": (
        "the release before does not fill it in"
    ),
    r"\bDEFAULT (?:gen_random_uuid|clock_timestamp|random|nextval)\b": "the table is written anew, everybody waits",
    r"\bGENERATED ALWAYS AS \(": "the table is written anew, everybody waits",
    r"\bADD (?:CONSTRAINT \S+ )?(?:UNIQUE|PRIMARY KEY|EXCLUDE)\b(?!.*\bUSING INDEX\b)": (
        "its index is built while everybody waits: build it concurrently, then attach it"
    ),
    r"\bADD (?:CONSTRAINT \S+ )?(?:CHECK|FOREIGN KEY)\b(?!.*\bNOT VALID\b)": "add it NOT VALID, validate it later",
    r"^CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)(?!.* ON ONLY )": "writers wait for it: use `build_indexes`",
}


def plain(statement: str) -> str:
    """One line without comments, texts and the bodies of functions."""
    return " ".join(_COMMENT.sub(" ", _TEXT.sub("''", statement)).split())


def breaks_a_roll(statements: Iterable[str]) -> Iterator[str]:
    """For each statement of one revision that is not a pure expansion: the statement, and why."""
    made: set[str] = set()
    unbounded = False
    for statement in map(plain, statements):
        if (found := _MADE.match(statement)) is not None:
            made.add(found[1])
        yield from (f"{statement}: {why}" for why in _reasons(statement, made))
        if unbounded and " CONCURRENTLY " not in statement and not statement.upper().startswith("RESET LOCK_TIMEOUT"):
            yield f"{statement}: waits for a lock without end, and everybody behind it"
        if "lock_timeout" in statement.lower():
            unbounded = statement.upper().startswith("SET ")


def _reasons(statement: str, made: set[str]) -> Iterator[str]:
    touched = _TOUCHED.match(statement)
    rules = dict(_NEVER)
    if touched is not None and touched[1] not in made:
        rules |= _OF_A_TABLE_IN_USE
    for pattern, why in rules.items():
        if re.search(pattern, statement, re.IGNORECASE):
            yield why
