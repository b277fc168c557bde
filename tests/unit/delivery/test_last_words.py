"""What a message tells when it dies: the first error and the last, without addresses, and that it was reported."""

from hypothesis import given
from hypothesis import strategies as st

from carillon.contracts.dead_letters import (
    ATTEMPTS_HEADER,
    FIRST_ERROR_HEADER,
    LAST_ERROR_HEADER,
    PROVIDER_HEADER,
    REPORTED_HEADER,
)
from carillon.delivery import last_words
from carillon.delivery.actions.deliver import deliver
from carillon.delivery.domain import Failed, Refused, Retrying, Undeliverable
from carillon.kit.broker.port import DeadLetter, RetryAfter
from tests.unit.delivery.world import World


async def test_the_first_error_travels_with_the_retries_and_the_last_joins_it_in_the_grave(world: World) -> None:
    world.provider.script = [Failed("recipient_deferred", "451 <ada@example.com> later"), Refused("gone", "550 gone")]
    work = world.work()

    (retried,) = await deliver([work], world.tools)
    assert isinstance(retried, RetryAfter)
    first = last_words.first_error(retried.headers)
    again = type(work)(work.request, work.lane, 1, first_error=first)
    (dead,) = await deliver([again], world.tools)

    assert REPORTED_HEADER not in retried.headers, "whoever buries it now has told nobody"
    assert retried.headers[ATTEMPTS_HEADER] == "1"
    assert isinstance(dead, DeadLetter)
    assert dead.headers == {
        FIRST_ERROR_HEADER: "451 <…> later",
        LAST_ERROR_HEADER: "550 gone",
        ATTEMPTS_HEADER: "2",
        PROVIDER_HEADER: "fake",
        REPORTED_HEADER: "1",
    }


async def test_what_was_never_tried_tells_why(world: World) -> None:
    (dead,) = await deliver([world.work(template_code="nowhere")], world.tools)

    assert isinstance(dead, DeadLetter)
    assert dead.headers == {
        FIRST_ERROR_HEADER: "no version of nowhere is published",
        LAST_ERROR_HEADER: "no version of nowhere is published",
        ATTEMPTS_HEADER: "0",
        REPORTED_HEADER: "1",
    }


@given(st.text(max_size=3000), st.text(max_size=3000))
def test_no_words_are_too_long_or_hold_what_a_header_cannot(error: str, first: str) -> None:
    endings = (Retrying("busy", error, 1, "fake", 5.0), Undeliverable("gone", error, 1, "fake"))
    told = [
        last_words.so_far(endings[0], last_words.first_error({FIRST_ERROR_HEADER: first})),
        last_words.of_the_dead(endings[1], None),
    ]
    for words in told:
        assert all(0 < len(word) <= 500 and word.isprintable() for word in words.values())
