"""deploy/flux, which the operator installs: a real API server accepts all of it, and the real controllers run with it.

One cluster gets each version in turn, the oldest first, as in an upgrade.
"""

from collections.abc import Iterator

import pytest

from keelson_harness.flux import FLUX_TOOLS, NAMESPACE, flux_runners
from keelson_harness.kubeapi import conditions, documents
from keelson_harness.kubelet import Kubelet
from keelson_harness.kubernetes import (
    BASE_CONTROLLERS,
    WORKLOAD_CONTROLLERS,
    ControlPlane,
    Etcd,
)
from keelson_harness.paths import CHECKOUT

VERSIONS = sorted(path.name for path in (CHECKOUT / "deploy" / "flux").iterdir() if path.is_dir())


def manifests(version: str) -> list[dict]:
    folder = CHECKOUT / "deploy" / "flux" / version
    return [item for path in sorted(folder.glob("*.yaml")) for item in documents(path)]


def object_key(item: dict) -> tuple:
    meta = item["metadata"]
    return item["apiVersion"], item["kind"], meta["name"], meta.get("namespace")


@pytest.fixture(scope="module")
def fresh(tools, tmp_path_factory) -> Iterator[ControlPlane]:
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
        yield plane
    finally:
        plane.stop()
        etcd.stop()


@pytest.fixture(scope="module", params=VERSIONS)
def version(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def installed(fresh, version) -> ControlPlane:
    fresh.api.apply_all(manifests(version))
    return fresh


def test_every_object_is_accepted_and_every_crd_established(installed, version):
    items = manifests(version)
    assert len(items) == 32
    for item in items:
        found = installed.api.get(*object_key(item))
        if item["kind"] == "CustomResourceDefinition":
            current = conditions(found)
            assert current["Established"]["status"] == "True"
            # A non-structural schema is served too, but without pruning.
            assert "NonStructuralSchema" not in current


def test_reapplying_changes_nothing(installed, version):
    def unchanged(item: dict) -> bool:
        before = installed.api.get(*object_key(item))["metadata"]
        installed.api.apply(item)
        after = installed.api.get(*object_key(item))["metadata"]
        return before.get("generation") == after.get("generation")

    assert [item["metadata"]["name"] for item in manifests(version) if not unchanged(item)] == []


def test_real_controllers_become_ready_with_the_shipped_roles(
    installed, tools, tmp_path_factory
):
    directory = tmp_path_factory.mktemp("kubelet")
    kubelet = Kubelet(installed, directory / "kubelet", flux_runners(tools, directory))
    kubelet.start()
    try:
        for name in FLUX_TOOLS:
            installed.api.wait_condition("apps/v1", "Deployment", name, "Available", NAMESPACE)
            assert "forbidden" not in (directory / f"{name}.log").read_text()
    finally:
        kubelet.stop()
