"""The front door knows every path of the services, repeats only what is safe, and Prometheus knows every service."""

import re
from uuid import uuid4

import pytest
import yaml  # type: ignore[import-untyped]

from carillon.gateway.app import PATHS as GATEWAY
from carillon.services import SERVICES
from carillon.users.app import PATHS as USERS
from tests.documents import composition
from tests.documents.reading import ROOT

_DEPLOY = ROOT / "deploy"
_NGINX = (_DEPLOY / "proxy/nginx.conf").read_text()
_LOCATION = re.compile(r"location (?:~ )?(?P<path>\S+) \{(?P<body>[^}]*)\}")
_OWNERS = {path: name for name, paths in (("users", USERS), ("gateway", GATEWAY)) for path in paths}
_OWNERS["/api/v1/templates"] = "templates"
_OPERATIONS = re.findall(r"^\| `([A-Z]+) (/\S+)`", (ROOT / "docs/reference/http.md").read_text(), re.MULTILINE)


def astray(nginx: str) -> list[str]:
    """Paths that do not arrive at their service, with and without `/api`, with something behind and without."""
    return [
        path
        for prefix, owner in _OWNERS.items()
        for path in (prefix, f"{prefix}/x", prefix.removeprefix("/api"))
        if _answered_by(nginx, path) != owner
    ]


def _sent_twice(path: str) -> bool:
    """Whether a request whose replica died with it goes to another, its method whatever."""
    asked = path.replace("{user_id}", str(uuid4())).replace("{", "").replace("}", "")
    first = next(found for found in _LOCATION.finditer(_NGINX) if re.search(found["path"], asked))
    return "non_idempotent" in first["body"]


def _answered_by(nginx: str, path: str) -> str:
    for found in _LOCATION.finditer(nginx):
        if found["path"].startswith("^") and re.search(found["path"], path):
            target = re.search(r"proxy_pass http://(\w+);", found["body"])
            return target[1] if target else ""
    return ""


def test_every_path_arrives_at_its_service() -> None:
    assert astray(_NGINX) == []


@pytest.mark.parametrize("prefix", sorted(_OWNERS))
def test_a_path_that_is_taken_out_is_missed(prefix: str) -> None:
    name = prefix.rpartition("/")[2].replace(".", r"\.")

    assert prefix in astray(re.sub(rf"\b{re.escape(name)}\b|{re.escape(name)}", "gone", _NGINX))


def test_of_what_is_posted_only_what_a_request_id_makes_one_logins_and_look_ups_are_sent_twice() -> None:
    assert {path for method, path in _OPERATIONS if method == "POST" and _sent_twice(path)} == {
        "/api/v1/notifications",
        "/api/v1/notifications/batch",
        "/api/v1/auth/introspect",
        "/api/v1/auth/login",
        "/api/v1/users/contacts",
        "/api/v1/users/login",
    }


def test_every_part_that_is_changed_is_sent_twice() -> None:
    assert [path for method, path in _OPERATIONS if method == "PATCH" and not _sent_twice(path)] == []


@pytest.mark.parametrize("path", ["/metrics", "/health", "/ready", "/mailbox", "/api/v1/usersx"])
def test_what_is_nobody_else_s_business_is_not_shown(path: str) -> None:
    assert _answered_by(_NGINX, path) == ""


def test_the_door_s_port_is_the_one_that_is_published_and_that_services_ask() -> None:
    (published,) = composition.compose()["services"]["front_door"]["ports"]
    (port,) = re.findall(r"listen (\d+);", _NGINX)

    assert published.startswith("127.0.0.1:")
    assert published.endswith(f":{port}")
    for said in (composition.ours()[name] for name in SERVICES):
        assert composition.environment(said)["CARILLON_USERS_URL"] == f"http://front_door:{port}"


def test_no_service_that_is_to_be_scaled_publishes_a_port_or_has_a_name_of_its_own() -> None:
    fixed = [name for name in SERVICES if {"ports", "container_name", "hostname"} & set(composition.ours()[name])]

    assert fixed == []


def test_only_the_front_door_grafana_and_the_mail_catcher_are_published_and_on_loopback() -> None:
    published = {name: said["ports"] for name, said in composition.compose()["services"].items() if "ports" in said}

    assert set(published) == {"front_door", "grafana", "mail_catcher"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_prometheus_asks_every_replica_of_every_service_and_reads_the_rules() -> None:
    told = yaml.safe_load((_DEPLOY / "prometheus/prometheus.yml").read_text())
    asked = {job["job_name"]: job["dns_sd_configs"][0] for job in told["scrape_configs"]}

    assert {name: (said["names"], said["type"], said["port"]) for name, said in asked.items()} == {
        f"carillon-{name}": ([name], "A", 8000) for name in SERVICES
    }
    assert all((_DEPLOY / "prometheus" / name).is_file() for name in told["rule_files"])


def test_grafana_reads_the_prometheus_of_the_file_and_the_folder_that_holds_the_dashboard() -> None:
    source = yaml.safe_load((_DEPLOY / "grafana/datasource.yml").read_text())["datasources"][0]
    folder = yaml.safe_load((_DEPLOY / "grafana/dashboards.yml").read_text())["providers"][0]["options"]["path"]
    services = composition.compose()["services"]

    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services
    assert f"./grafana/dashboard.json:{folder}/carillon.json:ro" in services["grafana"]["volumes"]
