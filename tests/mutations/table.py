"""The mutations as docs/reference/mutations.md tells of them."""

from collections.abc import Sequence

from tests.mutations.catalogue import ROOT, Mutation

TABLE = ROOT / "docs/reference/mutations.md"

_HEAD = """# Mutations

Every row is a guarantee that was taken out of the code, one at a time, and the test that failed then. `make mutations`
does it all again in a copy of the code: each test passes first, and has to fail once the text that gives the guarantee
is replaced. What is replaced by what is listed in `tests/mutations/`; that every text is still there is checked by
`tests/unit/test_mutations.py`. The table is written by the run.

| what was done to the code | the guarantee that was gone | where | the test that failed |
| --- | --- | --- | --- |
"""


def table(all_of_them: Sequence[Mutation]) -> str:
    """The whole document."""
    return _HEAD + "".join(f"| {m.name} | {m.removes} | `{m.file}` | `{m.test}` |\n" for m in all_of_them)
