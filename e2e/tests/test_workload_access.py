"""How the operator reaches a workload cluster: a certificate authority that is rotated, an endpoint that moves or is out
of reach, and a proxy on the way.

The door before the workload cluster's API server is the test's own (`fleet/proxies.py`); the API server, Flux and what goes
through are real.
"""

from __future__ import annotations

import time

import pytest
import yaml

from fleet.proxies import TlsProxy, ConnectProxy
from fleet.manifests import cluster, flux
from fleet.environment import environment, until

# Only a proxy knows it.
INSIDE = "api.inside.acme.example"
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


def moved(on, opened: TlsProxy) -> None:
    """EKS answers with that door from now on."""
    settings = {"workload_endpoint": opened.url, "workload_ca_file": str(opened.ca_file)}
    on.aws.control("POST", "settings", json=settings)


@pytest.fixture(scope="module")
def repository(on):
    found = on.cloud.git.repository("reached")
    commit(found, "first")
    return found


@pytest.fixture(scope="module")
def reached(on, door, repository):
    """A cluster behind the door, Ready, with the operator that made it so."""
    moved(on, door)
    on.start("--drift-interval=1h", name="keelson-direct")
    item = cluster(
        "reached",
        addons=[{"name": "vpc-cni"}],
        gitops=flux(repository.url, "clusters/reached", interval="2s"),
    )
    on.apply(item)
    on.ready(item)
    return item


def commit(repository, word: str) -> str:
    greeting = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "greeting", "namespace": "default"},
        "data": {"word": word},
    }
    return repository.commit({"clusters/reached/greeting.yaml": yaml.safe_dump(greeting)})


def shows(on, item: dict, revision: str, seconds: float = 40) -> float:
    """Until status shows the commit as applied: that was read from the workload cluster. How long it took."""
    began = time.monotonic()
    try:
        until(
            lambda: on.status(item).get("gitops", {}).get("lastAppliedRevision", "").endswith(revision),
            seconds,
            f"{revision[:7]} in status.gitops",
        )
    except AssertionError as error:
        raise AssertionError(f"{error}: {on.describe(item)} {on.status(item).get('gitops')}") from None
    return time.monotonic() - began


def test_another_certificate_authority_is_picked_up_without_a_restart(on, door, reached, repository):
    (operator,) = on.cloud.controllers
    pid, before = operator.pid, door.handshakes
    moved_at = time.monotonic()
    door.rotate()
    moved(on, door)
    until(lambda: door.handshakes > before, 40, "a handshake under the new authority")
    print(f"\n  reached under the new authority after {time.monotonic() - moved_at:.1f} s")
    print(f"  a commit after it shows after {shows(on, reached, commit(repository, 'rotated')):.1f} s")
    assert operator.alive and operator.pid == pid
    assert on.condition(reached)["status"] == "True"


def test_another_endpoint_is_picked_up_without_a_restart(on, door, reached, repository):
    (operator,) = on.cloud.controllers
    pid = operator.pid
    other = TlsProxy(on.cloud.workload, on.cloud.directory)
    try:
        door.close()
        moved(on, other)
        print(f"\n  a commit shows after {shows(on, reached, commit(repository, 'moved')):.1f} s")
        assert on.status(reached)["endpoint"] == other.url
        assert operator.alive and operator.pid == pid
        on.ready(reached, timeout=20)
    finally:
        door.open()
        moved(on, door)
        other.close()
    shows(on, reached, commit(repository, "back"))


def test_a_cluster_out_of_reach_is_said_and_aws_goes_on(on, door, reached, repository):
    from_here = on.mark()
    door.close()
    try:
        on.await_condition(reached, "GitOpsReady", "False", "AgentUnreachable", timeout=40)
        said = on.condition(reached, "GitOpsReady")
        assert door.url in said["message"] and "cannot be reached since 20" in said["message"]
        assert on.status(reached)["gitops"]["lastContact"]
        version, kind, name = reached["apiVersion"], reached["kind"], reached["metadata"]["name"]
        on.api.patch(version, kind, name, {"spec": {"logging": ["audit"]}})
        until(
            lambda: [c for c in on.writes(from_here) if c["action"] == "UpdateClusterConfig"],
            20,
            "the change in AWS",
        )
        on.await_condition(reached, "ControlPlaneReady", timeout=30)
        # Since the same moment, however often it is tried.
        again = on.condition(reached, "GitOpsReady")["message"]
        since = said["message"].split("since ")[1].split(":")[:2]
        assert again.split("since ")[1].split(":")[:2] == since
    finally:
        door.open()
    shows(on, reached, commit(repository, "reached again"), 90)
    on.ready(reached, timeout=20)


@pytest.fixture
def inside(on):
    """The cluster's API under a name that nobody but a proxy knows."""
    opened = TlsProxy(on.cloud.workload, on.cloud.directory, INSIDE)
    yield opened
    opened.close()


def through(tunnel: ConnectProxy, password: str = PASSWORD) -> str:
    return f"--workload-proxy=http://{USER}:{password}@127.0.0.1:{tunnel.port}"


def test_a_cluster_is_reached_through_the_proxy_that_the_operator_is_given(
    on, inside, reached, repository
):
    for operator in on.cloud.controllers:
        operator.stop()
    tunnel = ConnectProxy(USER, PASSWORD, {INSIDE: inside.port})
    try:
        moved(on, inside)
        with on.operator(through(tunnel), name="keelson-wrong", env={}) as operator:
            shows(on, reached, commit(repository, "through the proxy"))
            on.ready(reached, timeout=20)
            assert set(tunnel.asked) == {f"CONNECT {INSIDE}:{inside.port}"}
            assert PASSWORD not in operator.log.read_text() + operator.metrics()
        with on.operator(through(tunnel, "not-the-password-31c"), name="keelson-wrong") as operator:
            on.await_condition(reached, "GitOpsReady", "False", "AgentUnreachable")
            said = on.condition(reached, "GitOpsReady")
            assert f"through the proxy http://127.0.0.1:{tunnel.port}" in said["message"], said
            assert tunnel.denied
            told = said["message"] + operator.log.read_text() + operator.metrics()
            assert "not-the-password" not in told
    finally:
        tunnel.close()


def test_what_no_proxy_names_is_reached_directly(on, door, reached, repository):
    tunnel = ConnectProxy(USER, PASSWORD, {})
    try:
        moved(on, door)
        env = {"NO_PROXY": "10.0.0.0/8,127.0.0.1"}
        with on.operator(through(tunnel), name="keelson-direct-2", env=env):
            shows(on, reached, commit(repository, "directly"))
            on.ready(reached, timeout=20)
        assert not tunnel.asked and not tunnel.denied
    finally:
        tunnel.close()


def test_a_proxy_that_is_none_is_refused_at_the_start(on):
    operator = on.start("--workload-proxy=ftp://user:start-password-9@proxy", wait=False)
    until(lambda: not operator.alive, 10, "the refusal")
    told = operator.log.read_text()
    assert "--workload-proxy: ftp is no proxy that can be used" in told
    assert "start-password-9" not in told
