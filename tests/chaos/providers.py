"""The two that messages go to, as processes of their own: a mail server and a push provider that misbehave as told."""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from tests.chaos.judge import Receipt
from tests.support.processes import free_port
from tests.support.simulator import SIMULATE, Simulator

HARD, SOFT = "hard-*", "soft-*"
_RULES = {
    "smtp": (
        {"do": "refuse", "code": 550, "text": "5.1.1 No such mailbox", "to": HARD},
        {"do": "refuse", "code": 451, "text": "4.2.0 Try again later", "to": SOFT, "share": 0.4},
        {"do": "delay", "seconds": 0.03},
    ),
    "fcm": (
        {"do": "refuse", "code": 403, "to": HARD},
        {"do": "refuse", "code": 429, "retry_after": 1, "to": SOFT, "share": 0.4},
        {"do": "delay", "seconds": 0.03},
    ),
}
_FLAGS = {"smtp": (), "fcm": ("--bodies",)}
_PUSHED = re.compile(r'"notification_id": ?"([0-9a-f-]{36})"')
_PAGE = 1_000


def provider(kind: Literal["smtp", "fcm"], folder: Path) -> Simulator:
    """One of them, not yet started; the push provider's account lies in `account_of(folder)`."""
    rules = folder / f"{kind}.jsonl"
    rules.write_text("".join(json.dumps(rule) + "\n" for rule in _RULES[kind]))
    ports = ["--port", str(free_port()), "--control-port", str(free_port())]
    own = [*_FLAGS[kind], *(["--account-file", str(account_of(folder))] if kind == "fcm" else [])]
    return Simulator(
        [*SIMULATE, kind, *ports, "--rules", str(rules), "--keep", "500000", *own], folder / f"simulate-{kind}.log"
    )


def account_of(folder: Path) -> Path:
    return folder / "account.json"


def taken(source: Simulator, known: Sequence[str] | set[str]) -> Iterator[tuple[str, Receipt]]:
    """What it has taken by now and is not known yet, by its own id: it forgets when it dies."""
    page = 1
    while entries := source.received(f"?limit={_PAGE}&page={page}"):
        for entry in entries:
            if entry["taken"] and entry["id"] not in known:
                at = datetime.fromisoformat(entry["received_at"]).timestamp()
                yield entry["id"], Receipt(_notification(source, entry), at)
        page += 1


def _notification(source: Simulator, entry: dict[str, Any]) -> str:
    """A mail has it in its Message-ID, a push in its data."""
    if "@" in str(entry["to"]):
        return str(entry["message_id"]).strip("<>").partition("@")[0]
    found = _PUSHED.search(source.ask("GET", f"/received/{entry['id']}")["content"] or "")
    assert found, f"a push that names no notification: {entry}"
    return found[1]
