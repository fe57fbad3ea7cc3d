"""Before a cluster is deleted, its Services of type LoadBalancer and its Ingresses are deleted first. With a real API server."""

from __future__ import annotations

import os
import time

import pytest

from fleet.account import fresh_account
from fleet.killing import killed_at
from fleet.leftovers import Network, leave
from fleet.manifests import cluster, key_of, node_group
from fleet.environment import Environment, actions, environment, until
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
        started.cloud.workload.api.apply_all(crds)
        yield started
    del os.environ["KEELSON_MAX_DELETIONS"]


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
