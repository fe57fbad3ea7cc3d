"""Before a cluster is deleted, its Services of type LoadBalancer and its Ingresses are deleted first. With a real API server."""

from __future__ import annotations

import os
import threading
import time

import pytest

from fleet.account import fresh_account
from fleet.killing import killed_at
from fleet.leftovers import Network, leave
from fleet.manifests import cluster, key_of, node_group
from fleet.environment import Environment, actions, environment, stays, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import documents
from keelson_harness.paths import DEPLOY

FINALIZER = "test.keelson.dev/load-balancer"
KUSTOMIZE = "kustomize.toolkit.fluxcd.io/v1"


@pytest.fixture(scope="module")
def on():
    # This file deletes more than three clusters, with operators that share a Lease.
    os.environ["KEELSON_MAX_DELETIONS"] = "100"
    with environment(git=False, flux=False, durations=Durations(1, 1, 0.5, 0.5, 0.2, 0.5)) as started:
        # Only the CRDs of Flux, so that its objects can be stored.
        crds = [item for item in documents(DEPLOY / "flux" / "v2.9.5" / "kustomize-controller.yaml") if item["kind"] == "CustomResourceDefinition"]
        crds += [
            definition("gateway.networking.k8s.io", "gateways", "Gateway"),
            definition("karpenter.sh", "nodepools", "NodePool", namespaced=False),
            definition("karpenter.sh", "nodeclaims", "NodeClaim", namespaced=False),
            definition("argoproj.io", "applications", "Application", "v1alpha1"),
            definition("argoproj.io", "applicationsets", "ApplicationSet", "v1alpha1"),
        ]
        started.cloud.workload.api.apply_all(crds)
        yield started
    del os.environ["KEELSON_MAX_DELETIONS"]


def definition(group: str, plural: str, kind: str, version: str = "v1", namespaced: bool = True) -> dict:
    """A CRD without a schema: the controllers of these kinds do not run here."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    served = {"name": version, "served": True, "storage": True, "schema": schema}
    spec = {
        "group": group, "scope": "Namespaced" if namespaced else "Cluster", "versions": [served],
        "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
    }
    # The API server accepts a group of Kubernetes only with this.
    meta = {"name": f"{plural}.{group}", "annotations": {"api-approved.kubernetes.io": "unapproved, a test"}}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": meta, "spec": spec}


def custom(api_version: str, kind: str, name: str, spec: dict, *finalizers: str, namespace: str | None = "default") -> dict:
    meta = {"name": name, "finalizers": list(finalizers), **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, "spec": spec}


@pytest.fixture
def shop(on: Environment):
    """A ready cluster with a node group in its own account; the operator that created it is stopped."""
    account = on.account(fresh_account())
    name = f"shop-{account.id[-3:]}"
    items = (cluster(name), node_group(name))
    on.apply(*items)
    with on.operator(account=account.id):
        on.ready(*items)
    yield account, *items
    on.force_delete(*items)
    on.aws.reset_account(account.id)
    for kind in ("Service", "Ingress"):
        for one in load_balancer_objects(on, kind):
            remove_finalizers(on, one)
            on.cloud.workload.api.delete(*key_of(one))


def service(name: str, *finalizers: str, kind: str = "LoadBalancer") -> dict:
    meta = {"name": name, "namespace": "default", "finalizers": list(finalizers)}
    spec = {"type": kind, "ports": [{"port": 80}], "selector": {"app": name}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}


def ingress(name: str, *finalizers: str) -> dict:
    meta = {"name": name, "namespace": "default", "finalizers": list(finalizers)}
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta, "spec": {"defaultBackend": backend}}


def kustomization(name: str, **spec: object) -> dict:
    meta = {"name": name, "namespace": "default"}
    source = {"kind": "GitRepository", "name": name}
    spec = {"interval": "1m", "prune": True, "sourceRef": source, "path": "./", **spec}
    return {"apiVersion": KUSTOMIZE, "kind": "Kustomization", "metadata": meta, "spec": spec}


def load_balancer_objects(on: Environment, kind: str) -> list[dict]:
    """Services of type LoadBalancer, or all Ingresses."""
    version = "v1" if kind == "Service" else "networking.k8s.io/v1"
    found = on.cloud.workload.api.list(version, kind)
    return [{**one, "apiVersion": version, "kind": kind} for one in found if kind == "Ingress" or one["spec"]["type"] == "LoadBalancer"]


def remove_finalizers(on: Environment, item: dict) -> None:
    """Removes the finalizers, as its controller does once the load balancer is deleted."""
    on.cloud.workload.api.patch(*key_of(item)[:3], {"metadata": {"finalizers": None}}, "default")


def message(on: Environment, item: dict) -> str:
    return on.condition(item).get("message", "")


def delete_calls(on: Environment, mark: int, account) -> list[str]:
    found = actions(on.writes(mark, account.id))
    return [a for a in found if a.split(":")[1].startswith("Delete") and "DeleteTags" not in a]


def test_load_balancers_are_deleted_first_and_not_recreated(on, shop):
    account, item, nodes = shop
    api = on.cloud.workload.api
    api.apply_all([service("web", FINALIZER), service("inside", kind="ClusterIP"), ingress("site", FINALIZER), kustomization("apps")])
    mark = on.mark()
    for one in (nodes, item):
        on.api.delete(*key_of(one))
    with on.operator(account=account.id, env={"KEELSON_LOAD_BALANCER_TIMEOUT": "5m"}):
        until(lambda: "Service default/web, Ingress default/site" in message(on, item), 20, "the message")
        assert "load balancers of the workload are deleted first" in message(on, item)
        until(lambda: "load balancers of its cluster's workload are deleted first" in message(on, nodes), 10, "the message of the node group")
        assert api.get(KUSTOMIZE, "Kustomization", "apps", "default")["spec"]["suspend"] is True
        # Deleted, and kept by the finalizer of its controller.
        assert all(one["metadata"]["deletionTimestamp"] for kind in ("Service", "Ingress") for one in load_balancer_objects(on, kind))
        assert api.find("v1", "Service", "inside", "default")
        time.sleep(2)
        assert delete_calls(on, mark, account) == [], "nothing in AWS is deleted while the controllers are working"
        for kind in ("Service", "Ingress"):
            for one in load_balancer_objects(on, kind):
                remove_finalizers(on, one)
        for one in (nodes, item):
            on.api.wait_gone(*key_of(one), 60)
    assert delete_calls(on, mark, account)[0].startswith("eks:DeleteNodegroup")
    assert account.inventory() == {}


def test_stuck_load_balancer_is_reported_and_skipped_after_timeout(on, shop):
    account, item, nodes = shop
    on.cloud.workload.api.apply_all([service("stuck", FINALIZER)])
    for one in (nodes, item):
        on.api.delete(*key_of(one))
    start = time.monotonic()
    with on.operator(account=account.id, env={"KEELSON_LOAD_BALANCER_TIMEOUT": "6s"}):
        until(lambda: "Service default/stuck to be deleted; at " in message(on, item), 20, "the message")
        for one in (nodes, item):
            on.api.wait_gone(*key_of(one), 60)
    assert time.monotonic() - start > 6
    (note,) = [e["note"] for e in on.events(item) if "without waiting" in e["note"]]
    assert note.startswith("the deletion continues without waiting any longer for Service default/stuck to be deleted")
    assert account.inventory() == {}


def test_timeout_starts_again_after_a_hold_though_another_process_goes_on(on, shop):
    account, item, nodes = shop
    env = {"KEELSON_LOAD_BALANCER_TIMEOUT": "6s"}
    on.cloud.workload.api.apply_all([service("stuck", FINALIZER)])
    for one in (nodes, item):
        on.api.delete(*key_of(one))
    deletion = lambda: on.status(item).get("deletion", {})  # noqa: E731
    hold = lambda reason: on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {"hold.keelson.dev/freeze": reason}}})  # noqa: E731
    with on.operator(account=account.id, env=env):
        until(lambda: "Service default/stuck to be deleted; at " in message(on, item), 20, "the message")
        hold("year end")
        until(lambda: "heldAt" in deletion(), 20, "the hold in status")
    stays(lambda: "heldAt" in deletion(), 7, "longer than the timeout")
    hold(None)
    mark = on.mark()
    with on.operator(account=account.id, env=env):
        until(lambda: "resumedAt" in deletion() and "heldAt" not in deletion(), 20, "the end of the hold in status")
        until(lambda: "Service default/stuck to be deleted; at " in message(on, item), 20, "it waits again")
        assert delete_calls(on, mark, account) == [], "nothing is deleted before the timeout"
        for one in (nodes, item):
            on.api.wait_gone(*key_of(one), 60)
    assert account.inventory() == {}


def test_missing_control_plane_skips_load_balancer_cleanup(on, shop):
    account, item, nodes = shop
    on.cloud.workload.api.apply_all([service("stuck", FINALIZER)])
    name = item["metadata"]["name"]
    account.eks.delete_nodegroup(clusterName=name, nodegroupName=nodes["metadata"]["name"])
    until(lambda: not account.eks.list_nodegroups(clusterName=name)["nodegroups"], 10, "no node groups")
    account.eks.delete_cluster(name=name)
    for one in (nodes, item):
        on.api.delete(*key_of(one))
    with on.operator(account=account.id, env={"KEELSON_LOAD_BALANCER_TIMEOUT": "5m"}):
        for one in (nodes, item):
            on.api.wait_gone(*key_of(one), 60)
    (stuck,) = load_balancer_objects(on, "Service")
    assert "deletionTimestamp" not in stuck["metadata"]
    assert account.inventory() == {}


def test_retained_cluster_keeps_its_load_balancers(on, shop):
    account, item, nodes = shop
    on.cloud.workload.api.apply_all([service("kept")])
    on.api.patch(*key_of(item)[:3], {"spec": {"deletionPolicy": "Retain"}})
    mark = on.mark()
    for one in (nodes, item):
        on.api.delete(*key_of(one))
    with on.operator(account=account.id, env={"KEELSON_LOAD_BALANCER_TIMEOUT": "5m"}):
        for one in (nodes, item):
            on.api.wait_gone(*key_of(one), 60)
    assert delete_calls(on, mark, account) == []
    (kept,) = load_balancer_objects(on, "Service")
    assert "deletionTimestamp" not in kept["metadata"]


def test_deletion_with_load_balancers_and_leftovers_completes_when_killed_after_every_write(on, shop, capsys):
    account, *items = shop
    on.cloud.workload.api.apply_all([service("web"), ingress("site")])
    leave(Network(account, items[0]["metadata"]["name"]))
    for item in reversed(items):
        on.api.delete(*key_of(item))
    run = killed_at(on, account.id, lambda: not any(on.api.find(*key_of(item)) for item in items))
    with capsys.disabled():
        print(f"\n  {run.summary('delete, with load balancers and leftovers')}")
    assert account.inventory() == {}
    assert load_balancer_objects(on, "Service") == [] and load_balancer_objects(on, "Ingress") == []
    assert [write for write in run.writes if write not in run.points] == []
    kill_point_actions = {point.partition(" ")[0] for point in run.points}
    assert {"ec2:DeleteNetworkInterface", "ec2:RevokeSecurityGroupIngress", "ec2:DeleteSecurityGroup"} <= kill_point_actions


def exists(on: Environment, item: dict) -> dict | None:
    return on.cloud.workload.api.find(*key_of(item)[:3], item["metadata"].get("namespace"))


def release(on: Environment, item: dict) -> None:
    """As its controller does."""
    on.cloud.workload.api.patch(*key_of(item)[:3], {"metadata": {"finalizers": None}}, item["metadata"].get("namespace"))


def test_gateways_are_deleted_and_then_karpenters_nodes_before_any_node_group(on, shop):
    account, item, nodes = shop
    api = on.cloud.workload.api
    edge = custom("gateway.networking.k8s.io/v1", "Gateway", "edge", {"gatewayClassName": "alb"}, "gateway.k8s.aws/alb")
    node_class = {"nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}}
    pool = custom("karpenter.sh/v1", "NodePool", "spot", {"template": {"spec": node_class}}, namespace=None)
    claim = custom("karpenter.sh/v1", "NodeClaim", "spot-x", node_class, "karpenter.sh/termination", namespace=None)
    auto = custom("karpenter.sh/v1", "NodePool", "system", {"template": {"spec": {"nodeClassRef": {"group": "eks.amazonaws.com"}}}}, namespace=None)
    api.apply_all([edge, pool, claim, auto])
    mark = on.mark()
    for one in (nodes, item):
        on.api.delete(*key_of(one))
    with on.operator(account=account.id, env={"KEELSON_LOAD_BALANCER_TIMEOUT": "5m"}):
        until(lambda: "Gateway default/edge" in message(on, item), 20, "the message")
        assert exists(on, edge)["metadata"]["deletionTimestamp"]
        assert "deletionTimestamp" not in exists(on, pool)["metadata"], "the load balancer controller may run on its nodes"
        release(on, edge)
        until(lambda: "NodeClaim spot-x" in message(on, item), 20, "the message about the nodes")
        until(lambda: not exists(on, pool), 10, "the deletion of the NodePool, which would replace the NodeClaim")
        assert delete_calls(on, mark, account) == [], "Karpenter runs on a node group"
        release(on, claim)
        for one in (nodes, item):
            on.api.wait_gone(*key_of(one), 60)
    assert exists(on, auto), "EKS deletes the nodes of Auto Mode"
    assert account.inventory() == {}
    api.delete(*key_of(auto)[:3], None)


def test_applicationset_does_not_switch_a_paused_application_on_again(on, shop):
    """Its controller writes the template into each Application, unless its policy is create-only."""
    account, item, nodes = shop
    api = on.cloud.workload.api
    automated = {"syncPolicy": {"automated": {"selfHeal": True}}}
    application, owner = (custom("argoproj.io/v1alpha1", kind, "shop", spec) for kind, spec in (
        ("Application", automated), ("ApplicationSet", {"template": {"spec": automated}}),
    ))
    held = service("web", FINALIZER)
    api.apply_all([held, application, owner])
    ended = threading.Event()

    def controller() -> None:
        while not ended.wait(0.2):
            found = exists(on, owner)
            if found and found["spec"].get("syncPolicy", {}).get("applicationsSync") != "create-only":
                api.patch(*key_of(application)[:3], {"spec": automated}, "default")

    runs = threading.Thread(target=controller)
    runs.start()
    try:
        for one in (nodes, item):
            on.api.delete(*key_of(one))
        with on.operator(account=account.id, env={"KEELSON_LOAD_BALANCER_TIMEOUT": "5m"}):
            def is_paused() -> bool:
                return exists(on, application)["spec"]["syncPolicy"].get("automated") is None

            until(is_paused, 20, "the pause")
            stays(is_paused, 5, "the pause")
            assert exists(on, owner)["spec"]["syncPolicy"] == {"applicationsSync": "create-only"}
            release(on, held)
            for one in (nodes, item):
                on.api.wait_gone(*key_of(one), 60)
    finally:
        ended.set()
        runs.join()
        for one in (application, owner):
            api.delete(*key_of(one))


def test_service_that_somebody_creates_again_is_reported_with_its_writer(on, shop):
    account, item, nodes = shop
    api = on.cloud.workload.api
    back = service("back")
    api.apply(back, field_manager="shop-operator")
    ended = threading.Event()

    def controller() -> None:
        while not ended.wait(0.2):
            if not exists(on, back):
                api.apply(back, field_manager="shop-operator")

    runs = threading.Thread(target=controller)
    runs.start()
    try:
        for one in (nodes, item):
            on.api.delete(*key_of(one))
        with on.operator(account=account.id, env={"KEELSON_LOAD_BALANCER_TIMEOUT": "5m"}):
            expected = 'Service default/back was deleted and created again by "shop-operator": stop it'
            until(lambda: expected in message(on, item), 30, "the writer in the message")
            ended.set()
            runs.join()
            for one in (nodes, item):
                on.api.wait_gone(*key_of(one), 60)
    finally:
        ended.set()
        runs.join()
    assert account.inventory() == {}
