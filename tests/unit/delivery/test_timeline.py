"""Reports: keys that repeat with the same event, and words that every store takes."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from carillon.contracts.messages import DeliveryReported
from carillon.delivery.domain import Delivered, Ending, Retrying, Suppressed, Undeliverable, Waiting
from carillon.delivery.timeline import Told, Trail, clean, report_of
from tests.unit.delivery.world import LADDER, START, World

TEXT = st.text(max_size=2000)
ENDINGS: st.SearchStrategy[Ending] = st.one_of(
    st.builds(Delivered, st.integers(1, 9), st.just("fake"), TEXT, st.just(START)),
    st.builds(Suppressed, st.just("channel_opt_out"), TEXT),
    st.builds(Undeliverable, TEXT, TEXT, st.integers(0, 9), st.just("fake")),
    st.builds(Retrying, TEXT, TEXT, st.integers(1, 9), st.just("fake"), st.floats(0, 3600)),
    st.builds(Waiting, st.sampled_from(["users_away", "provider_away"]), st.floats(0, 60)),
)


def reported(ending: Ending) -> DeliveryReported:
    trail = Trail()
    trail.note("looked_up", START, source="cached", rule=None)
    request = World().request(generation=3)
    return report_of(request, trail, ending, Told(START, LADDER, 60))


@given(ENDINGS)
def test_a_report_survives_the_wire_and_carries_nothing_that_a_database_refuses(ending: Ending) -> None:
    report = reported(ending)
    wire = msgspec.json.encode(report)

    assert msgspec.json.decode(wire, type=DeliveryReported) == report
    assert b"\\u0000" not in wire
    assert all(step.key.startswith("3.") for step in report.steps)
    assert len({step.key for step in report.steps}) == len(report.steps)


@given(ENDINGS)
def test_the_same_ending_told_twice_has_the_same_keys(ending: Ending) -> None:
    assert [step.key for step in reported(ending).steps] == [step.key for step in reported(ending).steps]


@given(ENDINGS)
def test_only_what_is_pending_says_when_to_expect_more(ending: Ending) -> None:
    report = reported(ending)
    assert (report.next_expected_at is not None) == (report.status == "pending") == (report.stage == "retrying")


@given(st.text(max_size=20), st.integers(0, 3000), st.text("\n\t x.-", max_size=9))
def test_no_address_is_told_wherever_it_stands(before: str, padding: int, after: str) -> None:
    text = f"{before} {'x ' * (padding // 2)}{' ' * (padding % 2)}<ada.lovelace@example.com>{after}"
    report = reported(Undeliverable("recipient_refused", text, 1, "fake"))

    assert b"lovelace" not in msgspec.json.encode(report)
    assert b"ada." not in msgspec.json.encode(report)


def test_a_providers_name_for_a_message_is_kept_as_it_is() -> None:
    report = reported(Delivered(1, "fake", "<2026.1@mail.example.com>", START))
    assert report.steps[-1].detail == {"provider_message_id": "<2026.1@mail.example.com>"}


@given(st.text())
def test_a_cleaned_text_is_one_bounded_printable_line(text: str) -> None:
    line = clean(text)
    assert len(line) <= 500
    assert line.isprintable()
    assert line == " ".join(line.split())
    line.encode()
