"""The expressions of the alerts and of the dashboard, and the labels that the reference declares."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
ALERTS_TEST = ROOT / "deploy/prometheus/alerts_test.yml"
DASHBOARD = ROOT / "deploy/grafana/dashboard.json"
REFERENCE = ROOT / "docs/reference/metrics.md"
_ROW = re.compile(r"^\| `(carillon_\w+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)
_VARIABLES = {"$__rate_interval": "5m", "$service": ".*"}


@dataclass(frozen=True, slots=True)
class Expression:
    """`where` names the alert or the panel."""

    where: str
    text: str
    legend: str = ""


def of_alerts(text: str) -> list[Expression]:
    groups = yaml.safe_load(text)["groups"]
    return [Expression(rule["alert"], rule["expr"]) for group in groups for rule in group["rules"]]


def of_dashboard(text: str) -> list[Expression]:
    found = []
    for panel in json.loads(text)["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for variable, value in _VARIABLES.items():
                expression = expression.replace(variable, value)
            found.append(Expression(panel["title"], expression, target["legendFormat"]))
    return found


def as_rules(expressions: list[Expression]) -> str:
    """Expressions as recording rules, which is how promtool reads them."""
    rules = [{"record": f"panel:{number}", "expr": one.text} for number, one in enumerate(expressions)]
    made: str = yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]})
    return made


def declared() -> Mapping[str, set[str]]:
    """The labels of each metric in the reference, which is held against the code."""
    found: dict[str, set[str]] = {}
    for name, kind, labels in _ROW.findall(REFERENCE.read_text()):
        names = set(re.findall(r"`(\w+)`", labels))
        found[name] = names
        if kind == "histogram":
            found |= {f"{name}_{part}": names | ({"le"} if part == "bucket" else set()) for part in _PARTS}
    return found


_PARTS = ("bucket", "count", "sum")


def panels() -> Iterator[dict[str, Any]]:
    yield from json.loads(DASHBOARD.read_text())["panels"]
