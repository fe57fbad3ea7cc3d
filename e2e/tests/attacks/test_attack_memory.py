"""Objects of a tenant and responses of a workload cluster do not fill the operator's memory: it stays below 200 MB (limit: 256 Mi).

The peak is measured by the kernel (`VmHWM`), so no spike between two samples is missed.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from attacks.tenant import tenant
from fleet.account import fresh_account
from fleet.hostile import HostileApi
from fleet.manifests import account as aws_account
from fleet.manifests import flux
from fleet.environment import Environment, environment, until
from keelson_harness.aws import REGION, Durations
from keelson_harness.controller import Controller

MAX_BYTES = 200 << 20
NUMBER = 12


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(0.5, 0.3, 0.3, 0.3, 0.1, 0.2)) as started:
        yield started


def peak(operator: Controller) -> int:
    status = Path(f"/proc/{operator.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) << 10


def measure_peak(operator: Controller, what: str) -> tuple[str, int]:
    """The peak of this operator process, in MiB."""
    assert operator.alive, what
    found = (what, peak(operator) >> 20)
    print(f"{what}: resident {operator.process.resident_bytes() >> 20} MiB, at most {found[1]} MiB")
    return found


def assert_flat(found: list[tuple[str, int]]) -> None:
    assert not [what for what, highest in found if highest >= MAX_BYTES >> 20], found


def test_large_objects_do_not_fill_the_memory(on):
    """Without the admission policy that rejects them, as on Kubernetes before 1.30."""
    account = fresh_account()
    on.apply(aws_account("memory", account))
    mallory = tenant(on, "team-mallory")
    large = {"values": {f"k{number}": "v" * 90 for number in range(10_000)}}
    spec = {"region": REGION, "version": "1.34", "accountRef": {"name": "memory"}}
    items = [
        mallory.object("EksCluster", f"large-{n}", {**spec, "addons": [{"name": "vpc-cni", "configuration": large}]})
        for n in range(NUMBER)
    ]
    with on.operator(account=account) as operator:
        for item in items:
            assert mallory.apply_error(item) is None
        for item in items:
            on.await_condition(item, "Stalled", reason="InvalidSpec")
        found = [measure_peak(operator, f"{NUMBER} objects of 1 MB")]
        operator.restart()
        on.await_ready(operator)
        # Status is from before the restart, so the metric shows when all objects are read again.
        counted = re.compile(rf'keelson_objects(_unreadable)?{{[^}}]*"EksCluster"[^}}]*}} {NUMBER}\n')
        until(lambda: counted.search(operator.metrics()), 30, "all objects")
        found.append(measure_peak(operator, "after a restart"))
    on.force_delete(*items)
    assert_flat(found)


@pytest.fixture(scope="module")
def hostile(on: Environment):
    api = HostileApi(on.cloud.directory)
    on.aws.control("POST", "settings", json={"workload_endpoint": api.url, "workload_ca_file": str(api.ca_file)})
    yield api
    api.close()


def test_hostile_workload_cluster_does_not_fill_the_memory(on, hostile):
    """Whoever can write to the Git repository of one cluster, or owns it, attacks the operator of the fleet."""
    account = fresh_account()
    on.apply(aws_account("attacked", account))
    mallory = tenant(on, "team-attack")
    spec = {
        "region": REGION,
        "version": "1.34",
        "accountRef": {"name": "attacked"},
        "network": {"vpc": {"zoneCount": 2, "nat": "None", "publicSubnets": False}},
        "addons": [{"name": "vpc-cni"}],
        "gitops": flux("https://git.example.com/fleet", "clusters/attacked", interval="10s"),
    }
    item = mallory.object("EksCluster", "attacked", spec)
    messages = {
        "large": "HelmRelease: the list is larger than 128 MiB",
        "endless": "HelmRelease: a response is larger than 4096 KiB",
        "crumbs": "",
        "bomb": "compressed (gzip)",
        "redirect": "a redirect is not followed",
    }
    found = []
    with on.operator(account=account) as operator:
        for attack, text in messages.items():
            hostile.attack = attack
            if attack == "large":
                assert mallory.apply_error(item) is None
                on.await_condition(item, "ControlPlaneReady")
            else:
                # A new process, without memory of the cluster's behaviour.
                operator.restart()
                on.await_ready(operator)
            until(lambda a=attack: a in hostile.attacked, 60, f"a list under {attack}")
            try:
                if text:
                    until(lambda w=text: w in on.condition(item, "GitOpsReady").get("message", ""), 60, text)
                    assert on.condition(item, "GitOpsReady")["reason"] == "AgentUnreachable"
            finally:
                found.append(measure_peak(operator, attack))
            # AWS resources are not affected.
            assert on.condition(item, "ControlPlaneReady")["status"] == "True"
    on.force_delete(item)
    assert_flat(found)
