"""The example for Kubernetes: valid by Kubernetes' own schema, and true to the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from sqlalchemy import text

from service.jobs.states import JobState
from service.settings import Settings
from tests.contract.test_docker import COMPOSE, SERVICES, SETTINGS
from tests.service.conftest import world as world
from tests.service.world import World

PLACE = Path(__file__).parents[2] / "docs" / "kubernetes"
DOCUMENTS: list[dict[str, Any]] = [
    document for path in sorted(PLACE.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())
]
OLDEST, NEWEST = "1.29", "1.34"


def name_of(document: dict[str, Any]) -> str:
    return f"{document['kind']}-{document['metadata']['name']}"


def found(kind: str, name: str) -> dict[str, Any]:
    [document] = [d for d in DOCUMENTS if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    return document


PODS = [found("Deployment", name)["spec"]["template"]["spec"] for name in ("sosp-api", "sosp-worker")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_a_manifest_is_what_kubernetes_takes(document: dict[str, Any]) -> None:
    if document["apiVersion"].startswith("keda.sh/"):  # no part of Kubernetes: the test below is its own
        return
    for version in (OLDEST, NEWEST):
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("pod", PODS, ids=["api", "worker"])
def test_a_pod_is_confined_as_in_compose(pod: dict[str, Any]) -> None:
    [container] = pod["containers"]
    service = SERVICES[{"api": "api", "worker": "worker-cpu"}[container["name"]]]
    assert container["image"] == service["image"]
    user = pod["securityContext"]
    assert f"{user['runAsUser']}:{user['runAsGroup']}" == service["user"]
    assert user["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/data", "/tmp"}
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    referred = {next(iter(source.values()))["name"] for source in container["envFrom"]}
    assert referred == {"sosp"}
    probes = [container[name] for name in ("livenessProbe", "readinessProbe") if name in container]
    assert all("exec" in probe or probe["httpGet"]["path"] in {"/healthz", "/readyz"} for probe in probes)


def test_a_worker_has_the_time_compose_gives_it() -> None:
    grace = COMPOSE["services"]["worker-cpu"]["stop_grace_period"]
    assert grace == f"{PODS[1]['terminationGracePeriodSeconds']}s"


def test_only_settings_that_exist_are_set_and_they_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    told = found("ConfigMap", "sosp")["data"] | found("Secret", "sosp")["stringData"]
    assert {name for name in told if not name.startswith("KEDA_")} <= SETTINGS
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert Settings().require_keys
    used = set(re.findall(r"\bSOSP_[A-Z_]+\b", "".join(p.read_text() for p in PLACE.glob("*.yaml"))))
    assert used <= SETTINGS


def test_workers_are_scaled_by_a_query_that_counts_what_is_to_do(world: World) -> None:
    scaled = found("ScaledObject", "sosp-worker")["spec"]
    assert scaled["scaleTargetRef"]["name"] == found("Deployment", "sosp-worker")["metadata"]["name"]
    assert "replicas" not in found("Deployment", "sosp-worker")["spec"]
    assert scaled["minReplicaCount"] == 1, "somebody has to answer inspections, which are no rows"
    [trigger] = scaled["triggers"]
    authentication = found("TriggerAuthentication", trigger["authenticationRef"]["name"])
    [secret] = authentication["spec"]["secretTargetRef"]
    assert secret["key"] in found("Secret", secret["name"])["stringData"]

    def count() -> int:
        with world.parts.db.read() as session:
            return int(session.scalar(text(trigger["metadata"]["query"])) or 0)

    assert count() == 0
    waiting, running = world.submit(), world.submit()
    world.claim(running)
    assert count() == 2
    world.jobs.cancel(waiting)
    assert world.jobs.get(waiting).state is JobState.CANCELLED
    assert count() == 1
