"""Changing a part of the preferences: what is not named stays, whatever form it has."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.contracts.preferences import ByChannel, Choices
from carillon.contracts.quiet_hours import QuietHours
from carillon.kit.errors import Invalid
from carillon.users.domain.preferences import Adjustment, Person, adjusted, choices_of
from tests.unit.users.test_preferences import choices

NIGHT = QuietHours("22:00", "07:00", "Europe/Paris")


@pytest.mark.parametrize(
    ("present", "wanted", "kept"),
    [
        (None, True, True),
        (None, None, None),
        (None, {"email": False}, ByChannel(email=False)),
        (None, {"email": None}, None),
        (None, {}, None),
        (True, {"email": False}, ByChannel(email=False, push=True)),
        (True, {"email": None}, ByChannel(push=True)),
        (True, False, False),
        (ByChannel(email=True), {"push": False}, ByChannel(email=True, push=False)),
        (ByChannel(email=True), {"email": None}, None),
        (ByChannel(email=True), False, False),
        (ByChannel(email=True), None, None),
    ],
)
def test_a_choice_by_channel_is_merged_into_what_is_there(present: Any, wanted: Any, kept: Any) -> None:
    before = Choices(categories={} if present is None else {"news": present})

    after = adjusted(before, Adjustment(categories={"news": wanted}))

    assert after.categories.get("news") == kept
    assert ("news" in after.categories) is (kept is not None)


@given(choices)
def test_what_is_not_named_stays(before: Choices) -> None:
    before = msgspec.structs.replace(before, quiet_hours=NIGHT)

    after = adjusted(before, Adjustment(categories={"other": True}))

    assert after == msgspec.structs.replace(before, categories={**before.categories, "other": True})


def test_quiet_hours_are_set_kept_and_taken_away() -> None:
    quiet = adjusted(Choices(), Adjustment(quiet_hours=NIGHT))

    assert quiet.quiet_hours == NIGHT
    assert adjusted(quiet, Adjustment(email=False)).quiet_hours == NIGHT
    assert adjusted(quiet, Adjustment(quiet_hours=None)).quiet_hours is None


def test_more_categories_than_are_kept_are_refused_unless_others_leave() -> None:
    full = Choices(categories={f"c{number}": True for number in range(200)})

    with pytest.raises(Invalid, match="categories"):
        adjusted(full, Adjustment(categories={"one-more": {"email": True}}))
    assert len(adjusted(full, Adjustment(categories={"one-more": True, "c7": None})).categories) == 200


@given(choices, st.none() | st.just(NIGHT))
def test_choices_come_back_from_the_store_as_they_went_and_a_person_from_any_cache(
    given_choices: Choices, quiet: QuietHours | None
) -> None:
    kept = msgspec.structs.replace(given_choices, quiet_hours=quiet)
    person: dict[str, Any] = {
        "user_id": "01a1d1a0-0000-7000-8000-000000000001", "name": "Ada", "email": None, "locale": None,
        "status": "active", "version": 1, "suppressed": False, "devices": [], "choices": kept,
    }  # fmt: skip

    assert choices_of(msgspec.to_builtins(kept)) == kept
    for codec in (msgspec.json, msgspec.msgpack):
        wire = codec.encode(person)
        assert codec.decode(codec.encode(codec.decode(wire, type=Person)), type=Person).choices == kept


def test_what_a_later_release_wrote_is_read_as_far_as_it_is_known() -> None:
    later = {"email": True, "push": False, "sms": True, "categories": {"news": {"sms": True, "email": False}}}

    assert choices_of(later) == Choices(email=True, push=False, categories={"news": ByChannel(email=False)})
