"""Every file, function and test that a document names is there, and every link between documents leads somewhere."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.documents.reading import ROOT, Document, document, documents

_PATH = re.compile(r"(?P<path>[\w.\-]+(?:/[\w.\-]+)*/?)(?:::(?P<name>[\w.]+))?")
_FILE = re.compile(r".+\.(py|md|ya?ml|toml|txt|sql|in|csv)$")
_GIVEN_BY = re.compile(r"`(src/carillon|deploy)/[^`]+`")
_TEST = r"`tests/[^`]+\.py::test_\w+`"
_FAILS = re.compile(f"{_TEST}(, {_TEST})*")
_ROOMS = (Path(), Path("src/carillon"), Path("src"))
_MADE_AT_RUN_TIME = {"credentials.json", "signing_key.pem"}

each_document = pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)


@each_document
def test_every_path_in_backticks_exists(document: Document) -> None:
    named = [found for code in document.inline_code() if (found := _PATH.fullmatch(code)) and _is_path(found)]

    missing = [found[0] for found in named if _resolve(document, found["path"]) is None]

    assert missing == []


@each_document
def test_every_function_class_and_test_named_with_its_file_is_defined_there(document: Document) -> None:
    named = [found for code in document.inline_code() if (found := _PATH.fullmatch(code)) and found["name"]]

    missing = [found[0] for found in named if not _defines(_resolve(document, found["path"]), found["name"])]

    assert missing == []


@each_document
def test_every_relative_link_leads_to_a_file_and_to_a_heading_in_it(document: Document) -> None:
    dead = [link for link in document.relative_links() if not _leads_somewhere(document, link)]

    assert dead == []


def test_the_documents_that_the_guarantees_rest_on_name_paths_at_all() -> None:
    per_document = {
        found.name: sum(1 for code in found.inline_code() if "/" in code and (ROOT / code.partition("::")[0]).exists())
        for found in documents()
    }

    assert per_document["docs/architecture.md"] > 10
    assert per_document["docs/reference/guarantees.md"] > 10
    assert per_document["CONTRIBUTING.md"] > 10
    assert all(count for name, count in per_document.items() if re.match(r"docs/decisions/\d", name))


def test_every_guarantee_names_the_code_that_gives_it_and_a_test() -> None:
    text = document("docs/reference/guarantees.md").text
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    promises = [row for row in rows if row[0] not in {"guarantee", "---"}]

    incomplete = [row[0] for row in promises if not (_GIVEN_BY.fullmatch(row[1]) and _FAILS.fullmatch(row[2]))]

    assert len(promises) > 20
    assert incomplete == []


def _is_path(found: re.Match[str]) -> bool:
    """Whether code in backticks means a file or folder of ours: a known first folder, or a file name in a folder."""
    path = found["path"]
    if Path(path).name in _MADE_AT_RUN_TIME:
        return False
    first = path.split("/")[0]
    if "/" in path and (ROOT / first).exists() and first not in {".venv", ".carillon"}:
        return True
    return bool(_FILE.fullmatch(path)) and "/" in path


def _resolve(document: Document, path: str) -> Path | None:
    """Look from the root, from the package, and from the document's own folder."""
    places = [ROOT / room / path for room in _ROOMS] + [document.folder / path]
    return next((place for place in places if place.exists()), None)


def _defines(file: Path | None, name: str) -> bool:
    return file is not None and set(name.split(".")) <= _definitions(file)


@cache
def _definitions(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    functions = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    values = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return functions | values


def _leads_somewhere(document: Document, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (document.folder / path).resolve() if path else ROOT / document.name
    if not target.exists():
        return False
    if not anchor:
        return True
    return anchor in Document(str(target.relative_to(ROOT)), target.read_text()).anchors()
