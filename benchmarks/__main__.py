"""`make bench`: every question once, bounded in count and time, on 127.0.0.1."""

import os
import sys

from benchmarks import batch, end_to_end, lanes, lookup, notifications, timing
from benchmarks.platforms import machine

COUNT = int(os.environ.get("COUNT", "5000"))


def show(title: str, figures: list[tuple[str, str]]) -> None:
    print(f"\n{title}")
    for name, value in figures:
        print(f"  {name:<50} {value}")
    sys.stdout.flush()


def show_end_to_end() -> None:
    show("The whole way: one process, PostgreSQL broker", end_to_end.measure("embedded", COUNT))
    show("The whole way: five processes, RabbitMQ", end_to_end.measure("rabbitmq", COUNT))


def show_lanes() -> None:
    kinds = {"embedded": "one process, PostgreSQL broker", "rabbitmq": "five processes, RabbitMQ"}
    for kind in [kind for kind in kinds if kind in sys.argv] or kinds:
        show(f"One-time codes during a broadcast to {COUNT:,}: {kinds[kind]}", lanes.measure(kind, COUNT))


def main() -> None:
    print(
        f"{machine()}; {os.cpu_count()} cores shared by everything, the load generator included; {COUNT} notifications"
    )
    if "lookup" in sys.argv[1:]:
        show("Look-ups, the users service on one core", lookup.measure(COUNT * 8))
        return
    if "accept" in sys.argv[1:]:
        show("Accepting alone, RabbitMQ", notifications.measure_accepting(COUNT))
        return
    if "batch" in sys.argv[1:]:
        show("Accepting in batches of 1,000, RabbitMQ", batch.measure(COUNT * 8))
        return
    if "lanes" in sys.argv[1:]:
        show_lanes()
        return
    if "timing" in sys.argv[1:]:
        show("What the time of an answer tells of an account", timing.measure())
        return
    show_end_to_end()
    if "end_to_end" in sys.argv[1:]:
        return
    show("Accepting alone, RabbitMQ", notifications.measure_accepting(COUNT))
    show("Accepting in batches of 1,000, RabbitMQ", batch.measure(COUNT * 8))
    show("Look-ups, the users service on one core", lookup.measure(COUNT * 8))


main()
