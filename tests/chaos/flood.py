"""Many notifications at once, and what became of each: by the API's word, and by the provider's."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.client import FINAL, Client
from tests.support.platform import Platform
from tests.support.simulator import Simulator
from tests.support.waiting import eventually

_MOST = 1_000
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def contacts(client: Client, addresses: Iterable[str]) -> list[str]:
    """A user for each address, by id."""
    url = f"{client.platform.users}/api/v1/contacts"
    gate = asyncio.Semaphore(16)

    async def one(address: str) -> str:
        async with gate:
            made = await client.call("POST", url, token=client.admin, json={"email": address})
        user_id: str = made.data["user_id"]
        return user_id

    return await asyncio.gather(*(one(address) for address in addresses))


async def accepted(
    client: Client, users: Sequence[str], code: str, count: int, *, variables: dict[str, str] | None = None
) -> dict[str, str]:
    """So many notifications, told to the users in turn: user ids by notification id."""
    items = [
        {
            "notification_type": "email",
            "user_id": users[number % len(users)],
            "template_code": code,
            "variables": {"name": "Ada", "link": "https://example.com/x"} if variables is None else variables,
            "request_id": uuid4().hex,
        }
        for number in range(count)
    ]
    url, found = f"{client.platform.gateway}/api/v1/notifications/batch", dict[str, str]()
    for start in range(0, count, _MOST):
        piece = items[start : start + _MOST]
        report = (await client.call("POST", url, token=client.application, json={"notifications": piece})).data
        assert report["accepted"] == len(piece), report["refused"]
        found |= {
            result["notification_id"]: item["user_id"] for result, item in zip(report["results"], piece, strict=True)
        }
    return found


async def counted(client: Client, code: str, *, status: str | None = None) -> int:
    """How many notifications of a template there are, of one status or of all."""
    total: int = (await _page(client, code, status, page=1, limit=1)).body["meta"]["total"]
    return total


async def notifications(client: Client, code: str) -> list[dict[str, Any]]:
    """Every notification of a template."""
    found: list[dict[str, Any]] = []
    while page := (await _page(client, code, None, page=len(found) // 100 + 1, limit=100)).data:
        found += page
        if len(page) < 100:
            break
    return found


async def ended(client: Client, code: str, count: int, *, within: float) -> Counter[str]:
    """By status, once all of them have ended."""

    async def none_is_pending() -> bool:
        return await counted(client, code, status="pending") == 0

    await eventually(none_is_pending, within=within, every=0.5, says=f"{count} notifications of {code} end")
    statuses = Counter(each["status"] for each in await notifications(client, code))
    assert statuses.total() == count
    assert set(statuses) <= FINAL
    return statuses


def taken(provider: Simulator) -> Counter[str]:
    """How often the provider has taken each notification, by its id in the mail's name."""
    found: Counter[str] = Counter()
    page = 1
    while entries := provider.received(f"?verdict=accepted&limit=100&page={page}"):
        found.update(_ID.findall(" ".join(entry["message_id"] for entry in entries if entry["taken"])))
        page += 1
    return found


def resident_mib(platform: Platform) -> dict[str, float]:
    """What each process of ours holds in memory, without the servers it has started."""
    found = {}
    for name, process in platform.processes.items():
        status = Path(f"/proc/{process.pid}/status").read_text()
        found[name] = int(status.partition("VmRSS:")[2].split()[0]) / 1024
    return found


async def _page(client: Client, code: str, status: str | None, *, page: int, limit: int) -> Any:
    url = f"{client.platform.gateway}/api/v1/notifications?template_code={code}&page={page}&limit={limit}"
    return await client.call("GET", f"{url}&status={status}" if status else url, token=client.application)
