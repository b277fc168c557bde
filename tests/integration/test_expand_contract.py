"""Every revision from now on only adds: the release before works on beside it, and nobody waits for it."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from carillon.all_in_one import SIMULATORS
from carillon.kit.migrations import migrate
from carillon.services import SERVICES
from tests.support.expanding import breaks_a_roll

SOURCES = Path(__file__).parents[2] / "src/carillon"
FOUNDATION = {
    "gateway": "0009",
    "users": "0007",
    "templates": "0002",
    "email_worker": "0001",
    "push_worker": "0001",
    "simulators": "0001",
}
"""The newest revision of each service before this rule: nobody ran a release without those."""

CONTRACTS: dict[tuple[str, str], str] = {}
"""Steps that take something away, by service and revision, each with the release that stopped using it: they may run
once no process of the release before that one is left (docs/howto/upgrade.md)."""

_STEP = re.compile(r"^(?:INSERT INTO|UPDATE) \S*alembic_version .*?'(\w+)'", re.DOTALL)


@contextlib.contextmanager
def recorded() -> Iterator[list[str]]:
    """What SQLAlchemy sends while this is open, by whichever engine."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def statements(dsn: str, service: str) -> dict[str, list[str]]:
    """Those of each revision, as they reach an empty database."""
    with recorded() as sent:
        await migrate(dsn, service, SOURCES / service / "migrations")
    found: dict[str, list[str]] = {}
    ours: list[str] = []
    for statement in sent:
        if (step := _STEP.match(statement)) is None:
            ours.append(statement)
        else:
            found[step[1]], ours = ours, []
    return found


@pytest.mark.parametrize("service", [*SERVICES, SIMULATORS.schema])
async def test_every_revision_from_now_on_only_adds(database: str, service: str) -> None:
    sent = await statements(database, service)

    assert {path.name[:4] for path in (SOURCES / service / "migrations/versions").glob("*.py")} == sent.keys()
    new = {revision: ours for revision, ours in sent.items() if revision > FOUNDATION[service]}
    broken = {
        revision: found
        for revision, ours in new.items()
        if (service, revision) not in CONTRACTS and (found := [*breaks_a_roll(ours)])
    }
    assert broken == {}, "see docs/howto/upgrade.md: expand first; a step that takes away is listed in CONTRACTS"
    assert {revision for of, revision in CONTRACTS if of == service} <= new.keys()


async def test_what_the_first_revisions_took_away_would_be_refused_now(database: str) -> None:
    sent = await statements(database, "gateway")

    assert [told.rpartition(": ")[2] for told in breaks_a_roll(sent["0008"])] == [
        "the release before meets a NULL that it does not know"
    ]
    assert [*breaks_a_roll(sent["0009"])] == [], "indexes beside the writers are no harm"


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE gateway.outbox",
        "DROP INDEX gateway.outbox_turns",
        "ALTER TABLE gateway.outbox DROP COLUMN body",
        "ALTER TABLE gateway.outbox DROP body",
        "ALTER TABLE gateway.outbox DROP CONSTRAINT outbox_pkey",
        "ALTER TABLE gateway.outbox RENAME COLUMN body TO message",
        "ALTER TABLE gateway.outbox RENAME TO waiting",
        "ALTER TABLE gateway.outbox ALTER COLUMN queue TYPE varchar(20)",
        "ALTER TABLE gateway.outbox ALTER queue SET DATA TYPE varchar(20)",
        "ALTER TABLE gateway.outbox ALTER COLUMN body SET NOT NULL",
        "ALTER TABLE gateway.outbox ALTER COLUMN body DROP NOT NULL",
        "ALTER TABLE gateway.outbox ADD COLUMN colour text NOT NULL",
        "ALTER TABLE gateway.outbox ADD COLUMN price numeric(10, 2) NOT NULL",
        "ALTER TABLE gateway.outbox ADD size integer NOT NULL DEFAULT 0, ADD colour text NOT NULL",
        "ALTER TABLE gateway.outbox ADD COLUMN key uuid NOT NULL DEFAULT gen_random_uuid()",
        "ALTER TABLE gateway.outbox ADD COLUMN n int GENERATED ALWAYS AS (length(queue)) STORED",
        "ALTER TABLE gateway.outbox ADD CONSTRAINT once UNIQUE (queue)",
        "ALTER TABLE gateway.outbox ADD CHECK (queue <> '')",
        "ALTER TABLE gateway.outbox ADD CONSTRAINT some FOREIGN KEY (caller_id) REFERENCES gateway.callers",
        "CREATE INDEX waiting ON gateway.outbox (queue)",
        "create unique index waiting on gateway.outbox (queue)",
        "/* soon */ DROP -- now\n TABLE gateway.outbox",
        "TRUNCATE gateway.outbox",
        "LOCK TABLE gateway.outbox",
    ],
)
def test_a_statement_that_takes_away_or_makes_wait_is_refused(statement: str) -> None:
    assert [*breaks_a_roll([statement])] != []


@pytest.mark.parametrize(
    "given",
    [
        ["ALTER TABLE gateway.outbox ADD COLUMN colour text"],
        ["ALTER TABLE gateway.outbox ADD COLUMN colour text NOT NULL DEFAULT 'red, RENAMED', ADD COLUMN n integer"],
        ["ALTER TABLE gateway.outbox ADD COLUMN at timestamptz NOT NULL DEFAULT now()"],
        ["ALTER TABLE gateway.outbox ADD CONSTRAINT some CHECK (queue <> '') NOT VALID"],
        ["CREATE TABLE gateway.bells (note text NOT NULL)", "CREATE INDEX bells_note ON gateway.bells (note)"],
        ["CREATE TABLE gateway.bells (n int)", "ALTER TABLE gateway.bells ADD UNIQUE (n)"],
        ["SET lock_timeout = 0", "CREATE INDEX CONCURRENTLY waiting ON gateway.outbox (queue)", "RESET lock_timeout"],
        ["CREATE FUNCTION gateway.f() RETURNS int LANGUAGE sql AS $$ DROP TABLE x $$"],
        ["INSERT INTO users.permissions VALUES ('DROP TABLE users')"],
    ],
)
def test_what_only_adds_is_let_through(given: list[str]) -> None:
    assert [*breaks_a_roll(given)] == []


def test_a_revision_that_waits_for_a_lock_without_end_is_refused() -> None:
    sent = ["SET lock_timeout = 0", "ALTER TABLE gateway.outbox ADD COLUMN colour text"]

    assert [told.rpartition(": ")[2] for told in breaks_a_roll(sent)] == [
        "waits for a lock without end, and everybody behind it"
    ]
