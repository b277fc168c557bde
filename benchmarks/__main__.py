"""`python -m benchmarks [QUESTION]`, on 127.0.0.1, bounded in count and time; `make bench` asks the usual ones."""

import os
import sys
from collections.abc import Callable

from benchmarks import batch, end_to_end, growth, lanes, lookup, notifications, timing
from benchmarks.platforms import machine

COUNT = int(os.environ.get("COUNT", "5000"))
_KINDS = {"embedded": "one process, PostgreSQL broker", "rabbitmq": "five processes, RabbitMQ"}


def show(title: str, figures: list[tuple[str, str]]) -> None:
    print(f"\n{title}")
    for name, value in figures:
        print(f"  {name:<50} {value}")
    sys.stdout.flush()


def show_end_to_end(kind: str) -> None:
    show(f"The whole way: {_KINDS[kind]}", end_to_end.measure(kind, COUNT))


def show_accepting() -> None:
    show("Accepting alone, RabbitMQ", notifications.measure_accepting(COUNT))


def show_batches() -> None:
    show("Accepting in batches of 1,000, RabbitMQ", batch.measure(COUNT * 8))


def show_lookups() -> None:
    show("Look-ups, the users service on one core", lookup.measure(COUNT * 8))


def show_lanes(kind: str) -> None:
    show(f"One-time codes during a broadcast to {COUNT:,}: {_KINDS[kind]}", lanes.measure(kind, COUNT))


def show_growth() -> None:
    show("What is kept, and what one more costs: five processes, RabbitMQ", growth.measure(COUNT))


def show_timing() -> None:
    show("What the time of an answer tells of an account", timing.measure())


def on_either(question: Callable[[str], None]) -> Callable[[], None]:
    """`embedded` or `rabbitmq` behind the question asks it there alone."""

    def ask() -> None:
        for kind in [kind for kind in _KINDS if kind in sys.argv] or _KINDS:
            question(kind)

    return ask


USUAL = {
    "end_to_end": on_either(show_end_to_end),
    "accept": show_accepting,
    "batch": show_batches,
    "lookup": show_lookups,
}
QUESTIONS = USUAL | {"lanes": on_either(show_lanes), "growth": show_growth, "timing": show_timing}


def main() -> None:
    asked = sys.argv[1:2] or list(USUAL)
    if unknown := set(asked) - set(QUESTIONS):
        sys.exit(f"There is no such question: {', '.join(unknown)}. There are: {', '.join(QUESTIONS)}.")
    print(
        f"{machine()}; {os.cpu_count()} cores shared by everything, the load generator included; {COUNT} notifications"
    )
    for question in asked:
        QUESTIONS[question]()


main()
