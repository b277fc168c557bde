"""The arithmetic of docs/scaling.md is right: what is worked out follows from its formulas and the measured costs."""

import re

import pytest

from tests.documents.reading import document

_DAILY = (10**6, 10**8, 10**10)
_PARTS = ("gateway", "e-mail worker", "users, templates, push worker", "PostgreSQL", "RabbitMQ")
_UNITS = {"GB": 1e9, "TB": 1e12, "PB": 1e15, "Mbit/s": 1e6, "Gbit/s": 1e9}


def _row(begins: str, *, section: str) -> list[str]:
    part = document("docs/scaling.md").text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    line = next(line for line in part.splitlines() if line.startswith(f"| {begins}"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def _number(cell: str) -> float:
    found = re.match(r"(?P<number>[\d.,]+)(?:/s)? ?(?P<unit>[A-Za-z/]*)", cell)
    assert found, cell
    return float(found["number"].replace(",", "")) * _UNITS.get(found["unit"], 1)


def _peaks() -> list[float]:
    return [4 * daily / 86_400 for daily in _DAILY]


def _bytes() -> float:
    return _number(_row("together, `b`", section="What one notification costs")[0])


def test_the_costs_add_up_to_the_whole() -> None:
    rows = [_row(part, section="What one notification costs") for part in _PARTS]
    whole = _row("all of Carillon", section="What one notification costs")

    assert sum(_number(row[0]) for row in rows) == _number(whole[0])
    assert [_number(row[1]) for row in [*rows, whole]] == [round(1e6 / _number(row[0])) for row in [*rows, whole]]


def test_the_tables_add_up_to_the_bytes_of_a_notification() -> None:
    names = ("`gateway.notifications`", "`gateway.idempotency_keys`", "`gateway.notification_events`")
    sizes = [_number(_row(name, section="What one notification costs")[0]) for name in (*names, "`email_worker")]

    assert sum(sizes) == _bytes()


@pytest.mark.parametrize("part", _PARTS)
def test_the_cores_follow_from_the_costs(part: str) -> None:
    cost = _number(_row(part, section="What one notification costs")[0])
    told = [_number(cell) for cell in _row(f"{part}, cores", section="Worked out")]

    assert told == [pytest.approx(1.2 * rate * cost / 1e6 / 0.5, rel=0.2, abs=0.005) for rate in _peaks()]


def test_rate_disk_and_network_follow_from_the_notifications_a_day() -> None:
    rates, disks, networks = (
        [_number(cell) for cell in _row(name, section="Worked out")] for name in ("`r`", "disk", "network")
    )

    assert rates == [pytest.approx(rate, rel=0.01) for rate in _peaks()]
    assert disks == [pytest.approx(daily * 90 * _bytes() * 2, rel=0.01) for daily in _DAILY]
    assert networks == [pytest.approx(rate * 10_000 * 8, rel=0.1) for rate in _peaks()]
