"""Which pages the site has, and in what order they are listed."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_TITLE = re.compile(r"^# +(.+?)\s*$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s#:]+)\)")
# The parts of the list: its name, and the pages in it by how their paths begin. The first that fits has a page.
_PARTS = (
    ("Start", ("README.md",)),
    ("How to", ("docs/howto/",)),
    ("How it works", ("docs/architecture.md", "docs/scaling.md")),
    ("Reference", ("docs/reference/",)),
    ("Run it", ("deploy/",)),
    ("Decisions", ("docs/decisions/",)),
    ("Services", ("src/",)),
    ("Measured", ("benchmarks/",)),
    ("Project", ("",)),
)


@dataclass(frozen=True, slots=True)
class Page:
    """One Markdown file; `name` is its path from the root of the repository."""

    name: str
    text: str

    @property
    def title(self) -> str:
        found = _TITLE.search(self.text)
        assert found is not None, f"{self.name} has no title"
        return found[1].replace("`", "")


def pages() -> list[Page]:
    """Every Markdown file that is not ignored, by name."""
    return [Page(name, (ROOT / name).read_text()) for name in _files("*.md")]


def linked_files(found: list[Page]) -> set[str]:
    """Pictures, and files of the repository that pages link to; what a link outside them means is the builder's."""
    targets = {((ROOT / page.name).parent / link).resolve() for page in found for link in _LINK.findall(page.text)}
    return {str(path.relative_to(ROOT)) for path in targets if path.is_file() and path.suffix != ".md"}


def menu(found: list[Page]) -> list[dict[str, list[dict[str, str]]]]:
    """Every page once, under its part; a part's README comes first, and gives what it stands for its name."""
    left, made = list(found), []
    for part, beginnings in _PARTS:
        of_part = [page for page in left if page.name.startswith(beginnings)]
        left = [page for page in left if page not in of_part]
        of_part.sort(key=lambda page: (not page.name.endswith("README.md"), page.name))
        if of_part:
            made.append({part: [{page.title: page.name} for page in of_part]})
    return made


def _files(pattern: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return [name for name in sorted(listed.stdout.splitlines()) if (ROOT / name).exists()]
