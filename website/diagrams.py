"""Mermaid in Markdown becomes SVG beside the page, drawn without a browser."""

import re
from collections.abc import Callable
from itertools import count

import merman

_BLOCK = re.compile(r"^```mermaid\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)
# Boxes are laid out for letters of 18 and filled with letters of 15: a reader's font may be a fifth wider than ours.
_LAID_OUT, _SHOWN = "18px", "15px"
_FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
_LOOK = (
    f'%%{{init: {{"theme": "neutral", "themeVariables": {{"fontSize": "{_LAID_OUT}", "fontFamily": "{_FONT}"}}}}}}%%\n'
)


class NotDrawn(Exception):
    """A diagram that Mermaid does not understand: where it stands, and what is wrong with it."""


def drawn(text: str) -> str:
    """The SVG of one diagram."""
    svg: str = merman.Merman().render_svg(_LOOK + text, None)
    return svg.replace(f"font-size:{_LAID_OUT}", f"font-size:{_SHOWN}").replace(
        "</style>", "foreignObject{overflow:visible}</style>", 1
    )


def with_pictures(page: str, text: str, keep: Callable[[str, str], None]) -> str:
    """The text of a page with a picture in the place of each diagram; `keep` gets each file's name and SVG."""
    numbers = count(1)

    def picture(found: re.Match[str]) -> str:
        before = text[: found.start()]
        heading = (_HEADING.findall(before) or [page])[-1]
        name = f"{page.rpartition('/')[2].removesuffix('.md')}-{next(numbers)}.svg"
        try:
            keep(name, drawn(found["text"]))
        except merman.MermanError as error:
            raise NotDrawn(f"{page}:{before.count(chr(10)) + 1}: {error}") from error
        return f"[![{heading}]({name})]({name})"

    return _BLOCK.sub(picture, text)
