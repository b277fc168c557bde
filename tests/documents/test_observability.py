"""The alert rules do what their tests say, the dashboard's expressions are PromQL, and breaking either is noticed."""

import itertools
import json
import shutil
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from tests.support import observing, promql
from tests.support.observing import ALERTS, ALERTS_TEST, DASHBOARD
from tests.support.promtool import promtool

pytestmark = pytest.mark.timeout(300)  # the first run fetches the package


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A copy that may be broken."""
    for file in (ALERTS, ALERTS_TEST):
        shutil.copy(file, tmp_path)
    return tmp_path / ALERTS.name


def judged(rules: Path) -> tuple[int, str]:
    done = promtool("test", "rules", ALERTS_TEST.name, folder=rules.parent)
    return done.returncode, done.stdout


def test_every_alert_fires_on_what_it_is_for_and_sleeps_on_a_good_day(rules: Path) -> None:
    assert judged(rules)[0] == 0, judged(rules)[1]


def test_every_alert_is_seen_firing_by_a_test_and_tells_what_to_do() -> None:
    expected = {
        alert["alertname"]
        for test in yaml.safe_load(ALERTS_TEST.read_text())["tests"]
        for alert in test.get("alert_rule_test", ())
        if alert["exp_alerts"]
    }
    expected |= {
        name
        for test in yaml.safe_load(ALERTS_TEST.read_text())["tests"]
        for check in test.get("promql_expr_test", ())
        for sample in check["exp_samples"]
        for one in promql.selectors("ALERTS" + sample["labels"])
        for label, _, name in one.matchers
        if label == "alertname"
    }
    alerts = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]

    assert {rule["alert"] for rule in alerts} == expected
    for rule in alerts:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
        assert len(rule["annotations"]["runbook"]) > 40


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("carillon_provider_breaker) == 2", "carillon_provider_breaker) == 1"),
        ("carillon_outbox_oldest_seconds) > 60", "carillon_outbox_age) > 60"),
        ("unless on (queue)", "and on (queue)"),
        ("histogram_quantile(0.99,", "histogram_quantile(0.99"),
    ],
)
def test_alerts_that_are_broken_on_purpose_are_found_out(rules: Path, right: str, wrong: str) -> None:
    text = rules.read_text()
    assert right in text
    rules.write_text(text.replace(right, wrong))

    assert judged(rules)[0] != 0


def test_every_expression_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    expressions = observing.of_dashboard(DASHBOARD.read_text())
    (tmp_path / "panels.yml").write_text(observing.as_rules(expressions))

    done = promtool("check", "rules", "panels.yml", folder=tmp_path)

    assert done.returncode == 0, done.stdout
    assert f"{len(expressions)} rules found" in done.stdout


def test_a_broken_expression_of_the_dashboard_is_found_out(tmp_path: Path) -> None:
    broken = DASHBOARD.read_text().replace("sum by (service) (rate(", "sum by (service (rate(", 1)
    (tmp_path / "panels.yml").write_text(observing.as_rules(observing.of_dashboard(broken)))

    assert promtool("check", "rules", "panels.yml", folder=tmp_path).returncode != 0


def test_the_dashboard_is_laid_out_as_grafana_reads_it() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = list(observing.panels())
    titles = [panel["title"] for panel in panels if panel["type"] == "row"]

    assert dashboard["schemaVersion"] >= 36
    assert titles == ["What callers see", "Queues and lanes", "Delivery", "Providers", "Caches", "Processes"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    assert not [(a["title"], b["title"]) for a, b in itertools.combinations(panels, 2) if _overlap(a, b)]


def _overlap(one: dict[str, dict[str, int]], other: dict[str, dict[str, int]]) -> bool:
    a, b = one["gridPos"], other["gridPos"]
    beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
    return not (beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"])
