"""`keelson approve` shows the pending plans, asks, and approves exactly what it showed, or nothing.

Most tests write the plans into status themselves; test_change_policy.py covers how the operator acts on an approval.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone

import pytest
import yaml

from fleet import API
from fleet.command_line import OutputReader
from fleet.manifests import cluster, key_of, node_group
from fleet.environment import Environment, environment, until
from keelson_harness.cloud import LocalCloud
from keelson_harness.kubeapi import KubeApi, conditions
from keelson_harness.paths import keelson_binary

APPROVE = "keelson.dev/approve"
RELEASE = "keelson.dev/release-deletion"
STEPS = [
    {"action": "Create", "resource": "vpc", "state": "Pending", "expectedSeconds": 1},
    {"action": "Update", "resource": "cluster", "state": "Pending", "detail": "logging (none) -> api"},
    {"action": "Delete", "resource": "natGateway/eu-west-1a", "state": "Running", "expectedSeconds": 65},
]


@dataclass
class Shop:
    """A cluster and its node groups; the tests write their status."""

    api: KubeApi
    kubeconfig: str
    items: list[dict] = field(default_factory=list)

    def plan(self, item: dict, text: str, pending: bool = True, generation: int | None = None) -> None:
        found = self.api.get(*key_of(item))
        reason = "WaitingForApproval" if pending else "Available"
        condition = {
            "type": "Ready",
            "status": str(not pending),
            "reason": reason,
            "message": f"plan {text}",
            "lastTransitionTime": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        plan = {
            "hash": text,
            "generation": generation or found["metadata"]["generation"],
            "summary": "1 to create, 1 to update, 1 to delete",
            "steps": STEPS,
        }
        version, kind, name, namespace = key_of(item)
        status = {"status": {"conditions": [condition], "plan": plan if text else None}}
        self.api.patch(version, kind, name, status, namespace, subresource="status")

    def annotation(self, item: dict) -> str | None:
        return self.api.get(*key_of(item))["metadata"].get("annotations", {}).get(APPROVE)

    @property
    def command(self) -> list[str]:
        return [str(keelson_binary()), "approve", "--annotation"]

    def approve_with_object(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.approve(*arguments, command=[str(keelson_binary()), "approve"])

    def approvals(self) -> list[dict]:
        return self.api.list(API, "PlanApproval", "default")

    @property
    def env(self) -> dict[str, str]:
        return {"KUBECONFIG": self.kubeconfig, "PATH": os.environ["PATH"], "HOME": "/nonexistent"}

    def approve(self, *arguments: str, command: list[str] | None = None) -> subprocess.CompletedProcess[str]:
        """Without a terminal."""
        return subprocess.run(
            [*(command or self.command), *arguments],
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


class Terminal:
    """`keelson approve` on a pseudo-terminal."""

    def __init__(self, shop: Shop, *arguments: str, **env: str):
        self.fd, child_fd = pty.openpty()
        self.process = subprocess.Popen(
            [*shop.command, *arguments],
            env={**shop.env, "TERM": "xterm", **env},
            stdin=child_fd,
            stdout=child_fd,
            stderr=child_fd,
        )
        os.close(child_fd)
        self._output = OutputReader(self.fd)

    @property
    def output(self) -> str:
        return self._output.text

    def until(self, text: str, times: int = 1) -> str:
        return self._output.until(text, times=times)

    def answer(self, text: str) -> None:
        os.write(self.fd, f"{text}\n".encode())

    def wait(self) -> int:
        code = self.process.wait(60)
        os.close(self.fd)
        return code


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud(aws=False, git=False, pooled=True) as started:
        started.install_crds()
        yield started


@pytest.fixture
def shop(cloud) -> Iterator[Shop]:
    shop = Shop(cloud.management.api, str(cloud.management.kubeconfig))
    shop.items = [cluster("shop"), node_group("shop"), node_group("shop", "shop-spot"), node_group("other")]
    for item in shop.items:
        shop.api.create(item)
    yield shop
    for item in shop.approvals():
        shop.api.delete(API, "PlanApproval", item["metadata"]["name"], "default")
    for item in shop.items:
        shop.api.patch(*key_of(item)[:3], {"metadata": {"finalizers": None}}, "default")
        shop.api.delete(*key_of(item))
        shop.api.wait_gone(*key_of(item))


def test_pending_plans_of_cluster_and_node_groups_are_shown_and_approved_by_hash(shop):
    target, group, spot, other = shop.items
    shop.plan(target, "3f9a1c20")
    shop.plan(group, "aaaaaaaa")
    shop.plan(spot, "bbbbbbbb", pending=False)
    shop.plan(other, "cccccccc")
    result = shop.approve("shop", "--namespace=default", "--yes")
    assert result.returncode == 0, result.stderr
    assert "EksCluster default/shop, plan 3f9a1c20" in result.stdout
    assert "1 to create, 1 to update, 1 to delete" in result.stdout
    assert "~ control plane" in result.stdout and "logging (none) -> api" in result.stdout
    assert "- NAT gateway eu-west-1a" in result.stdout and "1 min 5 s" in result.stdout
    assert "\x1b" not in result.stdout
    assert [shop.annotation(item) for item in shop.items] == ["3f9a1c20", "aaaaaaaa", None, None]


def test_without_a_terminal_approval_needs_yes_or_hash(shop):
    target = shop.items[0]
    shop.plan(target, "3f9a1c20")
    result = shop.approve("shop", "-n=default")
    assert result.returncode == 1 and "--hash HASH" in result.stderr
    assert shop.annotation(target) is None


def test_wrong_hash_approves_nothing(shop):
    target = shop.items[0]
    shop.plan(target, "3f9a1c20")
    result = shop.approve("shop", "-n=default", "--hash=00000000")
    assert result.returncode == 1
    assert "no plan 00000000 waits for approval; waiting are: EksCluster default/shop, plan 3f9a1c20" in result.stderr
    assert shop.annotation(target) is None
    assert shop.approve("shop", "-n=default", "--hash=3f9a1c20").returncode == 0
    assert shop.annotation(target) == "3f9a1c20"


def test_single_node_group_is_approved(shop):
    target, group, *_ = shop.items
    shop.plan(target, "3f9a1c20")
    shop.plan(group, "aaaaaaaa")
    assert shop.approve("nodegroup/shop-default", "-n=default", "--yes").returncode == 0
    assert [shop.annotation(item) for item in (target, group)] == [None, "aaaaaaaa"]


def test_without_a_pending_plan_the_state_is_reported(shop):
    shop.plan(shop.items[0], "3f9a1c20", pending=False)
    result = shop.approve("shop", "-n=default", "--yes")
    assert result.returncode == 0
    assert "EksCluster default/shop: nothing waits for approval; Available: plan 3f9a1c20" in result.stdout
    assert "the operator has not observed it yet" in result.stdout


def test_plan_of_an_older_generation_is_not_approved(shop):
    target = shop.items[0]
    shop.plan(target, "3f9a1c20")
    shop.api.patch(*key_of(target)[:3], {"spec": {"tags": {"a": "b"}}}, "default")
    result = shop.approve("shop", "-n=default", "--yes")
    assert result.returncode == 1 and "its spec is newer than its plan" in result.stderr
    assert shop.annotation(target) is None


def test_pending_deletion_is_approved(shop):
    target = shop.items[0]
    shop.api.patch(*key_of(target)[:3], {"metadata": {"finalizers": ["keelson.dev/aws"]}}, "default")
    shop.api.delete(*key_of(target))
    shop.plan(target, "3f9a1c20")
    result = shop.approve("shop", "-n=default", "--yes")
    assert "EksCluster default/shop, plan 3f9a1c20, to be deleted" in result.stdout
    assert shop.annotation(target) == "3f9a1c20"


def test_approval_creates_one_planapproval_that_names_the_approver(shop):
    target, group, *_ = shop.items
    shop.plan(target, "3f9a1c20aaaaaaaa")
    shop.plan(group, "3f9a1c20bbbbbbbb")
    result = shop.approve_with_object("shop", "-n=default", "--yes")
    assert result.returncode == 0, result.stderr
    specs = {item["spec"]["hash"]: item for item in shop.approvals()}
    cluster_approval, group_approval = specs["3f9a1c20aaaaaaaa"], specs["3f9a1c20bbbbbbbb"]
    assert cluster_approval["spec"]["clusterRef"] == {"name": "shop"} and group_approval["spec"]["nodeGroupRef"] == {"name": "shop-default"}
    assert cluster_approval["spec"]["approvedBy"], "the API server's name for the approver"
    uid = shop.api.get(*key_of(target))["metadata"]["uid"]
    assert [owner["uid"] for owner in cluster_approval["metadata"]["ownerReferences"]] == [uid], "it is deleted with its cluster"
    assert shop.annotation(target) is None
    repeated = shop.approve_with_object("shop", "-n=default", "--yes")
    assert "not yet processed by the operator" in repeated.stdout and len(shop.approvals()) == 2


def test_programs_get_the_objects_that_approve(shop):
    target, group, *_ = shop.items
    shop.plan(target, "3f9a1c20aaaaaaaa")
    shop.plan(group, "3f9a1c20bbbbbbbb")
    by_name = shop.approve_with_object("shop", "-n=default", "--hash=3f9a1c20aaaaaaaa", "-o=name")
    (created,) = shop.approvals()
    assert by_name.stdout == f"planapproval.keelson.dev/{created['metadata']['name']}\n", by_name.stderr
    assert "control plane" in by_name.stderr, "the plan is shown beside it"
    annotated = shop.approve("nodegroup/shop-default", "-n=default", "--yes", "-o=json")
    (item,) = json.loads(annotated.stdout)["items"]
    assert (item["kind"], item["metadata"]["annotations"][APPROVE]) == ("NodeGroup", "3f9a1c20bbbbbbbb")
    nothing = shop.approve("shop", "-n=default", "--hash=00000000", "-o=yaml")
    assert yaml.safe_load(nothing.stdout)["items"] == []


def test_held_deletion_is_released_by_its_own_hash(shop):
    target = shop.items[0]
    shop.api.patch(*key_of(target)[:3], {"metadata": {"finalizers": ["keelson.dev/aws"]}}, "default")
    shop.api.delete(*key_of(target))
    shop.plan(target, "3f9a1c20aaaaaaaa")
    release_hash = "00000000ffffffff"
    shop.api.patch(*key_of(target)[:3], {"status": {"deletion": {"release": release_hash}}}, "default", subresource="status")
    result = shop.approve_with_object("shop", "-n=default", f"--hash={release_hash}")
    assert f"approved: EksCluster default/shop, release of its deletion {release_hash}" in result.stdout, result.stderr
    assert release_hash in [item["spec"]["hash"] for item in shop.approvals()]
    for item in shop.approvals():
        shop.api.delete(API, "PlanApproval", item["metadata"]["name"], "default")
    assert shop.approve("shop", "-n=default", "--yes").returncode == 0
    annotations = shop.api.get(*key_of(target))["metadata"]["annotations"]
    assert annotations == {RELEASE: release_hash}


def test_terminal_prompt_is_coloured_and_defaults_to_no(shop):
    target = shop.items[0]
    shop.plan(target, "3f9a1c20")
    terminal = Terminal(shop, "shop", "-n=default")
    shown = terminal.until("Approve? [y/N]")
    assert "\x1b[32m+ VPC" in shown and "\x1b[31m- NAT gateway" in shown
    terminal.answer("")
    assert terminal.wait() == 1
    assert shop.annotation(target) is None
    terminal = Terminal(shop, "shop", "-n=default", NO_COLOR="1")
    assert "\x1b[" not in terminal.until("Approve? [y/N]")
    terminal.answer("y")
    terminal.until("approved: EksCluster default/shop, plan 3f9a1c20")
    assert terminal.wait() == 0
    assert shop.annotation(target) == "3f9a1c20"


def test_plan_changed_during_the_prompt_is_shown_again(shop):
    target = shop.items[0]
    shop.plan(target, "3f9a1c20")
    terminal = Terminal(shop, "shop", "-n=default")
    terminal.until("Approve? [y/N]")
    shop.plan(target, "4d4d4d4d")
    terminal.answer("y")
    terminal.until("The plan changed. Approve? [y/N]")
    assert shop.annotation(target) is None
    terminal.answer("y")
    terminal.until("approved: EksCluster default/shop, plan 4d4d4d4d")
    assert terminal.wait() == 0
    assert shop.annotation(target) == "4d4d4d4d"


def test_object_change_without_plan_change_does_not_prompt_again(shop):
    target = shop.items[0]
    shop.plan(target, "3f9a1c20")
    terminal = Terminal(shop, "shop", "-n=default")
    terminal.until("Approve? [y/N]")
    shop.api.patch(*key_of(target)[:3], {"metadata": {"labels": {"a": "b"}}}, "default")
    terminal.answer("yes")
    shown = terminal.until("approved: EksCluster default/shop, plan 3f9a1c20")
    assert terminal.wait() == 0 and shown.count("Approve?") == 1


def test_missing_object_is_named(shop):
    result = shop.approve("nowhere", "-n=default", "--yes")
    assert result.returncode == 1 and "EksCluster nowhere does not exist in namespace default" in result.stderr
    assert "nothing" not in result.stdout


def test_kinds_without_plans_are_rejected(shop):
    result = shop.approve("awsaccount/prod")
    assert result.returncode == 1 and "use NAME, ekscluster/NAME or nodegroup/NAME" in result.stderr


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(workload=False, git=False) as started:
        yield started


def test_approve_shows_the_live_plan_and_the_operator_applies_it(on, tmp_path):
    target, group = cluster("asked", changePolicy="Approval"), node_group("asked")
    manifest = tmp_path / "asked.yaml"

    def live_plan() -> str:
        """The output of `keelson plan --live`."""
        manifest.write_text(yaml.safe_dump_all([target, group]))
        command = [str(keelson_binary()), "plan", "--live", "-f", str(manifest)]
        env = {**on.aws.env(), "PATH": os.environ["PATH"]}
        result = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def approve(*flags: str) -> str:
        command = [str(keelson_binary()), "approve", "asked", "-n=default", *flags]
        env = {"KUBECONFIG": str(on.cloud.management.kubeconfig), "PATH": os.environ["PATH"]}
        result = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def pending_hash(item: dict) -> str:
        return on.await_condition(item, status="False", reason="WaitingForApproval")["status"]["plan"]["hash"]

    with on.operator():
        on.apply(target, group)
        first = pending_hash(target)
        live, shown = live_plan(), approve(f"--hash={first}")
        assert re.fullmatch("[0-9a-f]{16}", first)
        for value in ("+ VPC", "cidr: 10.0.0.0/16", "version: 1.34; endpoint: public", "AmazonEKSClusterPolicy"):
            assert value in live and value in shown, (value, live, shown)
        until(lambda: on.status(group).get("plan", {}).get("hash"), 60, "the node group's plan")
        until(lambda: ready(on, target, group, approve), 90, "both ready")
        assert "to update" in live_plan() and "~" not in live_plan()
        target["spec"]["logging"] = ["api"]
        group["spec"]["labels"] = {"a": "b"}
        on.apply(target, group)
        assert pending_hash(target) != pending_hash(group)
        assert "~ control plane" in live_plan()
        shown = approve("--yes")
        assert "~ control plane" in shown and "logging" in shown and "~ node group asked-default" in shown
        on.ready(target, group)
        assert "nothing waits for approval" in approve("--yes")
        for item in (group, target):
            on.api.delete(*key_of(item))
        pending_hash(target)
        assert "to be deleted" in approve("--yes")
        until(lambda: gone(on, target, group, approve), 60, "the deletion of both")


def gone(on: Environment, target: dict, group: dict, approve) -> bool:
    """Whether the cluster is gone; approves the node group's deletion once it is pending."""
    found = on.api.find(*key_of(group))
    if found and conditions(found)["Ready"]["reason"] == "WaitingForApproval":
        approve("--yes")
    return not on.api.find(*key_of(target))


def ready(on: Environment, target: dict, group: dict, approve) -> bool:
    """Whether both are ready; approves the node group's plan once it is pending."""
    if on.condition(group).get("reason") == "WaitingForApproval":
        approve("--yes")
    return all(on.condition(item).get("status") == "True" for item in (target, group))
