"""The table of metrics in the reference is what the code declares."""

from importlib import import_module

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from carillon.services import SERVICES
from tests.documents.generated import check_generated


def test_the_table_of_metrics_is_what_the_services_declare() -> None:
    for service in SERVICES:
        import_module(f"carillon.{service}.app")
    metrics = {
        family.name: (metric._labelnames, family)
        for metric in list(REGISTRY._collector_to_names)
        if isinstance(metric, MetricWrapperBase)
        for family in metric.describe()
        if family.name.startswith("carillon_")
    }
    lines = ["", "| metric | kind | labels | what it tells |", "| --- | --- | --- | --- |"]
    for name, (labels, family) in sorted(metrics.items()):
        shown = f"{name}_total" if family.type == "counter" else name
        said = ", ".join(f"`{label}`" for label in labels)
        lines.append(f"| `{shown}` | {family.type} | {said} | {family.documentation} |")
    check_generated("docs/reference/metrics.md", "\n".join([*lines, ""]))
