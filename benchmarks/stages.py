"""Runs carillon while its stack is looked at every few milliseconds of CPU: which stage of the way it works for.

`python -m benchmarks.stages FOLDER run gateway`; a SIGUSR2 writes the counts to the folder and begins anew.
"""

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from carillon.cli import main

EVERY_SECONDS = 0.004
SHARED = "shared"
"""The event loop, sockets, the interpreter's own: nobody's in particular."""

# The innermost frame that is known decides; what a library does is put to whoever has called it.
_ROOMS = {
    "carillon/gateway/actions/relay": "relay",
    "carillon/gateway/store/outbox": "relay",
    "carillon/gateway/turns": "relay",
    "carillon/gateway/store/turns": "relay",
    "carillon/gateway/actions/record": "report",
    "carillon/gateway/store/reports": "report",
    "carillon/gateway/consumer": "report",
    "carillon/delivery/": "worker",
    "carillon/email_worker/": "worker",
    "carillon/sending/": "worker",
    "carillon/kit/rendering": "worker",
    "carillon/gateway/actions/accept": "accept",
    "carillon/gateway/store/acceptances": "accept",
    "carillon/gateway/routes": "accept",
    "carillon/gateway/actions/retire": SHARED,
    "carillon/gateway/store/retirements": SHARED,
    "carillon/gateway/": "accept",
    "carillon/kit/http/": "accept",
    "carillon/kit/auth": "accept",
    "carillon/kit/remembered_tokens": "accept",
    "carillon/kit/limits": "accept",
    "site-packages/litestar/": "accept",
    "site-packages/uvicorn/": "accept",
}
_counts: Counter[str] = Counter()


def stage_of(frame: FrameType | None) -> str:
    """What the interrupted code was working for."""
    while frame is not None:
        name = frame.f_code.co_filename
        at = max(name.rfind("carillon/"), name.rfind("site-packages/"))
        if at >= 0:
            place = name[at:].removesuffix(".py")
            for room, stage in _ROOMS.items():
                if place.startswith(room):
                    return stage
        frame = frame.f_back
    return SHARED


def shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Parts of one; without a look nobody's."""
    total = sum(counts.values())
    return {stage: count / total for stage, count in counts.items()} if total else {SHARED: 1.0}


def _watch(folder: Path) -> None:
    def look(_signal: int, frame: FrameType | None) -> None:
        _counts[stage_of(frame)] += 1

    def tell(_signal: int, _frame: FrameType | None) -> None:
        draft = folder / f"{os.getpid()}.draft"
        draft.write_text(json.dumps(_counts))
        draft.rename(folder / f"{os.getpid()}.json")
        _counts.clear()

    signal.signal(signal.SIGPROF, look)
    signal.signal(signal.SIGUSR2, tell)
    signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS, EVERY_SECONDS)


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
    sys.argv = ["carillon", *sys.argv[2:]]
    main()
