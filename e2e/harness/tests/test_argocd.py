"""deploy/argocd, which the operator installs: a real API server accepts all of it, and Argo CD's real components run with it.

The manifests are applied unchanged, into their own namespace. argocd-server and dex run no process: their pods only
report ready.
"""

import gzip
import json
from collections.abc import Iterator

import pytest

from keelson_harness.argocd import ARGOCD_TOOLS, NAMESPACE, argocd_runners
from keelson_harness.git import GitServer
from keelson_harness.kubelet import Kubelet
from keelson_harness.kubernetes import (
    BASE_CONTROLLERS,
    WORKLOAD_CONTROLLERS,
    ControlPlane,
    Etcd,
)
from keelson_harness.paths import CHECKOUT, tools as find_tools

MANIFESTS = CHECKOUT / "deploy" / "argocd" / "install.jsonl.gz"
API = "argoproj.io/v1alpha1"
CLUSTER_WIDE = ("CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding")


def manifests() -> list[dict]:
    items = [json.loads(line) for line in gzip.decompress(MANIFESTS.read_bytes()).splitlines()]
    for item in items:
        if item["kind"] not in CLUSTER_WIDE:
            item["metadata"]["namespace"] = NAMESPACE
    return items


@pytest.fixture(scope="module")
def installed(tools, tmp_path_factory) -> Iterator[ControlPlane]:
    """A cluster without CRDs of other tests."""
    directory = tmp_path_factory.mktemp("fresh")
    etcd = Etcd(tools["etcd"], directory / "etcd")
    plane = ControlPlane(
        "fresh", tools, directory / "fresh", None, BASE_CONTROLLERS + WORKLOAD_CONTROLLERS
    )
    try:
        etcd.wait_ready()
        plane.start_apiserver(etcd.url)
        plane.wait_apiserver()
        plane.start_controller_manager()
        plane.wait_controller_manager()
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        plane.api.apply_all([namespace, *manifests()])
        yield plane
    finally:
        plane.stop()
        etcd.stop()


@pytest.fixture(scope="module")
def running(installed, tmp_path_factory) -> Iterator[ControlPlane]:
    directory = tmp_path_factory.mktemp("argocd")
    kubelet = Kubelet(
        installed, directory / "kubelet", argocd_runners(installed, find_tools(*ARGOCD_TOOLS), directory)
    )
    kubelet.start()
    try:
        yield installed
    finally:
        kubelet.stop()


def test_every_component_becomes_ready_with_the_shipped_roles(running):
    for name in ("argocd-redis", "argocd-repo-server", "argocd-applicationset-controller"):
        running.api.wait_condition("apps/v1", "Deployment", name, "Available", NAMESPACE)
    running.api.wait(
        "apps/v1",
        "StatefulSet",
        "argocd-application-controller",
        lambda item: item["status"].get("readyReplicas") == 1,
        NAMESPACE,
    )


def test_commit_is_applied(running, tmp_path):
    git = GitServer(tmp_path)
    try:
        repository = git.repository("fleet")
        greeting = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "greeting"}}
        commit = repository.commit({"clusters/demo/greeting.yaml": json.dumps(greeting)})
        anything = {
            "sourceRepos": ["*"],
            "destinations": [{"server": "*", "namespace": "*"}],
            "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
        }
        here = {"server": "https://kubernetes.default.svc", "namespace": "default"}
        source = {
            "repoURL": repository.url,
            "path": "clusters/demo",
            "targetRevision": "refs/heads/main",
        }
        root = {"project": "default", "source": source, "destination": here}
        root["syncPolicy"] = {"automated": {"prune": True, "selfHeal": True}}
        running.api.apply_all(
            [
                item | {"apiVersion": API, "metadata": {"name": name, "namespace": NAMESPACE}}
                for name, item in {
                    "default": {"kind": "AppProject", "spec": anything},
                    "root": {"kind": "Application", "spec": root},
                }.items()
            ]
        )
        running.api.wait(
            API,
            "Application",
            "root",
            lambda item: (
                item.get("status", {}).get("sync", {}).get("status") == "Synced"
                and item["status"]["sync"]["revision"] == commit
            ),
            NAMESPACE,
        )
        assert running.api.get("v1", "ConfigMap", "greeting")
    finally:
        git.stop()
