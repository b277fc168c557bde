"""A profile's patch: RFC 7396 for attributes, zones of the IANA database, names that can be read."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.kit.errors import Invalid
from carillon.users.domain.people import ONE_LINE
from carillon.users.domain.profile import Profile, ProfilePatch, checked_patch, checked_timezone, merged, patched

KEPT = Profile("Ada", "en", "Europe/Paris", {"plan": "free", "tags": {"a": 1, "b": 2}})
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)
OBJECT = st.dictionaries(st.text(max_size=3), JSON, max_size=4)


@pytest.mark.parametrize(
    ("kept", "patch", "after"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": "foo"}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_merging_follows_the_examples_of_the_standard(kept: Any, patch: Any, after: Any) -> None:
    assert merged(kept, patch) == after


@given(kept=OBJECT, patch=OBJECT)
def test_a_patch_applied_twice_changes_nothing_more_and_touches_only_what_it_names(
    kept: dict[str, Any], patch: dict[str, Any]
) -> None:
    once = merged(kept, patch)

    assert merged(once, patch) == once
    assert {name: once[name] for name in kept.keys() - patch.keys()} == {
        name: kept[name] for name in kept.keys() - patch.keys()
    }
    assert not [name for name, value in patch.items() if value is None and name in once]


def test_what_is_not_given_stays_and_null_takes_away() -> None:
    assert patched(KEPT, ProfilePatch()) == KEPT
    assert patched(KEPT, ProfilePatch(name="Eve", locale=None)) == Profile("Eve", None, "Europe/Paris", KEPT.attributes)
    assert patched(KEPT, ProfilePatch(timezone=None, attributes=None)) == Profile("Ada", "en", None, {})
    assert ProfilePatch(locale=None, attributes={}).fields == ["locale", "attributes"]


def test_attributes_that_grow_too_large_in_small_steps_are_refused() -> None:
    profile = KEPT
    for number in range(15):
        profile = patched(profile, ProfilePatch(attributes={f"part-{number}": "x" * 1_000}))

    with pytest.raises(Invalid, match="At most 16384 bytes"):
        patched(profile, ProfilePatch(attributes={"one-more": "x" * 2_000}))

    deep: dict[str, Any] = {}
    for _ in range(30):
        deep = {"a": deep}
    with pytest.raises(Invalid, match="levels"):
        checked_patch(ProfilePatch(attributes=deep))


@pytest.mark.parametrize("name", ["Europe/Paris", "America/Argentina/Buenos_Aires", "UTC", "Etc/GMT+5", "Asia/Kolkata"])
def test_a_zone_of_the_database_is_taken(name: str) -> None:
    assert checked_timezone(name) == name


@pytest.mark.parametrize(
    "name",
    ["Europe", "Europe/Nowhere", "Mars/Olympus", "", "../../etc/passwd", "/etc/localtime", "Europe/../Europe/Paris",
     "localtime", "posixrules", "posix/Europe/Paris", "right/UTC", "UTC\x00", "+02:00", "x" * 5000],
)  # fmt: skip
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        checked_timezone(name)
    assert refused.value.details[0].field == "timezone"


@pytest.mark.parametrize(
    "name",
    [
        "Ada",
        "Ada Lovelace",
        "José",
        "Jose\u0301",
        "李小龍",
        "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627",
        "क्\u200dष",
        "O'Brien",
        "  Ada",
        "\U0001f469\u200d\U0001f680",
        "A",
    ],
)
def test_names_of_all_scripts_are_names(name: str) -> None:
    assert re.search(ONE_LINE, name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "\u3000",
        "\u200d",
        " \u200c\u200d",
        "A\nB",
        "A\r\nBcc: x",
        "A\x00",
        "A\x1b[31m",
        "A\x85",
        "A\u202eb",
        "A\u2066b",
        "\u200fA",
        "A\u200bda",
        "A\u2060da",
        "\ufeffAda",
        "A\u00adda",
        "A\u2028b",
        "A\u180eb",
        "A\u2063b",
        "A\ufffab",
        "Ada\n",
    ],
)
def test_what_hides_in_a_name_is_refused(name: str) -> None:
    assert re.search(ONE_LINE, name) is None
