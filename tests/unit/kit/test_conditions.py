"""Versions as entity tags: what a writer may insist on, and what is no version of ours."""

import pytest

from carillon.kit.errors import PreconditionFailed, check_version
from carillon.kit.http.conditions import etag, expected_versions


def test_a_version_told_is_a_version_understood() -> None:
    assert expected_versions(etag(7)["ETag"]) == frozenset({7})


@pytest.mark.parametrize("text", [None, "*", " * "])
def test_whoever_insists_on_nothing_may_change_any_version(text: str | None) -> None:
    assert expected_versions(text) is None
    check_version(12, expected_versions(text))


def test_several_versions_will_do() -> None:
    assert expected_versions('"1", "3"') == frozenset({1, 3})


@pytest.mark.parametrize("text", ["", "7", 'W/"7"', '"seven"', '"-7"', '"7', "'7'", '"' + "7" * 10_000 + '"', '"7 "'])
def test_what_is_no_version_of_ours_matches_nothing(text: str) -> None:
    assert expected_versions(text) == frozenset()
    with pytest.raises(PreconditionFailed) as refused:
        check_version(7, expected_versions(text))
    assert refused.value.headers == {"ETag": '"7"'}
