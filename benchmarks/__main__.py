"""`make bench`: every question once, bounded in count and time, on 127.0.0.1."""

import asyncio
import os
import sys

from benchmarks import lookups, notifications
from benchmarks.platforms import machine

COUNT = int(os.environ.get("COUNT", "5000"))


def show(title: str, figures: list[tuple[str, str]]) -> None:
    print(f"\n{title}")
    for name, value in figures:
        print(f"  {name:<50} {value}")
    sys.stdout.flush()


async def main() -> None:
    print(
        f"{machine()}; {os.cpu_count()} cores shared by everything, the load generator included; {COUNT} notifications"
    )
    show("One process, PostgreSQL broker", await notifications.measure("embedded", COUNT))
    show("Five processes, RabbitMQ", await notifications.measure("rabbitmq", COUNT))
    show("Look-ups", await lookups.measure(COUNT * 4))


asyncio.run(main())
