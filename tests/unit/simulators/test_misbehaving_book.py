"""The book remembers the newest, within its bounds."""

from carillon.simulators.domain.rules import Choices, Rule
from carillon.simulators.tool.book import Book, Entry


def entry(number: int, to: str = "ada@example.com") -> Entry:
    return Entry(number, to, "accepted", taken=True, rule=None)


def test_the_oldest_leave_and_the_counts_stay() -> None:
    book = Book(Choices([], 0), keep=3)

    for number in range(10):
        book.enter(entry(number))

    assert [each.number for each in book.entries()] == [9, 8, 7]
    assert (book.kept, book.counts["tries"], book.counts["taken"]) == (3, 10, 10)


def test_contents_are_kept_within_their_bytes_and_only_when_asked() -> None:
    asked, unasked = Book(Choices([], 0), keep=10, keep_bytes=25), Book(Choices([], 0), keep=10)

    for number in range(4):
        asked.enter(entry(number), b"x" * 10)
        unasked.enter(entry(number), b"x" * 10)
    asked.enter(entry(4), b"y" * 26)

    assert [each.content for each in asked.entries()] == [None, b"x" * 10, b"x" * 10, None, None]
    assert [each.size for each in asked.entries()] == [26, 10, 10, 10, 10]
    assert {each.content for each in unasked.entries()} == {None}


def test_an_entry_that_leaves_takes_its_content_along() -> None:
    book = Book(Choices([], 0), keep=2, keep_bytes=25)

    for number in range(50):
        book.enter(entry(number), b"x" * 10)

    assert [each.content for each in book.entries()] == [b"x" * 10] * 2


def test_entries_are_found_by_recipient_and_verdict() -> None:
    book = Book(Choices([], 0), keep=10)
    book.enter(entry(1))
    book.enter(Entry(2, "ada@example.com", "refused", taken=False, rule=1))
    book.enter(entry(3, "bob@example.com"))

    assert [each.number for each in book.entries(to="ADA@example.com")] == [2, 1]
    assert [each.number for each in book.entries(to="ada@example.com", verdict="refused")] == [2]


def test_other_rules_keep_the_seed_unless_another_is_given() -> None:
    book = Book(Choices([], 7), keep=10)

    book.follow([Rule(do="drop")], None)

    assert (book.choices.seed, book.choose("a").rule.do) == (7, "drop")
    book.follow([], 8)
    assert book.choices.seed == 8
