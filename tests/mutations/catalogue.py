"""The mutations: what would be removed from the code, and the test that has to notice."""

import ast
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Edit:
    """`old` stands exactly once in the file; `file` is a path from the root."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """`removes` says in words which guarantee is gone; `test` is `file::function`: one failing case is enough."""

    name: str
    removes: str
    edits: tuple[Edit, ...]
    test: str

    @property
    def file(self) -> str:
        return self.edits[0].file


@cache
def mutations() -> tuple[Mutation, ...]:
    """All there are, in the order of the files that list them."""
    return tuple(
        _mutation(entry)
        for path in sorted(FOLDER.glob("*.toml"))
        for entry in tomllib.loads(path.read_text())["mutation"]
    )


def _mutation(entry: dict[str, str]) -> Mutation:
    edits = [Edit(f"src/carillon/{entry['file']}", _cut(entry["old"]), _cut(entry["new"]))]
    return Mutation(entry["name"], entry["removes"], tuple(edits), f"tests/{entry['test']}")


def _cut(text: str) -> str:
    """Without the end of the last line, which TOML's long strings have."""
    return text.removesuffix("\n")


def stale(mutation: Mutation, root: Path = ROOT) -> list[str]:
    """What is not in the code any more: a sentence for each."""
    told = []
    for edit in mutation.edits:
        path = root / edit.file
        times = path.read_text().count(edit.old) if path.exists() else 0
        if times != 1:
            told.append(f"{mutation.name}: {edit.old!r} stands {times} times in {edit.file}, not once")
    file, _, function = mutation.test.partition("::")
    if function not in _tests_of(root / file):
        told.append(f"{mutation.name}: {file} has no {function}")
    return told


def mutated(mutation: Mutation, root: Path) -> dict[Path, str]:
    """The files that it changes and their new texts. Raises SyntaxError where one would not even be read."""
    texts: dict[Path, str] = {}
    for edit in mutation.edits:
        path = root / edit.file
        texts[path] = (texts.get(path) or path.read_text()).replace(edit.old, edit.new)
        ast.parse(texts[path])
    return texts


@cache
def _tests_of(path: Path) -> frozenset[str]:
    if not path.exists():
        return frozenset()
    tree = ast.parse(path.read_text())
    return frozenset(n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
