"""What a PromQL expression names: its metrics, their matchers, and the labels that it groups and matches by."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"\b(up|ALERTS|(?:carillon|process|python)_\w+)\s*(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_OF_THE_SCRAPE = {"job", "instance"}
_OF_PROMETHEUS = {
    "up": set[str](),
    "ALERTS": {"alertname", "alertstate"},
    "process_cpu_seconds_total": set[str](),
    "process_resident_memory_bytes": set[str](),
}


@dataclass(frozen=True, slots=True)
class Selector:
    metric: str
    matchers: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Exposed:
    """What a running Carillon tells: `labels` of each metric by its name in expressions, `values` met of each label."""

    labels: Mapping[str, set[str]]
    values: Mapping[tuple[str, str], set[str]]


def selectors(expression: str) -> list[Selector]:
    return [
        Selector(metric, tuple(_MATCHER.findall(matchers or "")))
        for metric, matchers in _SELECTOR.findall(_without_braces_in_strings(expression))
    ]


def grouped_by(expression: str) -> set[str]:
    bare = _STRING.sub('""', expression)
    return {label.strip() for group in _GROUPING.findall(bare) for label in group.split(",") if label.strip()}


def exposed(scrapes: Iterable[str], declared: Mapping[str, set[str]]) -> Exposed:
    """Of the text of several `/metrics`. What is exposed without a sample yet has the labels that are `declared`."""
    labels: dict[str, set[str]] = {}
    values: dict[tuple[str, str], set[str]] = {}
    for text in scrapes:
        for family in text_string_to_metric_families(text):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels.setdefault(name, set(declared.get(name, ())))
            for sample in family.samples:
                labels.setdefault(sample.name, set()).update(sample.labels)
                for label, value in sample.labels.items():
                    values.setdefault((sample.name, label), set()).add(value)
    return Exposed(labels, values)


def problems(expression: str, legend: str, known: Exposed, *, rare: Sequence[tuple[str, str]] = ()) -> list[str]:
    """What the expression names and nobody exposes. `rare`: metric and label whose values need not have been met."""
    found: list[str] = []
    labels: set[str] = set(_OF_THE_SCRAPE)
    for selector in selectors(expression):
        own = _OF_PROMETHEUS.get(selector.metric, known.labels.get(selector.metric))
        if own is None or (selector.metric.startswith("process_") and selector.metric not in known.labels):
            found.append(f"no metric {selector.metric}")
            continue
        labels |= own
        for label, sign, value in selector.matchers:
            met = known.values.get((selector.metric, label))
            if label not in own | _OF_THE_SCRAPE:
                found.append(f"no label {label} of {selector.metric}")
            elif met is not None and (selector.metric, label) not in rare and not _matches(sign, value, met):
                found.append(f"nothing matches {selector.metric}{{{label}{sign}{value}}}: there are {sorted(met)}")
    named = grouped_by(expression) | set(_LEGEND.findall(legend))
    return found + [f"no label {label} to group or to show by" for label in sorted(named - labels)]


def _matches(sign: str, value: str, met: set[str]) -> bool:
    pattern = value.replace("\\\\", "\\") if sign.endswith("~") else re.escape(value)
    if value.startswith("$"):
        return True
    hits = {one for one in met if re.fullmatch(pattern, one)}
    return bool(met - hits if sign.startswith("!") else hits)


def _without_braces_in_strings(expression: str) -> str:
    """A regular expression in a matcher may hold a brace."""
    return _STRING.sub(lambda found: found[0].replace("{", "").replace("}", ""), expression)
