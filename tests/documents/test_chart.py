"""The Helm chart renders to manifests that Kubernetes takes, which say what the code and the diagram say."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from carillon.cli import app
from carillon.contracts.channels import CHANNELS, LANES, queue_of
from carillon.kit.settings import Settings, load, variable
from carillon.process_settings import ProcessSettings
from carillon.services import SERVICES
from carillon.settings_table import rows
from tests.documents.chart import EVERYTHING, Manifest, broken, of_kind, pod_of, rendered, variables
from tests.documents.reading import ROOT

_APIS = ("gateway", "users", "templates")
_SCALED: dict[str, Any] = {"maxReplicaCount": int, "minReplicaCount": int, "scaleTargetRef": dict, "triggers": list}


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return rendered(EVERYTHING)


def problems(found: list[Manifest], version: str) -> Iterator[str]:
    for manifest in found:
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        if manifest["kind"] == "ScaledObject":  # not Kubernetes' own
            if {key: type(value) for key, value in manifest["spec"].items()} != _SCALED:
                yield name
            continue
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{name}: {error.message}"


@pytest.mark.parametrize("version", ["1.27", kubernetes_validate.latest_version()])
def test_kubernetes_takes_every_manifest(manifests: list[Manifest], version: str) -> None:
    assert len(manifests) == 5 * 4 + 1 + 1 + 1 + 5, "four of each service, scaled, and the job, its policy, the ingress"

    assert list(problems(manifests, version)) == []


def test_it_needs_nothing_but_whom_mails_are_from() -> None:
    least = rendered({"mailFrom": "ada@example.com"})

    assert list(problems(least, "1.27")) == []
    assert set(of_kind("Deployment", least)) == set(SERVICES) - {"push_worker"}
    with pytest.raises(helm_python.HelmError, match="mailFrom is required"):
        rendered({})


@pytest.mark.parametrize(
    "values",
    [
        {"services": {"gateway": {"replicas": "two"}}},
        {"services": {"sms_worker": {"enabled": True, "replicas": 1}}},
        {"registration": "perhaps"},
        {"publicUrl": "carillon.example.com"},
        {"env": {"lower-case": "x"}},
        {"ingres": {"enabled": False}},
    ],
)
def test_values_that_mean_nothing_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(helm_python.HelmError):
        rendered({"mailFrom": "ada@example.com", **values})


def test_each_process_is_told_settings_that_exist_and_all_that_it_needs(manifests: list[Manifest]) -> None:
    kinds: list[type[Settings]] = [ProcessSettings, *(entry.settings for entry in SERVICES.values())]
    known = {found.name for _, found in rows()}
    known |= {variable("", field) for kind in kinds for field in kind.__struct_fields__}
    deployments = of_kind("Deployment", manifests)
    assert set(deployments) == set(SERVICES)

    for name, deployment in deployments.items():
        told = variables(deployment)
        settings = load(SERVICES[name].settings, name, told)

        assert told.keys() - known == set()
        assert getattr(settings, "database_url") == f"postgresql://{name}:secret@host/db"  # noqa: B009
        assert load(ProcessSettings, name, told).host == "0.0.0.0"
        assert [
            one
            for one in told
            if one.removeprefix("CARILLON_").startswith(tuple(f"{s.upper()}_DATABASE" for s in SERVICES))
        ] == [f"CARILLON_{name.upper()}_DATABASE_URL"]
    for name, entry in SERVICES.items():
        load(entry.settings, name, variables(of_kind("Job", manifests)["migrate"]))


def test_a_process_runs_its_command_without_rights_and_sees_no_other_s_token(manifests: list[Manifest]) -> None:
    workloads = of_kind("Deployment", manifests) | of_kind("Job", manifests)
    assert {"run", "migrate"} <= set(app)

    for name, workload in workloads.items():
        pod = pod_of(workload)
        [container] = pod["containers"]
        assert container["command"] == (["carillon", "migrate"] if name == "migrate" else ["carillon", "run", name])
        assert (pod["enableServiceLinks"], pod["automountServiceAccountToken"]) == (False, False)
        assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001)
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        state = [mount for mount in container["volumeMounts"] if mount["name"] == "state"]
        if name not in {"migrate", "users"}:
            assert [(mount.get("subPath"), mount["readOnly"]) for mount in state] == [(f"tokens/{name}.token", True)]


def test_the_image_of_the_dockerfile_is_the_one_the_pods_expect() -> None:
    text = (ROOT / "deploy/Dockerfile").read_text()

    assert "10001" in text
    assert "/var/lib/carillon" in text


def test_whoever_selects_pods_selects_those_of_one_service(manifests: list[Manifest]) -> None:
    labels = {
        name: found["spec"]["template"]["metadata"]["labels"]
        for name, found in of_kind("Deployment", manifests).items()
    }

    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
        for name, found in of_kind(kind, manifests).items():
            if name != "migrate":
                assert chosen(found, labels) == {name}, kind
    for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        for name, found in of_kind(kind, manifests).items():
            target = found["spec"]["scaleTargetRef"]["name"]
            assert target == of_kind("Deployment", manifests)[name]["metadata"]["name"]
            assert "replicas" not in of_kind("Deployment", manifests)[name]["spec"], "two that set one number"
    assert set(of_kind("HorizontalPodAutoscaler", manifests)) == set(_APIS)


def chosen(found: Manifest, labels: dict[str, dict[str, str]]) -> set[str]:
    spec = found["spec"]
    selector = spec.get("podSelector") or spec["selector"]
    wanted = selector.get("matchLabels", selector).items()
    return {name for name, carried in labels.items() if wanted <= carried.items()}


def test_workers_scale_by_the_queues_that_there_are(manifests: list[Manifest]) -> None:
    for channel in CHANNELS:
        triggers = of_kind("ScaledObject", manifests)[f"{channel}_worker"]["spec"]["triggers"]

        assert {one["metadata"]["queueName"] for one in triggers} == {queue_of(channel, lane) for lane in LANES}
        assert {one["metadata"]["hostFromEnv"] for one in triggers} == {"CARILLON_BROKER_URL"}


def test_a_path_goes_to_the_service_that_owns_it(manifests: list[Manifest]) -> None:
    [ingress] = [found for found in manifests if found["kind"] == "Ingress"]
    [rule] = ingress["spec"]["rules"]
    routed = {one["path"]: one["backend"]["service"]["name"].removeprefix("bells-") for one in rule["http"]["paths"]}

    deployed = of_kind("Deployment", manifests)
    for path, owner in [(path, name) for name in _APIS for path in paths_of(name, variables(deployed[name]))]:
        for asked in {path, path.removeprefix("/api")}:
            longest = max((known for known in routed if f"{asked}/".startswith(f"{known}/")), key=len, default="")
            assert routed.get(longest) == owner, asked


def paths_of(name: str, told: dict[str, str]) -> Sequence[str]:
    entry = SERVICES[name]
    return entry.build(load(entry.settings, name, told)).paths


def test_only_the_arrows_of_the_diagram_are_allowed(manifests: list[Manifest]) -> None:
    assert allowed_calls(manifests) == drawn_calls()


def drawn_calls() -> set[tuple[str, str]]:
    """The solid arrows of the document's first diagram; `workers` are both."""
    text = (ROOT / "docs/architecture.md").read_text()
    arrows = re.findall(r"^    (\w+) -->\|[^|]*\| ([\w()\[\]]+)$", text.partition("## The way of")[0], re.MULTILINE)
    both = {"workers": ["email_worker", "push_worker"]}
    pairs = {
        (a, b) for caller, called in arrows for a in both.get(caller, [caller]) for b in both.get(called, [called])
    }
    return {(caller, called) for caller, called in pairs if {caller, called} <= set(SERVICES)}


def allowed_calls(manifests: list[Manifest]) -> set[tuple[str, str]]:
    """What both sides allow: the caller's way out and the called one's way in."""
    policies = of_kind("NetworkPolicy", manifests)
    outward = {
        (name, to) for name, found in policies.items() for rule in found["spec"]["egress"] for to in peers(rule, "to")
    }
    inward = {
        (caller, name)
        for name, found in policies.items()
        for rule in found["spec"]["ingress"]
        for caller in peers(rule, "from")
    }
    assert outward == inward
    return outward


def peers(rule: dict[str, Any], side: str) -> list[str]:
    selected = [peer["podSelector"]["matchLabels"] for peer in rule.get(side, []) if "podSelector" in peer]
    return [labels["app.kubernetes.io/component"].replace("-", "_") for labels in selected]


def test_workers_have_no_callers_but_who_watches_them(manifests: list[Manifest]) -> None:
    for name in ("email_worker", "push_worker"):
        [rule] = of_kind("NetworkPolicy", manifests)[name]["spec"]["ingress"]
        assert ["namespaceSelector" in peer for peer in rule["from"]] == [True]


@pytest.mark.parametrize(
    ("kind", "file", "old", "new"),
    [
        ("Deployment", "templates/deployments.yaml", "containerPort: 8000", "containerPort: eight"),
        ("Deployment", "templates/deployments.yaml", "readinessProbe:", "readynessProbe:"),
        ("PodDisruptionBudget", "templates/services.yaml", "maxUnavailable: 1", "maxUnavailable: [1]"),
        ("NetworkPolicy", "templates/network.yaml", "policyTypes: [Ingress, Egress]", "policyTypes: Ingress"),
        ("ScaledObject", "templates/scaling.yaml", "minReplicaCount:", "minReplicas:"),
    ],
)
def test_a_chart_that_is_broken_on_purpose_is_told(tmp_path: Path, kind: str, file: str, old: str, new: str) -> None:
    whole = rendered(EVERYTHING, broken(tmp_path / "chart", file, old, new))

    found = [one for one in whole if one["kind"] == kind]

    assert next(problems(found, "1.27"), None)


def test_an_arrow_too_many_is_told(tmp_path: Path) -> None:
    folder = broken(tmp_path / "chart", "templates/_helpers.tpl", "users: [gateway]\n", "users: [gateway, templates]\n")

    assert allowed_calls(rendered(EVERYTHING, folder)) != drawn_calls()
