"""Parts of documents that are made from the code: held against it, and written anew by `make docs-reference`."""

import os
from pathlib import Path

from tests.documents.reading import ROOT

RENEW = "RENEW_REFERENCE"
START, END = "<!-- made from the code: `make docs-reference` -->", "<!-- end of what is made from the code -->"


def check_generated(name: str, made: str) -> None:
    """The part of the document `name` between the marks is `made`; with RENEW_REFERENCE set it is written first."""
    path: Path = ROOT / name
    before, _, rest = path.read_text().partition(START)
    kept, _, after = rest.partition(END)
    assert rest, f"{name} lacks the line {START}"
    assert after, f"{name} lacks the line {END}"
    if os.environ.get(RENEW):
        path.write_text(f"{before}{START}\n{made}\n{END}{after}")
        return
    assert kept.strip() == made.strip(), f"{name} is out of date: run `make docs-reference`, it then says:\n{made}"
