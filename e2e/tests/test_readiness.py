"""/readyz: a replica is ready when it leads with synced stores, or when it is a standby that could take over. A rollout with broken
RBAC or without the CRDs stops at its first replica."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from fleet.environment import Environment, environment, until
from keelson_harness.controller import Controller
from keelson_harness.kubernetes import write_kubeconfig
from keelson_harness.paths import CRDS
from keelson_harness.processes import free_port

RBAC = "rbac.authorization.k8s.io"
CLUSTER_ROLE = (f"{RBAC}/v1", "ClusterRole", "keelson", None)
ROLE = (f"{RBAC}/v1", "Role", "keelson", "keelson-system")
# Shorter than the default, so that an outage can be longer than the renew deadline.
LEASE = ("--lease-duration=6s", "--renew-deadline=4s", "--retry-period=1s")


@pytest.fixture(scope="module")
def on():
    with environment(crds=False, workload=False, git=False) as started:
        yield started


def readyz(replica: Controller) -> str:
    """The response of the probe; empty while the port is closed."""
    try:
        answer = requests.get(f"{replica.url}/readyz", timeout=2)
    except requests.ConnectionError:
        return ""
    return f"{answer.status_code} {answer.text.strip()}"


def wait_for_readyz(replica: Controller, expected_text: str, seconds: float = 20) -> None:
    until(lambda: expected_text in readyz(replica), seconds, f"{expected_text!r} (now {readyz(replica)!r})")


def alive(replica: Controller) -> bool:
    return requests.get(f"{replica.url}/healthz", timeout=2).ok


@contextmanager
def replica(on: Environment, name: str, **options) -> Iterator[Controller]:
    with on.operator("--leader-election", *LEASE, name=name, wait=False, **options) as started:
        yield started


def user_without(on: Environment, name: str, resource: str, verb: str) -> Path:
    """A kubeconfig of a user with the operator's permissions except one verb on one resource: a rollout with broken RBAC."""
    user = {"kind": "User", "name": name, "apiGroup": RBAC}
    items = []
    for role in (CLUSTER_ROLE, ROLE):
        rules = on.api.get(*role)["rules"]
        restricted = [
            {**rule, "verbs": [v for v in rule["verbs"] if not (resource in rule["resources"] and v == verb)]} for rule in rules
        ]
        version, kind, _, namespace = role
        meta = {"name": name, **({"namespace": namespace} if namespace else {})}
        items += [
            {"apiVersion": version, "kind": kind, "metadata": meta, "rules": [rule for rule in restricted if rule["verbs"]]},
            {
                "apiVersion": version,
                "kind": f"{kind}Binding",
                "metadata": meta,
                "roleRef": {"apiGroup": RBAC, "kind": kind, "name": name},
                "subjects": [user],
            },
        ]
    on.apply(*items)
    return on.cloud.management.kubeconfig_for(name)


def test_replica_is_not_ready_without_an_api_server(on, tmp_path):
    unreachable = write_kubeconfig(tmp_path / "nowhere", f"https://127.0.0.1:{free_port()}", on.cloud.management.ca_file, token="none")
    with replica(on, "nowhere", env={"KUBECONFIG": str(unreachable)}) as started:
        wait_for_readyz(started, "503 no: the API server does not answer")
        time.sleep(3)
        assert readyz(started).startswith("503") and alive(started)


def test_replica_becomes_ready_when_crds_are_installed(on):
    with replica(on, "without-crds") as started:
        until(lambda: readyz(started), 20, "an answer")
        time.sleep(3)
        assert readyz(started).startswith("503"), readyz(started)
        on.cloud.install_crds(CRDS)
        wait_for_readyz(started, "200 ok", 60)


@pytest.fixture(scope="module")
def leader(on) -> Iterator[Controller]:
    on.cloud.install_crds(CRDS)
    with replica(on, "leader") as started:
        wait_for_readyz(started, "200 ok", 40)
        until(lambda: "keelson_leader 1" in started.metrics(), 40, "the lease")
        wait_for_readyz(started, "200 ok", 40)
        yield started


@pytest.mark.parametrize(
    ("resource", "verb", "expected_text"),
    [
        ("eksclusters", "list", "cannot list resource \"eksclusters\""),
        ("eksclusters", "watch", "not allowed to watch eksclusters.keelson.dev"),
        ("eksclusters/status", "patch", "not allowed to patch eksclusters/status.keelson.dev"),
        ("leases", "update", "not allowed to update leases.coordination.k8s.io in namespace keelson-system"),
        ("leases", "get", "not allowed to get leases"),
    ],
)
def test_replica_without_a_permission_is_not_ready_and_leader_stays_ready(on, leader, resource, verb, expected_text):
    name = f"without-{verb}-{resource.replace('/', '-')}"
    restricted = user_without(on, name, resource, verb)
    with replica(on, name, env={"KUBECONFIG": str(restricted)}) as standby:
        wait_for_readyz(standby, expected_text)
        time.sleep(2)
        assert readyz(standby).startswith("503 no:") and alive(standby)
        assert readyz(leader) == "200 ok"


def test_api_server_outage_keeps_both_replicas_ready_and_alive(on, leader):
    plane, first = on.cloud.management, leader
    with replica(on, "two") as second:
        for each in (first, second):
            wait_for_readyz(each, "200 ok", 40)
        plane.apiserver.kill()
        try:
            time.sleep(5)  # longer than the renew deadline
            for each in (first, second):
                assert readyz(each) == "200 ok" and alive(each), readyz(each)
        finally:
            plane.start_apiserver(on.cloud.etcd.url)
            plane.wait_apiserver()
        until(lambda: any("keelson_leader 1" in each.metrics() for each in (first, second)), 40, "a leader")
        for each in (first, second):
            wait_for_readyz(each, "200 ok", 20)
            assert each.starts == 1
