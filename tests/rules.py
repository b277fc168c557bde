"""House rules that no linter knows: sizes, module docstrings, and nothing that may not be committed."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE_STOP = {"src": 400, "tests": 500, "benchmarks": 400, "website": 250}
FUNCTION_STOP = 50
LOCKS_WITH_ADDRESSES = re.compile(r"(^|/)(uv\.lock|pylock\.toml|package-lock\.json|yarn\.lock|pnpm-lock\.yaml)$")
ADDRESS_IN_REQUIREMENTS = re.compile(r"https?://|^--(extra-)?index-url|^--find-links", re.MULTILINE)


def main() -> int:
    """Print every broken rule; the exit code is 1 when there is one."""
    tracked = [
        Path(name) for name in _git("ls-files", "--cached", "--others", "--exclude-standard") if (ROOT / name).exists()
    ]
    broken = [*_of_names(tracked), *_of_requirements(tracked)]
    for path in tracked:
        if path.suffix == ".py" and path.parts[0] in FILE_STOP:
            broken += _of_source(path)
    print("\n".join(broken) if broken else f"house rules hold in {len(tracked)} files")
    return 1 if broken else 0


def _git(*arguments: str) -> list[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()


def _of_names(tracked: list[Path]) -> Iterator[str]:
    for path in tracked:
        if LOCKS_WITH_ADDRESSES.search(str(path)):
            yield f"{path}: records download addresses; lock with requirements/*.txt"


def _of_requirements(tracked: list[Path]) -> Iterator[str]:
    for path in tracked:
        if path.parts[0] == "requirements" and ADDRESS_IN_REQUIREMENTS.search((ROOT / path).read_text()):
            yield f"{path}: names an address"


def _of_source(path: Path) -> Iterator[str]:
    text = (ROOT / path).read_text()
    lines = text.count("\n")
    tree = ast.parse(text)
    if text.strip() and ast.get_docstring(tree) is None:
        yield f"{path}: no module docstring"
    if lines > FILE_STOP[path.parts[0]]:
        yield f"{path}: {lines} lines (stop at {FILE_STOP[path.parts[0]]})"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_STOP:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines (stop at {FUNCTION_STOP})"


if __name__ == "__main__":
    sys.exit(main())
