"""Acknowledging: few frames, never a delivery that is not settled."""

from hypothesis import given
from hypothesis import strategies as st

from carillon.kit.broker.rabbitmq.tags import Acks, Tags


def tags_up_to(last: int) -> Tags:
    tags = Tags()
    for tag in range(1, last + 1):
        tags.delivered(tag)
    return tags


def test_a_batch_at_the_front_is_one_multiple_ack() -> None:
    assert tags_up_to(10).acks([3, 1, 2]) == Acks(3, ())


def test_a_batch_behind_an_unsettled_one_is_acked_one_by_one() -> None:
    assert tags_up_to(6).acks([4, 5, 6]) == Acks(None, (4, 5, 6))


def test_the_last_batch_takes_everything_with_it() -> None:
    tags = tags_up_to(4)
    tags.acks([3, 4])

    assert tags.acks([1, 2]) == Acks(2, ())
    assert len(tags) == 0


def test_a_batch_around_an_unsettled_tag_is_split_at_it() -> None:
    assert tags_up_to(5).acks([1, 2, 4, 5]) == Acks(2, (4, 5))


def test_what_was_given_back_is_not_acked() -> None:
    tags = tags_up_to(3)

    assert tags.take([2, 3]) == [2, 3]
    assert tags.acks([1, 2]) == Acks(1, ())


@given(st.permutations(range(1, 21)), st.integers(1, 20))
def test_every_tag_is_acked_exactly_once_and_never_before_it_is_settled(order: list[int], size: int) -> None:
    tags = tags_up_to(20)
    outstanding, settled = set(range(1, 21)), set()

    for start in range(0, 20, size):
        batch = order[start : start + size]
        settled |= set(batch)
        acks = tags.acks(batch)
        covered = {tag for tag in outstanding if acks.multiple is not None and tag <= acks.multiple}
        covered |= set(acks.singles)
        assert acks.multiple is None or acks.multiple in outstanding, "RabbitMQ refuses a tag it does not know"
        assert set(acks.singles) <= outstanding
        assert covered <= settled
        outstanding -= covered

    assert outstanding == set()
