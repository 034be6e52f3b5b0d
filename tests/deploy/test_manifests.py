"""What compose.yaml, the Kubernetes manifests and the units promise: nothing published, nothing privileged."""

import ipaddress
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from db.api.http.server import _GRACE_S as GRACE_S
from db.api.settings import ApiSettings
from tests.deploy.docs import PROJECT
from worker.core.settings import WorkerSettings

DEPLOY = PROJECT / "deploy"
SERVICES: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
ON_A_GPU: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.gpu.yaml").read_text())["services"]
MANIFESTS = [
    document
    for path in sorted(DEPLOY.glob("k8s/**/*.yaml"))
    if path.name != "kustomization.yaml"
    for document in yaml.safe_load_all(path.read_text())
]
DASHBOARDS = sorted(DEPLOY.glob("grafana/dashboards/*.json"))
UNITS = sorted(DEPLOY.glob("systemd/*.service"))
#: Whatever runs roles.sql, or says how.
RUNS_ROLES = [DEPLOY / name for name in ("compose.yaml", "k8s/base/migrate.yaml", "RUNBOOK.md", "sql/roles.sql")]


def pods() -> list[Any]:
    """The pods of all manifests, each with its kind and name."""
    found = []
    for manifest in MANIFESTS:
        spec = manifest.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            found.append(pytest.param(template["spec"], id=f"{manifest['kind']} {manifest['metadata']['name']}"))
    return found


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_rights_but_limits(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert "privileged" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_published_to_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))
    assert SERVICES[name].get("network_mode") is None


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_takes_its_secrets_from_files(name: str) -> None:
    for key, value in SERVICES[name].get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|_URL(?!.*CONSOLE)", key) and key != "UNMASK_CONSOLE_URL":
            assert value.startswith("/run/secrets/"), f"{key} is in the open"


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if service["restart"] != "no"])
def test_a_service_that_stays_says_how_it_is(name: str) -> None:
    of_its_image = name in {"api", "console"}  # the Dockerfile's HEALTHCHECK
    assert of_its_image or SERVICES[name].get("healthcheck")


@pytest.mark.parametrize("changes", [{}, ON_A_GPU], ids=["cpu", "gpu"])
def test_every_image_of_ours_is_built_by_some_service(changes: dict[str, Any]) -> None:
    services = [service | changes.get(name, {}) for name, service in SERVICES.items()]
    built = {service["image"] for service in services if "build" in service}
    assert {service["image"] for service in services if service["image"].startswith("unmask-")} == built


def test_a_worker_of_many_messages_may_have_as_many_threads() -> None:
    threads = 4 * int(ON_A_GPU["worker"]["environment"]["UNMASK_CONCURRENCY"])
    assert ON_A_GPU["worker"]["pids_limit"] > threads
    (limit,) = re.findall(r"^TasksMax=(\d+)", (DEPLOY / "systemd" / "unmask-worker@.service").read_text(), re.MULTILINE)
    assert int(limit) > threads


@pytest.mark.parametrize("path", [DEPLOY / "README.md", DEPLOY / "RUNBOOK.md"], ids=lambda path: path.name)
def test_no_command_of_compose_passes_over_what_the_box_says_of_itself(path: Path) -> None:
    """With ``-f`` it would, and make a worker on a GPU one on CPUs."""
    assert re.findall(r"docker compose.* -f .*", path.read_text()) == []


def test_the_door_is_given_longer_to_stop_than_its_requests_take() -> None:
    assert int(SERVICES["api"]["stop_grace_period"].removesuffix("s")) > GRACE_S
    (door,) = [pod.values[0] for pod in pods() if pod.id == "Deployment api"]
    assert door["terminationGracePeriodSeconds"] > GRACE_S
    (limit,) = re.findall(r"TimeoutStopSec=(\d+)", (DEPLOY / "systemd" / "unmask-api.service").read_text())
    assert int(limit) > GRACE_S


def test_the_door_has_room_for_the_bodies_that_it_holds() -> None:
    bodies = ApiSettings.model_fields["api_max_body_bytes"].default
    (door,) = [pod.values[0] for pod in pods() if pod.id == "Deployment api"]
    (limit,) = re.findall(r"MemoryMax=(\w+)", (DEPLOY / "systemd" / "unmask-api.service").read_text())
    assert door["containers"][0]["resources"]["limits"]["memory"] == "1Gi"
    assert (SERVICES["api"]["mem_limit"], limit) == ("1g", "1G")
    assert bodies <= 2**30 / 3


def test_the_door_refuses_what_its_workers_would() -> None:
    """Both have the same hosts and folder."""
    for name in ("UNMASK_ALLOWED_HOSTS", "UNMASK_MEDIA_ROOT"):
        assert SERVICES["api"]["environment"][name] == SERVICES["worker"]["environment"][name]


def test_a_worker_is_given_longer_to_stop_than_it_takes() -> None:
    stop_s = WorkerSettings.model_fields["stop_s"].default
    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > stop_s
    (worker,) = [pod.values[0] for pod in pods() if pod.id == "Deployment worker"]
    assert worker["terminationGracePeriodSeconds"] > stop_s
    (limit,) = re.findall(r"TimeoutStopSec=(\d+)", (DEPLOY / "systemd" / "unmask-worker@.service").read_text())
    assert int(limit) > stop_s


@pytest.mark.parametrize("pod", pods())
def test_a_pod_is_restricted(pod: dict[str, Any]) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, "Restricted", and a little more."""
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
    assert not any("hostPath" in volume for volume in pod["volumes"])


def test_no_metadata_service_can_be_reached_for_photos() -> None:
    (policy,) = [found for found in MANIFESTS if found["metadata"]["name"] == "photos"]
    blocks = [peer["ipBlock"] for peer in policy["spec"]["egress"][0]["to"]]
    for address in (
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "fd00:ec2::254",
        "10.0.0.1",
    ):
        asked = ipaddress.ip_address(address)
        for block in blocks:
            allowed = asked in ipaddress.ip_network(block["cidr"])
            assert not allowed or any(asked in ipaddress.ip_network(part) for part in block["except"]), address


def test_every_pod_is_under_a_policy_that_lets_nothing_through() -> None:
    (policy,) = [found for found in MANIFESTS if found["metadata"]["name"] == "nothing"]
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_the_fleet_is_scaled_on_what_waits_and_on_what_is_in_hand() -> None:
    (scaled,) = [found for found in MANIFESTS if found["kind"] == "ScaledObject"]
    assert [trigger["type"] for trigger in scaled["spec"]["triggers"]] == ["postgresql"]
    assert scaled["spec"]["minReplicaCount"] >= 1
    behavior = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 300


def test_images_are_pinned() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += [container["image"] for pod in pods() for container in pod.values[0]["containers"]]
    for image in images:
        ours = image.startswith("unmask-")  # built here, or named by an overlay
        assert ours or re.fullmatch(r"[\w./-]+:v?\d[\w.-]*", image), image


@pytest.mark.parametrize("path", RUNS_ROLES, ids=lambda path: path.name)
def test_rights_are_taken_and_given_in_one_transaction(path: Path) -> None:
    """Else whoever works meanwhile has none for a moment."""
    runs = re.findall(r"psql[^`\n]*\n?[^`\n]*roles\.sql", path.read_text())
    assert runs
    assert all("--single-transaction" in run and "ON_ERROR_STOP=1" in run for run in runs)


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("requirements*.txt")), ids=lambda path: path.name)
def test_what_images_are_made_of_is_what_the_tests_ran_with(path: Path) -> None:
    tested = dict(re.findall(r"^([\w.-]+)==(\S+)", _lower((DEPLOY / "constraints.txt").read_text()), re.MULTILINE))
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+) \\", _lower(path.read_text()), re.MULTILINE))
    assert pinned
    assert {name: version for name, version in pinned.items() if tested.get(name, version) != version} == {}
    assert path.read_text().count("--hash=sha256:") >= len(pinned)


def test_the_console_is_made_without_torch_and_people_sign_in_to_it_by_openid() -> None:
    text = (DEPLOY / "requirements-console.txt").read_text()
    assert re.findall(r"^(torch|torchvision|timm|nvidia-\S+)==", text, re.MULTILINE) == []
    assert re.findall(r"^(authlib|requests)==", text, re.MULTILINE) == ["authlib", "requests"]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_is_hardened(path: Path) -> None:
    lines = path.read_text().splitlines()
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "CapabilityBoundingSet="):
        assert line in lines
    assert any(line.startswith("IPAddressDeny=169.254.0.0/16") for line in lines)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_asks_for_metrics_that_there_are(path: Path) -> None:
    asked = {name for panel in _panels(json.loads(path.read_text())) for name in _metrics(panel)}
    assert asked
    _known(asked)


def test_an_alert_asks_for_metrics_that_there_are() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())
    asked = {name for group in rules["groups"] for rule in group["rules"] for name in _names(rule["expr"])}
    _known(asked)


def _known(asked: set[str]) -> None:
    """All are in the list of those that a scraped worker has; a "record" rule is not a worker's."""
    listed = (PROJECT / "tests" / "integration" / "test_observed.py").read_text()
    for name in asked:
        family = re.sub(r"_(bucket|count|sum|total)$", "", name)
        assert f'"{family}":' in listed, f"nothing exposes {name}"


def _panels(dashboard: Any) -> list[Any]:
    return [panel for panel in dashboard["panels"] if "targets" in panel]


def _metrics(panel: Any) -> set[str]:
    return {name for target in panel["targets"] for name in _names(target["expr"])}


def _names(expression: str) -> set[str]:
    return set(re.findall(r"\bunmask_[a-z_]+", expression))


def _lower(text: str) -> str:
    return re.sub(r"^([\w.-]+)==", lambda found: found[0].lower().replace("_", "-"), text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "path", ["compose.yaml", "k8s/base/kustomization.yaml", "systemd/unmask-console.service"], ids=lambda path: path
)
def test_a_shipped_console_knows_the_proxy_in_front_of_it(path: str) -> None:
    """Otherwise all people behind it share one limit of wrong passwords, and a stranger locks everybody out."""
    assert re.search(r"UNMASK_CONSOLE_TRUSTED_PROXY[=:] ?\S", (DEPLOY / path).read_text())
