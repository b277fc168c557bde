"""The diagrams in the documents are Mermaid that a browser draws, and the five that the project promises are there."""

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Error as BrowserError
from playwright.async_api import Page

from tests.documents.browser import blank_page
from tests.documents.reading import Block, document, documents
from tests.support.node import NPM

pytestmark = pytest.mark.timeout(300)  # it may have to fetch a browser
MERMAID = "mermaid@11.12.0"
_DRAW = """async ([name, text]) => {
    const { svg } = await mermaid.render(name, text);
    const drawn = new DOMParser().parseFromString(svg, "text/html").querySelector("svg");
    return drawn.querySelectorAll("g, text").length;
}"""
_PROMISED = (
    "Service connections",
    "Queue structure",
    "Retry and failure flow",
    "Database relationships",
    "Scaling plan",
)


@pytest.fixture(scope="module")
def mermaid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Mermaid's own build for browsers, out of its package."""
    folder = tmp_path_factory.mktemp("mermaid")
    fetched = subprocess.run(
        [*NPM, "pack", "--silent", "--ignore-scripts", MERMAID],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert fetched.returncode == 0, f"npm pack {MERMAID}: {fetched.stderr}"
    script = folder / "mermaid.min.js"
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        packed = archive.extractfile("package/dist/mermaid.min.js")
        assert packed is not None
        script.write_bytes(packed.read())
    yield script
    shutil.rmtree(folder)


@pytest.mark.slow
async def test_every_diagram_is_drawn_by_mermaid_in_a_browser(mermaid: Path) -> None:
    diagrams = [(found.name, block) for found in documents() for block in found.blocks("mermaid")]

    async with blank_page() as page:
        await _load(page, mermaid)
        broken = {
            f"{name}:{block.line}": error
            for name, block in diagrams
            if (error := await _trouble(page, block)) is not None
        }

    assert len(diagrams) >= len(_PROMISED)
    assert broken == {}


@pytest.mark.slow
async def test_a_diagram_with_a_mistake_is_found_out(mermaid: Path) -> None:
    mistaken = Block("mermaid", "flowchart LR\n  a -->--> b\n", 1)

    async with blank_page() as page:
        await _load(page, mermaid)
        trouble = await _trouble(page, mistaken)

    assert trouble is not None
    assert "Parse error" in trouble


def test_the_architecture_has_the_five_promised_diagrams_each_under_its_heading() -> None:
    text = document("docs/architecture.md").text
    sections = {part.partition("\n")[0]: part for part in text.split("\n## ")[1:]}

    assert [title for title in _PROMISED if "```mermaid" not in sections.get(title, "")] == []


async def _load(page: Page, mermaid: Path) -> None:
    await page.add_script_tag(path=mermaid)
    await page.evaluate("mermaid.initialize({ startOnLoad: false })")


async def _trouble(page: Page, block: Block) -> str | None:
    """What Mermaid says against a diagram; None when it draws it."""
    try:
        shapes = await page.evaluate(_DRAW, [f"at-line-{block.line}", block.text])
    except BrowserError as error:
        return str(error)
    return None if shapes > 1 else "nothing was drawn"
