"""Pages of the reference that are made from the code alone: held by `make check`, written by `make docs-reference`."""

import json
import os
import sys

from tests.documents import asyncapi, http_table, settings_tables
from tests.documents.generated import END, RENEW, START
from tests.documents.reading import ROOT

DESCRIPTION = "docs/reference/asyncapi.json"
MADE = {
    "docs/reference/settings.md": settings_tables.made,
    "docs/reference/http.md": http_table.made,
    "docs/reference/messages.md": asyncapi.table,
}


def outdated() -> list[str]:
    """The files that say something else than the code; with RENEW_REFERENCE set they are written, and none is."""
    wanted = {name: _between_the_marks(name, make()) for name, make in MADE.items()}
    wanted[DESCRIPTION] = json.dumps(asyncapi.described(), indent=2, ensure_ascii=False) + "\n"
    found = [name for name, text in wanted.items() if not (ROOT / name).exists() or (ROOT / name).read_text() != text]
    if os.environ.get(RENEW):
        for name in found:
            (ROOT / name).write_text(wanted[name])
        return []
    return found


def _between_the_marks(name: str, made: str) -> str:
    before, _, rest = (ROOT / name).read_text().partition(START)
    _, end, after = rest.partition(END)
    assert end, f"{name} lacks the lines {START} and {END}"
    return f"{before}{START}\n{made.strip()}\n{END}{after}"


def main() -> int:
    """One line for each page that is out of date; the exit code is 1 when there is one."""
    found = outdated()
    print(
        "\n".join(f"{name} is not what the code says: run `make docs-reference`" for name in found) or "reference holds"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
