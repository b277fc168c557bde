"""From the Markdown of the repository to a folder of HTML that fetches nothing; a broken link is an error."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from website.contents import ROOT, Page, linked_files, menu, pages
from website.diagrams import with_pictures
from website.links import mistakes

BUILT = ROOT / ".site"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STYLE = Path(__file__).with_name("style.css")


class NotBuilt(Exception):
    """The site has a mistake, such as a link that leads nowhere; the text is the builder's."""


def build(into: Path, found: list[Page] | None = None) -> Path:
    """Render into `into`, which is emptied first; the folder with the site is returned."""
    shutil.rmtree(into, ignore_errors=True)
    sources = into / "pages"
    taken = pages() if found is None else found
    for page in taken:
        _write(sources / page.name, _with_diagrams(page, sources))
    for name in linked_files(taken):
        _write(sources / name, (ROOT / name).read_bytes())
    _write(sources / "website/style.css", _STYLE.read_bytes())
    configuration = into / "mkdocs.yml"
    _write(configuration, json.dumps(_configured(taken), indent=1))  # JSON is YAML
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "--config-file", str(configuration)]
    done = subprocess.run(command, cwd=into, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise NotBuilt(_COLOUR.sub("", done.stdout + done.stderr).partition("Traceback")[0].strip())
    if wrong := list(mistakes(into / "html")):
        raise NotBuilt("\n".join(wrong))
    return into / "html"


def _with_diagrams(page: Page, sources: Path) -> str:
    folder = (sources / page.name).parent
    return with_pictures(page.name, page.text, lambda name, svg: _write(folder / name, svg))


def _configured(found: list[Page]) -> dict[str, Any]:
    """No address of its own, no fonts and scripts of others: what is built can be read from any folder."""
    return {
        "site_name": "Carillon",
        "site_description": "A self-hosted, distributed notification system",
        "docs_dir": "pages",
        "site_dir": "html",
        "use_directory_urls": False,
        "nav": menu(found),
        "theme": {"name": "material", "font": False, "features": ["navigation.indexes", "navigation.top"]},
        "extra": {"generator": False},
        "extra_css": ["website/style.css"],
        "markdown_extensions": [
            "tables",
            "attr_list",
            "sane_lists",
            {"toc": {"permalink": True}},
            {"pymdownx.highlight": {"use_pygments": True}},
            "pymdownx.superfences",
        ],
    }


def _write(path: Path, what: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(what.encode() if isinstance(what, str) else what)
