"""Every shell block of every document does what it says on a running Carillon, or is excused by name."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.documents.reading import Block, Document, documents
from tests.documents.shell import SHELLS, Checkout
from tests.support.servers import PostgresServer, RabbitServer

_RUN_APART = "docs/howto/run-apart.md"
# Blocks that are not run here: document and how they begin; why, and what holds them instead.
ELSEWHERE = {
    (
        "docs/howto/other-languages.md",
        "npm",
    ): "needs Node.js and the program of the page; `test_other_languages.py` runs both",
    ("README.md", "make test"): "the tests themselves, for hours; `test_commands.py` holds that the targets exist",
    (
        "docs/howto/retention.md",
        "pg_dump",
    ): "asks for a month that is long past; the partition's name is held by the tests of `retire`",
    (
        "docs/howto/backup.md",
        "tar",
    ): "of a Carillon that rests; `test_backup.py` runs both blocks between two lives of one",
}
# Programs that are not at hand where tests run, and what holds their files instead.
ABSENT = {
    "docker": "`test_deploy.py` holds the Dockerfile and `compose.yaml` against the settings and commands",
    "helm": "`test_chart.py` renders the chart by Helm's library and holds it against the schemas",
}
_DATABASES = ("users", "templates", "gateway", "email_worker", "push_worker")
_UP = Block("sh", "carillon up\n", 0)


def _read() -> list[Document]:
    return [it for it in documents() if _to_run(it)]


def _to_run(document: Document) -> list[Block]:
    return [block for block in document.blocks(*SHELLS) if _excuse(document, block) is None]


def _excuse(document: Document, block: Block) -> tuple[str, str] | str | None:
    """The key of what excuses a block, in one of the two tables."""
    program = block.text.split(maxsplit=1)[0]
    fitting = (key for key in ELSEWHERE if key[0] == document.name and block.text.startswith(key[1]))
    return program if program in ABSENT else next(fitting, None)


def _first_line(block: Block) -> str:
    return block.text.partition("\n")[0]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("document", _read(), ids=lambda document: document.name)
def test_the_commands_of_a_document_do_what_they_say(
    document: Document, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    blocks = _to_run(document)
    replaced: Mapping[str, str] = {}
    if document.name == _RUN_APART:
        replaced = _servers(request.getfixturevalue("postgres_server"), request.getfixturevalue("rabbitmq_server"))
    elif not any(" up" in _first_line(block) for block in blocks):
        blocks = [_UP, *blocks]

    Checkout(tmp_path).run(blocks, replaced, within=300)


def test_what_is_excused_from_running_is_there_and_has_a_reason() -> None:
    used = {_excuse(document, block) for document in documents() for block in document.blocks(*SHELLS)}

    assert {*ELSEWHERE, *ABSENT} - used == set(), "no longer needed"
    assert all([*ELSEWHERE.values(), *ABSENT.values()])


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_command_that_fails_or_is_refused_fails_its_document(tmp_path: Path) -> None:
    refused = Block("sh", "curl -s http://127.0.0.1:8000/api/v1/stats\n", 7)

    with pytest.raises(AssertionError, match="unauthenticated"):
        Checkout(tmp_path).run([_UP, refused], {}, within=300)


def test_blocks_of_commands_say_that_they_are() -> None:
    """A block without a language is read by nobody's shell, and by no test."""
    named = {
        f"{document.name}:{block.line}"
        for document in documents()
        for block in document.blocks()
        if not block.language and document.name.startswith(("README.md", "docs/howto/"))
    }

    assert named == set()


def _servers(postgres: PostgresServer, rabbitmq: RabbitServer) -> Mapping[str, str]:
    """Real servers in the place of those that the document names."""
    at = "postgresql://carillon:secret@127.0.0.1:5432/"
    databases = {f"{at}{name}\n": asyncio.run(postgres.create_database()) + "\n" for name in _DATABASES}
    return {"amqp://carillon:secret@127.0.0.1:5672/": rabbitmq.virtual_host(), **databases}
