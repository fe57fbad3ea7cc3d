"""How the operator reaches a workload cluster: a rotated certificate authority, an endpoint that moves or is unreachable, and a
proxy.

The test puts its own TLS proxy in front of the workload cluster's API server (`fleet/proxies.py`); the API server, Flux and the
traffic are real.
"""

from __future__ import annotations

import time

import pytest
import yaml

from fleet.proxies import TlsProxy, ConnectProxy
from fleet.manifests import cluster, flux
from fleet.environment import environment, until

# Only the proxy resolves this name.
INTERNAL_HOST = "api.inside.acme.example"
USER, PASSWORD = "egress", "tunnel-password-77aa"


@pytest.fixture(scope="module")
def on():
    with environment() as started:
        yield started


@pytest.fixture(scope="module")
def door(on):
    opened = TlsProxy(on.cloud.workload, on.cloud.directory)
    yield opened
    opened.close()


def point_eks_to(on, opened: TlsProxy) -> None:
    """Makes EKS return the endpoint of that door."""
    settings = {"workload_endpoint": opened.url, "workload_ca_file": str(opened.ca_file)}
    on.aws.control("POST", "settings", json=settings)


@pytest.fixture(scope="module")
def repository(on):
    found = on.cloud.git.repository("reached")
    commit(found, "first")
    return found


@pytest.fixture(scope="module")
def reached(on, door, repository):
    """A Ready cluster behind the door, with a running operator."""
    point_eks_to(on, door)
    on.start("--drift-interval=1h", name="keelson-direct")
    item = cluster(
        "reached",
        addons=[{"name": "vpc-cni"}],
        gitops=flux(repository.url, "clusters/reached", interval="2s"),
    )
    on.apply(item)
    on.ready(item)
    return item


def commit(repository, text: str) -> str:
    greeting = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "greeting", "namespace": "default"},
        "data": {"word": text},
    }
    return repository.commit({"clusters/reached/greeting.yaml": yaml.safe_dump(greeting)})


def wait_for_commit_in_status(on, item: dict, revision: str, seconds: float = 40) -> float:
    """Waits until status shows the commit as applied, which the operator reads from the workload cluster. Returns the seconds."""
    start = time.monotonic()
    try:
        until(
            lambda: on.status(item).get("gitops", {}).get("lastAppliedRevision", "").endswith(revision),
            seconds,
            f"{revision[:7]} in status.gitops",
        )
    except AssertionError as error:
        raise AssertionError(f"{error}: {on.describe(item)} {on.status(item).get('gitops')}") from None
    return time.monotonic() - start


def test_rotated_certificate_authority_is_used_without_a_restart(on, door, reached, repository):
    (operator,) = on.cloud.controllers
    pid, before = operator.pid, door.handshakes
    moved_at = time.monotonic()
    door.rotate()
    point_eks_to(on, door)
    until(lambda: door.handshakes > before, 40, "a handshake under the new CA")
    print(f"\n  reached under the new CA after {time.monotonic() - moved_at:.1f} s")
    print(f"  a later commit is in status after {wait_for_commit_in_status(on, reached, commit(repository, 'rotated')):.1f} s")
    assert operator.alive and operator.pid == pid
    assert on.condition(reached)["status"] == "True"


def test_changed_endpoint_is_used_without_a_restart(on, door, reached, repository):
    (operator,) = on.cloud.controllers
    pid = operator.pid
    other = TlsProxy(on.cloud.workload, on.cloud.directory)
    try:
        door.close()
        point_eks_to(on, other)
        print(f"\n  a commit is in status after {wait_for_commit_in_status(on, reached, commit(repository, 'moved')):.1f} s")
        assert on.status(reached)["endpoint"] == other.url
        assert operator.alive and operator.pid == pid
        on.ready(reached, timeout=20)
    finally:
        door.open()
        point_eks_to(on, door)
        other.close()
    wait_for_commit_in_status(on, reached, commit(repository, "back"))


def test_unreachable_cluster_is_reported_and_aws_is_still_reconciled(on, door, reached, repository):
    mark = on.mark()
    door.close()
    try:
        on.await_condition(reached, "GitOpsReady", "False", "AgentUnreachable", timeout=40)
        condition = on.condition(reached, "GitOpsReady")
        assert door.url in condition["message"] and "cannot be reached since 20" in condition["message"]
        assert on.status(reached)["gitops"]["lastContact"]
        version, kind, name = reached["apiVersion"], reached["kind"], reached["metadata"]["name"]
        on.api.patch(version, kind, name, {"spec": {"logging": ["audit"]}})
        until(
            lambda: [c for c in on.writes(mark) if c["action"] == "UpdateClusterConfig"],
            20,
            "the change in AWS",
        )
        on.await_condition(reached, "ControlPlaneReady", timeout=30)
        # The time stays the same, however often it is retried.
        later_message = on.condition(reached, "GitOpsReady")["message"]
        since = condition["message"].split("since ")[1].split(":")[:2]
        assert later_message.split("since ")[1].split(":")[:2] == since
    finally:
        door.open()
    wait_for_commit_in_status(on, reached, commit(repository, "reached again"), 90)
    on.ready(reached, timeout=20)


@pytest.fixture
def internal_door(on):
    """The cluster's API under a host name that only the proxy resolves."""
    opened = TlsProxy(on.cloud.workload, on.cloud.directory, INTERNAL_HOST)
    yield opened
    opened.close()


def proxy_flag(tunnel: ConnectProxy, password: str = PASSWORD) -> str:
    return f"--workload-proxy=http://{USER}:{password}@127.0.0.1:{tunnel.port}"


def test_cluster_is_reached_through_the_configured_proxy(
    on, internal_door, reached, repository
):
    for operator in on.cloud.controllers:
        operator.stop()
    tunnel = ConnectProxy(USER, PASSWORD, {INTERNAL_HOST: internal_door.port})
    try:
        point_eks_to(on, internal_door)
        with on.operator(proxy_flag(tunnel), name="keelson-wrong", env={}) as operator:
            wait_for_commit_in_status(on, reached, commit(repository, "through the proxy"))
            on.ready(reached, timeout=20)
            assert set(tunnel.asked) == {f"CONNECT {INTERNAL_HOST}:{internal_door.port}"}
            assert PASSWORD not in operator.log.read_text() + operator.metrics()
        with on.operator(proxy_flag(tunnel, "not-the-password-31c"), name="keelson-wrong") as operator:
            on.await_condition(reached, "GitOpsReady", "False", "AgentUnreachable")
            condition = on.condition(reached, "GitOpsReady")
            assert f"through the proxy http://127.0.0.1:{tunnel.port}" in condition["message"], condition
            assert tunnel.denied
            output = condition["message"] + operator.log.read_text() + operator.metrics()
            assert "not-the-password" not in output
    finally:
        tunnel.close()


def test_no_proxy_addresses_are_reached_directly(on, door, reached, repository):
    tunnel = ConnectProxy(USER, PASSWORD, {})
    try:
        point_eks_to(on, door)
        env = {"NO_PROXY": "10.0.0.0/8,127.0.0.1"}
        with on.operator(proxy_flag(tunnel), name="keelson-direct-2", env=env):
            wait_for_commit_in_status(on, reached, commit(repository, "directly"))
            on.ready(reached, timeout=20)
        assert not tunnel.asked and not tunnel.denied
    finally:
        tunnel.close()


def test_invalid_proxy_is_rejected_at_startup(on):
    operator = on.start("--workload-proxy=ftp://user:start-password-9@proxy", wait=False)
    until(lambda: not operator.alive, 10, "the operator to exit")
    output = operator.log.read_text()
    assert "--workload-proxy: ftp is no proxy that can be used" in output
    assert "start-password-9" not in output
