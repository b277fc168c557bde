"""`python -m tests.chaos --seeds 1..20 --count 1000 --broker rabbitmq`: seed by seed; what is done is skipped."""

import argparse
import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.chaos.run import Outcome, Trial, run
from tests.chaos.world import Servers
from tests.support.servers import postgres_server, rabbitmq_server, redis_server

RESULTS = Path(".carillon-chaos") / "results.jsonl"


def main() -> int:
    """The exit code is 1 where a seed failed, this time or before."""
    arguments = _arguments()
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    seeds = _seeds(arguments.seeds)
    for broker in ("rabbitmq", "embedded") if arguments.broker == "both" else (arguments.broker,):
        done = _done(arguments.results, broker, arguments.count)
        left = [seed for seed in seeds if seed not in done]
        if left:
            _run(left, broker, arguments.count, arguments.results)
    return _summary(arguments.results, seeds, arguments.count)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", default="1..20", help="as in 1..20, or 3,5,8")
    parser.add_argument("--count", type=int, default=1000, help="notifications a seed")
    parser.add_argument("--broker", choices=("rabbitmq", "embedded", "both"), default="both")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where each seed's result is appended")
    return parser.parse_args()


def _seeds(text: str) -> list[int]:
    first, dots, last = text.partition("..")
    return [*range(int(first), int(last) + 1)] if dots else [int(part) for part in text.split(",")]


def _lines(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def _done(results: Path, broker: str, count: int) -> set[int]:
    return {line["seed"] for line in _lines(results) if (line["broker"], line["count"]) == (broker, count)}


def _run(seeds: Sequence[int], broker: str, count: int, results: Path) -> None:
    """Servers of our own for all of them; a new world for each."""
    with contextlib.ExitStack() as stack:
        rabbitmq = stack.enter_context(rabbitmq_server()) if broker == "rabbitmq" else None
        servers = Servers(stack.enter_context(postgres_server()), stack.enter_context(redis_server()), rabbitmq)
        for seed in seeds:
            folder = Path(tempfile.mkdtemp(prefix="carillon-chaos-"))
            outcome = asyncio.run(run(Trial(seed, count), servers, folder))
            line = told(outcome, seed=seed, broker=broker, count=count)
            with results.open("a") as file:
                file.write(json.dumps(line) + "\n")
            _say(line)
            if outcome.verdict.passed:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                _say({"seed": seed, "kept": str(folder)})


def told(outcome: Outcome, **of: Any) -> dict[str, Any]:
    """A line of the results."""
    verdict = outcome.verdict
    return {
        **of,
        "passed": verdict.passed,
        "seconds": round(outcome.seconds, 1),
        "duplicates": sum(verdict.explained.values()),
        **asdict(verdict),
        "harms": [harm.name for harm in outcome.harms],
    }


def _summary(results: Path, seeds: Sequence[int], count: int) -> int:
    lines = [line for line in _lines(results) if line["count"] == count and line["seed"] in seeds]
    for broker in sorted({line["broker"] for line in lines}):
        ours = [line for line in lines if line["broker"] == broker]
        lists = ("unanswered", "lost", "stuck", "wrong", "unexplained")
        _say(
            {
                "broker": broker,
                "seeds": len(ours),
                **{name: sum(line[name] for line in ours) for name in ("accepted", "delivered", "deliverable")},
                **{name: sum(len(line[name]) for line in ours) for name in lists},
                "duplicates": sum(line["duplicates"] for line in ours),
                "faults": sum(len(line["harms"]) for line in ours),
            }
        )
    return 0 if all(line["passed"] for line in lines) else 1


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
