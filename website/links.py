"""What the pages of a built site point at: every file is there, and nothing is fetched from elsewhere."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
_TOLD = {"canonical", "author", "license"}  # of a <link>: said, not fetched


class _Pointers(HTMLParser):
    """(address, whether the browser loads it unasked) of every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        if tag == "link" and said.get("rel") in _TOLD:
            return
        if address := said.get(_LOADED.get(tag, "href")):
            self.found.append((address, tag in _LOADED))


def mistakes(site: Path) -> Iterator[str]:
    """One sentence for each pointer that leads nowhere, or that would fetch something from another host."""
    for page in sorted(site.rglob("*.html")):
        pointers = _Pointers()
        pointers.feed(page.read_text())
        for address, loaded in pointers.found:
            if wrong := _wrong(address, loaded, page, site):
                yield f"{page.relative_to(site)}: {address} {wrong}"


def _wrong(address: str, loaded: bool, page: Path, site: Path) -> str | None:  # noqa: FBT001 - a flag of the pointer
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return "is fetched from elsewhere" if loaded and parts.scheme != "data" else None
    path = unquote(parts.path)
    target = page if not path else site / path.lstrip("/") if path.startswith("/") else page.parent / path
    return None if target.exists() else "leads nowhere"
