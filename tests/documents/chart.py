"""The Helm chart, rendered by Helm's own library."""

import shutil
from pathlib import Path
from typing import Any

import helm_python
import yaml  # type: ignore[import-untyped]

from tests.documents.reading import ROOT

CHART = ROOT / "deploy/helm/carillon"
RELEASE = "bells"
EVERYTHING: dict[str, Any] = {
    "mailFrom": "Ada <ada@example.com>",
    "keda": {"enabled": True},
    "services": {"push_worker": {"enabled": True}},
    "trustedProxies": "10.0.0.0/8",
    "networkPolicy": {"traces": {"ports": [4318]}},
}
Manifest = dict[str, Any]


def rendered(values: dict[str, Any], folder: Path = CHART) -> list[Manifest]:
    """Every manifest. Raises `helm_python.HelmError` for values or templates that Helm refuses."""
    with helm_python.Chart.load(str(folder)) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name=RELEASE, namespace="ringing")
    return [
        found for name, text in files.items() if name.endswith(".yaml") for found in yaml.safe_load_all(text) if found
    ]


def broken(folder: Path, file: str, old: str, new: str) -> Path:
    """A copy of the chart with one text replaced wherever it stands."""
    shutil.copytree(CHART, folder)
    path = folder / file
    text = path.read_text()
    assert old in text, f"{file} has no {old!r}"
    path.write_text(text.replace(old, new))
    return folder


def of_kind(kind: str, manifests: list[Manifest]) -> dict[str, Manifest]:
    """By the service they are of."""
    return {
        found["metadata"]["labels"]["app.kubernetes.io/component"].replace("-", "_"): found
        for found in manifests
        if found["kind"] == kind
    }


def pod_of(workload: Manifest) -> Manifest:
    found: Manifest = workload["spec"]["template"]["spec"]
    return found


def variables(workload: Manifest) -> dict[str, str]:
    """What the one container is told; a stand-in for what comes out of the Secret."""
    stand_ins = {
        "broker-url": "amqp://user:secret@rabbitmq/",
        "redis-url": "redis://redis/0",
        "smtp-url": "smtp://mail.example.com:587?tls=starttls",
    }
    [container] = pod_of(workload)["containers"]
    found = {}
    for variable in container["env"]:
        key = variable.get("valueFrom", {}).get("secretKeyRef", {}).get("key", "")
        given = stand_ins.get(key, f"postgresql://{key.removesuffix('-database-url').replace('-', '_')}:secret@host/db")
        found[variable["name"]] = str(given if key else variable["value"])
    return found
