"""What the documents say, taken apart: prose, code in backticks, fenced blocks, links, headings."""

import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(?P<language>[\w-]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)
_NOT_IN_ANCHORS = re.compile(r"[^\w\- ]")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block and the number of its first line."""

    language: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Document:
    """One Markdown file; `name` is its path from the root of the repository."""

    name: str
    text: str

    @property
    def folder(self) -> Path:
        return (ROOT / self.name).parent

    def blocks(self, *languages: str) -> list[Block]:
        return [
            Block(match["language"], match["text"], self.text.count("\n", 0, match.start()) + 2)
            for match in _FENCE.finditer(self.text)
            if not languages or match["language"] in languages
        ]

    def inline_code(self) -> list[str]:
        """Everything between single backticks, the fenced blocks left out."""
        return _INLINE.findall(_FENCE.sub("", self.text))

    def relative_links(self) -> list[str]:
        found = _LINK.findall(_FENCE.sub("", self.text))
        return [link for link in found if not re.match(r"[a-z][a-z0-9+.-]*:", link)]

    def anchors(self) -> set[str]:
        """The headings as a forge turns them into anchors: lower case, blanks become hyphens, marks are dropped."""
        headings = _HEADING.findall(_FENCE.sub("", self.text))
        return {_NOT_IN_ANCHORS.sub("", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def documents() -> tuple[Document, ...]:
    """Every Markdown file of the repository, in the order of their names."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    names = [name for name in sorted(listed.stdout.splitlines()) if (ROOT / name).exists()]
    return tuple(Document(name, (ROOT / name).read_text()) for name in names)


def document(name: str) -> Document:
    return next(found for found in documents() if found.name == name)
