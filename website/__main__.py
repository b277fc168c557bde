"""`python -m website`: build the site, and say where it lies."""

import sys

from website.build import BUILT, NotBuilt, build
from website.diagrams import NotDrawn


def main() -> int:
    """The exit code is 1 where a link leads nowhere or a diagram cannot be drawn; the mistake is printed."""
    try:
        site = build(BUILT)
    except (NotBuilt, NotDrawn) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"The documents are in {site}: open {site}/index.html")
    return 0


sys.exit(main())
