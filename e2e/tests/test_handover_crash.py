"""The operator is killed at each write of the bootstrap and of the adoption by Git: the result is the same as without kills."""

from __future__ import annotations

import time

import pytest
import yaml

from fleet.manifests import cluster, flux, secret
from fleet.environment import environment, until
from handover import (
    ADOPTION_LABEL,
    FLUX,
    KUSTOMIZATION,
    NEWER,
    PRUNE_ANNOTATION,
    RETAINED_FIELDS,
    SOURCE,
    components,
    object_key,
    owned_fields,
    repository_files,
    sync,
)
from handover.killing import killer

PATH = "clusters/crash"
# Only the two controllers that need each other: fewer CRDs, the same writes.
CONTROLLERS = ("source-controller", "kustomize-controller")
OTHERS = ("helm-controller", "notification-controller", "webhook-receiver")


def installed() -> list[dict]:
    """The objects of these two controllers."""
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
    """A cluster whose control plane is ready and whose spec now asks for an agent: only the bootstrap remains."""
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
    """Flux is installed and has applied the repository."""
    return bool(api.find("v1", "ConfigMap", "greeting"))


def test_bootstrap_succeeds_when_killed_at_each_write(on, ready_to_install):
    api = on.cloud.workload.api
    start = time.monotonic()
    with killer(on) as operator_killer:
        points = operator_killer.run(on, lambda: applied(api))
    print(f"bootstrap: {len(points)} kill points in {time.monotonic() - start:.0f} s: {points}")
    kinds = {point.split()[1] for point in points}
    assert {"Namespace", "CustomResourceDefinition", "GitRepository", "Kustomization"} <= kinds
    # These two are written concurrently.
    assert kinds & {"Secret", "ConfigMap"}
    with on.operator("--drift-interval=2s"):
        on.ready(ready_to_install)
        for item in installed():
            found = api.get(*object_key(item))
            assert found["metadata"]["annotations"][PRUNE_ANNOTATION] == "disabled", object_key(item)
            assert "metadata.labels.app.kubernetes.io/version" in owned_fields(found), object_key(item)
        assert api.get("v1", "ConfigMap", "greeting")["data"]["of"] == "crash"
        status = on.status(ready_to_install)["gitops"]
        assert (status["adopted"], status["version"]) == (False, NEWER)
    assert [one["metadata"]["name"] for one in api.list(*SOURCE)] == [FLUX]
    assert [one["metadata"]["name"] for one in api.list(*KUSTOMIZATION)] == [FLUX]


def test_all_fields_are_released_when_killed_at_each_write_of_the_handover(on, ready_to_install):
    api = on.cloud.workload.api
    repository = ready_to_install["repository"]
    synced = sync(repository.url, PATH)
    synced[1]["spec"]["postBuild"] = {
        "substituteFrom": [{"kind": "ConfigMap", "name": "keelson-cluster-facts"}]
    }
    # While no operator runs: then it only has to release its fields.
    revision = repository.commit(repository_files(PATH, installed(), synced))

    def adopted() -> bool:
        root = api.get(*KUSTOMIZATION, FLUX, FLUX)
        return root["status"].get("lastAppliedRevision", "").endswith(revision)

    until(adopted, 40, "the adoption")
    adopted_keys = [object_key(item) for item in [*installed(), *synced]]

    def all_released() -> bool:
        return not any(owned_fields(api.get(*key)) - RETAINED_FIELDS for key in adopted_keys)

    assert not all_released()
    with killer(on) as operator_killer:
        points = operator_killer.run(on, all_released)
    print(f"hand-over: {len(points)} kill points: {points}")
    assert len(points) >= 3
    for key in adopted_keys:
        metadata = api.get(*key)["metadata"]
        assert metadata["labels"][ADOPTION_LABEL] == FLUX and metadata["annotations"][PRUNE_ANNOTATION] == "disabled", key
    with on.operator("--drift-interval=2s"):
        on.ready(ready_to_install)
        until(lambda: on.status(ready_to_install)["gitops"]["adopted"], 30, "status.gitops.adopted")
