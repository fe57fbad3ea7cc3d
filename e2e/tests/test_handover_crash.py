"""The operator dies at each write of the bootstrap and of the hand-over, and it ends as if nothing had been."""

from __future__ import annotations

import time

import pytest
import yaml

from fleet.manifests import cluster, flux, secret
from fleet.environment import environment, until
from handover import (
    ADOPTED,
    FLUX,
    KEPT,
    KUSTOMIZATION,
    NEWER,
    PRUNE,
    SOURCE,
    components,
    files,
    ours,
    place,
    sync,
)
from handover.killing import killer

PATH = "clusters/crash"
# Of the agent those that can do nothing without each other: fewer definitions, the same writes.
CONTROLLERS = ("source-controller", "kustomize-controller")
OTHERS = ("helm-controller", "notification-controller", "webhook-receiver")


def installed() -> list[dict]:
    """What is installed of these two."""
    left_out = ("helm.toolkit.fluxcd.io", "notification.toolkit.fluxcd.io")
    return [
        item
        for item in components()
        if item["metadata"]["name"] not in OTHERS and item.get("spec", {}).get("group") not in left_out
    ]


@pytest.fixture(scope="module")
def on():
    with environment() as started:
        yield started


@pytest.fixture(scope="module")
def ready_to_install(on) -> dict:
    """A cluster whose control plane is there, and that is to have an agent now: what is left to do is the bootstrap."""
    repository = on.cloud.git.repository("crash")
    greeting = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "greeting", "namespace": "default"},
        "data": {"of": "${CLUSTER_NAME}"},
    }
    repository.commit({f"{PATH}/greeting.yaml": yaml.safe_dump(greeting)})
    gitops = flux(repository.url, PATH, interval="2s", secretRef={"name": "reader"})
    gitops["flux"] |= {"interval": "5s", "components": list(CONTROLLERS)}
    bare = cluster("crash", addons=[{"name": "vpc-cni"}])
    on.apply(bare, secret("reader", username="reader", password="of-the-crash-77d2"))
    with on.operator("--drift-interval=2s"):
        on.ready(bare)
    item = bare | {"spec": bare["spec"] | {"gitops": gitops}}
    on.apply(item)
    assert not on.cloud.workload.api.find("v1", "Namespace", FLUX, None)
    return item | {"repository": repository}


def applied(api) -> bool:
    """Flux has what it needs: it is all there, and it works."""
    return bool(api.find("v1", "ConfigMap", "greeting"))


def test_killed_at_each_write_of_the_bootstrap_it_comes_up_all_the_same(on, ready_to_install):
    api = on.cloud.workload.api
    began = time.monotonic()
    with killer(on) as killing:
        points = killing.run(on, lambda: applied(api))
    print(f"bootstrap: {len(points)} kill points in {time.monotonic() - began:.0f} s: {points}")
    kinds = {point.split()[1] for point in points}
    assert {"Namespace", "CustomResourceDefinition", "GitRepository", "Kustomization"} <= kinds
    # These two are written side by side.
    assert kinds & {"Secret", "ConfigMap"}
    with on.operator("--drift-interval=2s"):
        on.ready(ready_to_install)
        for item in installed():
            found = api.get(*place(item))
            assert found["metadata"]["annotations"][PRUNE] == "disabled", place(item)
            assert "metadata.labels.app.kubernetes.io/version" in ours(found), place(item)
        assert api.get("v1", "ConfigMap", "greeting")["data"]["of"] == "crash"
        status = on.status(ready_to_install)["gitops"]
        assert (status["adopted"], status["version"]) == (False, NEWER)
    assert [one["metadata"]["name"] for one in api.list(*SOURCE)] == [FLUX]
    assert [one["metadata"]["name"] for one in api.list(*KUSTOMIZATION)] == [FLUX]


def test_killed_at_each_write_of_the_hand_over_all_is_let_go_of(on, ready_to_install):
    api = on.cloud.workload.api
    repository = ready_to_install["repository"]
    synced = sync(repository.url, PATH)
    synced[1]["spec"]["postBuild"] = {
        "substituteFrom": [{"kind": "ConfigMap", "name": "keelson-cluster-facts"}]
    }
    # While no operator runs: all that it has to do is to let go.
    revision = repository.commit(files(PATH, installed(), synced))

    def adopted() -> bool:
        root = api.get(*KUSTOMIZATION, FLUX, FLUX)
        return root["status"].get("lastAppliedRevision", "").endswith(revision)

    until(adopted, 40, "the adoption")
    held = [place(item) for item in [*installed(), *synced]]

    def free() -> bool:
        return not any(ours(api.get(*key)) - KEPT for key in held)

    assert not free()
    with killer(on) as killing:
        points = killing.run(on, free)
    print(f"hand-over: {len(points)} kill points: {points}")
    assert len(points) >= 3
    for key in held:
        metadata = api.get(*key)["metadata"]
        assert metadata["labels"][ADOPTED] == FLUX and metadata["annotations"][PRUNE] == "disabled", key
    with on.operator("--drift-interval=2s"):
        on.ready(ready_to_install)
        until(lambda: on.status(ready_to_install)["gitops"]["adopted"], 30, "status.gitops.adopted")
