"""Real Flux controllers, run by the simulated kubelet, apply a path of a real repository."""

import json
import time

import pytest

from keelson_harness.flux import NAMESPACE, flux_runners
from keelson_harness.git import GitServer
from keelson_harness.kubeapi import conditions, documents
from keelson_harness.kubelet import Kubelet
from keelson_harness.paths import DEPLOY

CONTROLLERS = ("source-controller", "kustomize-controller")
SOURCE = ("source.toolkit.fluxcd.io/v1", "GitRepository", "fleet", NAMESPACE)
SYNC = ("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "fleet", NAMESPACE)


def flux_manifests() -> list[dict]:
    """The manifests that the operator installs."""
    paths = sorted((DEPLOY / "flux" / "v2.9.5").glob("*.yaml"))
    return [item for path in paths for item in documents(path)]


def sync_manifests(url: str) -> list[dict]:
    return [
        {
            "apiVersion": SOURCE[0],
            "kind": SOURCE[1],
            "metadata": {"name": SOURCE[2], "namespace": NAMESPACE},
            "spec": {"url": url, "interval": "1m", "ref": {"branch": "main"}},
        },
        {
            "apiVersion": SYNC[0],
            "kind": SYNC[1],
            "metadata": {"name": SYNC[2], "namespace": NAMESPACE},
            "spec": {
                "interval": "10m",
                "path": "clusters/demo",
                "prune": True,
                "sourceRef": {"kind": SOURCE[1], "name": SOURCE[2]},
            },
        },
    ]


def greeting(text: str) -> dict[str, str]:
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "greeting", "namespace": "default"},
        "data": {"text": text},
    }
    return {"clusters/demo/greeting.yaml": json.dumps(manifest)}


@pytest.fixture(scope="module")
def git(tmp_path_factory):
    server = GitServer(tmp_path_factory.mktemp("git") / "git")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def flux(cluster, tools, tmp_path_factory):
    directory = tmp_path_factory.mktemp("flux")
    kubelet = Kubelet(cluster, directory / "kubelet", flux_runners(tools, directory))
    kubelet.start()
    cluster.api.apply_all(flux_manifests())
    for name in (*CONTROLLERS, "helm-controller", "notification-controller"):
        cluster.api.wait_condition("apps/v1", "Deployment", name, "Available", NAMESPACE)
    yield kubelet
    kubelet.stop()


def test_deployment_is_available_only_when_its_process_is_ready(cluster, flux):
    for name in CONTROLLERS:
        assert flux.process(name).alive
        deployment = cluster.api.get("apps/v1", "Deployment", name, NAMESPACE)
        assert deployment["status"]["readyReplicas"] == 1
        assert conditions(deployment)["Progressing"]["reason"] == "NewReplicaSetAvailable"


def test_path_of_a_repository_is_applied_and_synced(cluster, flux, git):
    fleet = git.repository("fleet")
    first = fleet.commit(greeting("hello"))
    cluster.api.apply_all(sync_manifests(fleet.url))
    synced = cluster.api.wait_condition(*SYNC[:3], "Ready", NAMESPACE, timeout=60)
    assert synced["status"]["lastAppliedRevision"] == f"main@sha1:{first}"
    assert cluster.api.get("v1", "ConfigMap", "greeting")["data"]["text"] == "hello"
    fleet.commit(greeting("hello again"))
    now = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": str(time.time())}}}
    cluster.api.patch(*SOURCE[:3], now, NAMESPACE)
    cluster.api.wait(
        "v1", "ConfigMap", "greeting", lambda c: c["data"]["text"] == "hello again", timeout=30
    )


def test_killed_controller_is_restarted(cluster, flux):
    killed = flux.process("kustomize-controller")
    killed.kill()
    cluster.api.wait(
        "apps/v1",
        "Deployment",
        "kustomize-controller",
        lambda d: not d["status"].get("readyReplicas"),
        NAMESPACE,
        what="its pod not ready",
    )
    cluster.api.wait_condition(
        "apps/v1", "Deployment", "kustomize-controller", "Available", NAMESPACE
    )
    assert flux.process("kustomize-controller").pid != killed.pid


def test_deleting_a_deployment_stops_its_process(cluster, flux):
    process = flux.process("source-controller")
    cluster.api.delete("apps/v1", "Deployment", "source-controller", NAMESPACE)
    deadline = time.monotonic() + 20
    while process.alive and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not process.alive
