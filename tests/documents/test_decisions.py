"""Decision records are short, have one form, are numbered without gaps, and are listed."""

import re

import pytest

from tests.documents.reading import Document, document, documents

FOLDER = "docs/decisions/"
_PARTS = ["Context", "Decision", "Consequences", "Alternatives", "Where"]
_RECORDS = [found for found in documents() if re.match(rf"{FOLDER}\d", found.name)]

each_record = pytest.mark.parametrize("record", _RECORDS, ids=lambda record: record.name)


@each_record
def test_a_record_is_shorter_than_sixty_lines_and_has_every_part_in_order(record: Document) -> None:
    assert record.text.count("\n") < 60
    assert re.findall(r"^## (.+)$", record.text, re.MULTILINE) == _PARTS
    assert "\nStatus: " in record.text


@each_record
def test_a_record_is_listed_under_its_title(record: Document) -> None:
    number, _, title = record.text.partition("\n")[0].removeprefix("# ").partition(" ")
    file = record.name.removeprefix(FOLDER)

    assert file.startswith(f"{number}-")
    assert f"| [{number}]({file}) | {title} |" in document(f"{FOLDER}README.md").text


def test_records_are_numbered_from_one_without_gaps() -> None:
    numbers = [int(record.name.removeprefix(FOLDER)[:4]) for record in _RECORDS]

    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers
