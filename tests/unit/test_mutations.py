"""The list of mutations fits the code: what it takes out is there, and so are the tests that have to notice."""

from tests.mutations.catalogue import ROOT, mutated, mutations, stale
from tests.mutations.table import TABLE, table


def test_every_mutation_changes_a_text_that_is_there_once_and_names_a_test_that_exists() -> None:
    told = [sentence for mutation in mutations() for sentence in stale(mutation)]

    assert len(mutations()) >= 25
    assert told == []


def test_every_mutated_file_is_still_python_and_different() -> None:
    for mutation in mutations():
        for path, text in mutated(mutation, ROOT).items():
            assert text != path.read_text()


def test_names_are_unique_and_the_document_tells_of_all() -> None:
    names = [mutation.name for mutation in mutations()]

    assert len(set(names)) == len(names)
    assert TABLE.read_text() == table(mutations())
