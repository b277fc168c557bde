"""The documents build as a site: each page once in the menu, no dead link, nothing fetched, every diagram drawn."""

import re
from pathlib import Path

import pytest

from tests.documents.reading import ROOT, document, documents
from website.build import NotBuilt, build
from website.contents import Page, menu, pages
from website.diagrams import NotDrawn, drawn
from website.links import mistakes

_NODE = re.compile(r"[\[{(|]([a-zA-Z][\w ]+)[\]})|]")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("site"))


def test_every_document_is_a_page_and_stands_in_the_menu_once(site: Path) -> None:
    listed = [name for part in menu(pages()) for found in part.values() for page in found for name in page.values()]

    assert sorted(listed) == sorted(found.name for found in documents())
    assert [name for name in listed if not _rendered(site, name).exists()] == []


def test_every_diagram_is_a_picture_and_no_mermaid_is_left(site: Path) -> None:
    for found in documents():
        diagrams = len(found.blocks("mermaid"))
        page = _rendered(site, found.name)

        assert len(list(page.parent.glob(f"{Path(found.name).stem}-*.svg"))) == diagrams, found.name
        assert len(re.findall(r'<img [^>]*src="[\w-]+-\d+\.svg"', page.read_text())) == diagrams, found.name


def test_a_picture_says_what_the_diagram_says() -> None:
    diagrams = document("docs/architecture.md").blocks("mermaid")
    named = [(label, drawn(block.text)) for block in diagrams for label in _NODE.findall(block.text)]

    assert len(named) > 40
    assert [label for label, svg in named if label not in svg] == []


def test_each_table_of_the_database_stands_in_a_picture_with_its_columns() -> None:
    block = next(
        block for block in document("docs/architecture.md").blocks("mermaid") if "gateway.outbox" in block.text
    )

    svg = drawn(block.text)

    assert [word for word in ("gateway.outbox", "available_at", "lease_until") if word not in svg] == []


@pytest.mark.parametrize(
    "text",
    ["[a page](nowhere.md)", "[a heading](#nowhere)", "[a file](nowhere.yaml)", "![a picture](nowhere.png)"],
)
def test_what_leads_nowhere_ends_the_build(text: str, tmp_path: Path) -> None:
    with pytest.raises(NotBuilt, match="nowhere"):
        build(tmp_path, [Page("README.md", f"# Start\n\n{text}\n")])


def test_what_would_be_fetched_from_another_host_is_found(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<a href="https://example.com"></a><img src="https://example.com/font.woff">')

    assert list(mistakes(tmp_path)) == ["index.html: https://example.com/font.woff is fetched from elsewhere"]


def test_a_diagram_with_a_mistake_ends_the_build_and_names_its_line(tmp_path: Path) -> None:
    mistaken = Page("README.md", "# Start\n\n```mermaid\nflowchart LR\n  a -->--> b\n```\n")

    with pytest.raises(NotDrawn, match=r"README\.md:3: "):
        build(tmp_path, [mistaken])


def test_what_is_built_is_not_committed() -> None:
    assert ".site/" in (ROOT / ".gitignore").read_text().splitlines()


def _rendered(site: Path, name: str) -> Path:
    page = site / name
    return page.with_name("index.html") if page.name == "README.md" else page.with_suffix(".html")
