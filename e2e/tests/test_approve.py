"""`keelson approve`: shows the plans that wait, asks, and writes what it was shown, or nothing.

Most plans here are written into status by the tests; what an operator makes of an approval is in test_change_policy.py.
"""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone

import pytest
import yaml

from fleet import API
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
    """A cluster and its node groups, whose status tests write."""

    api: KubeApi
    kubeconfig: str
    items: list[dict] = field(default_factory=list)

    def plan(self, item: dict, text: str, waits: bool = True, generation: int | None = None) -> None:
        found = self.api.get(*key_of(item))
        reason = "WaitingForApproval" if waits else "Available"
        condition = {
            "type": "Ready",
            "status": str(not waits),
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

    def approve_by_object(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.approve(*arguments, command=[str(keelson_binary()), "approve"])

    def objects(self) -> list[dict]:
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
    """The verb on a terminal, to be answered."""

    def __init__(self, shop: Shop, *arguments: str, **env: str):
        self.ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [*shop.command, *arguments],
            env={**shop.env, "TERM": "xterm", **env},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.shown = ""

    def until(self, text: str, times: int = 1, seconds: float = 30) -> str:
        deadline = time.monotonic() + seconds
        while self.shown.count(text) < times:
            assert time.monotonic() < deadline, self.shown
            if select.select([self.ours], [], [], 0.2)[0]:
                try:
                    self.shown += os.read(self.ours, 65536).decode(errors="replace")
                except OSError:  # it has ended
                    assert self.shown.count(text) >= times, self.shown
        return self.shown

    def answer(self, text: str) -> None:
        os.write(self.ours, f"{text}\n".encode())

    def end(self) -> int:
        code = self.process.wait(30)
        os.close(self.ours)
        return code


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud(aws=False, git=False) as started:
        started.install_crds()
        yield started


@pytest.fixture
def shop(cloud) -> Iterator[Shop]:
    shop = Shop(cloud.management.api, str(cloud.management.kubeconfig))
    shop.items = [cluster("shop"), node_group("shop"), node_group("shop", "shop-spot"), node_group("other")]
    for item in shop.items:
        shop.api.create(item)
    yield shop
    for item in shop.objects():
        shop.api.delete(API, "PlanApproval", item["metadata"]["name"], "default")
    for item in shop.items:
        shop.api.patch(*key_of(item)[:3], {"metadata": {"finalizers": None}}, "default")
        shop.api.delete(*key_of(item))
        shop.api.wait_gone(*key_of(item))


def test_what_waits_is_shown_and_approved_by_its_hash_with_the_node_groups(shop):
    made, group, spot, other = shop.items
    shop.plan(made, "3f9a1c20")
    shop.plan(group, "aaaaaaaa")
    shop.plan(spot, "bbbbbbbb", waits=False)
    shop.plan(other, "cccccccc")
    done = shop.approve("shop", "--namespace=default", "--yes")
    assert done.returncode == 0, done.stderr
    assert "EksCluster default/shop, plan 3f9a1c20" in done.stdout
    assert "1 to create, 1 to update, 1 to delete" in done.stdout
    assert "~ control plane" in done.stdout and "logging (none) -> api" in done.stdout
    assert "- NAT gateway eu-west-1a" in done.stdout and "1 min 5 s" in done.stdout
    assert "\x1b" not in done.stdout
    assert [shop.annotation(item) for item in shop.items] == ["3f9a1c20", "aaaaaaaa", None, None]


def test_without_a_terminal_nothing_is_approved_unless_that_is_said(shop):
    made = shop.items[0]
    shop.plan(made, "3f9a1c20")
    done = shop.approve("shop", "-n=default")
    assert done.returncode == 1 and "--hash HASH" in done.stderr
    assert shop.annotation(made) is None


def test_another_hash_than_that_of_the_plan_approves_nothing(shop):
    made = shop.items[0]
    shop.plan(made, "3f9a1c20")
    done = shop.approve("shop", "-n=default", "--hash=00000000")
    assert done.returncode == 1
    assert "no plan 00000000 waits; what does: EksCluster default/shop, plan 3f9a1c20" in done.stderr
    assert shop.annotation(made) is None
    assert shop.approve("shop", "-n=default", "--hash=3f9a1c20").returncode == 0
    assert shop.annotation(made) == "3f9a1c20"


def test_one_node_group_alone(shop):
    made, group, *_ = shop.items
    shop.plan(made, "3f9a1c20")
    shop.plan(group, "aaaaaaaa")
    assert shop.approve("nodegroup/shop-default", "-n=default", "--yes").returncode == 0
    assert [shop.annotation(item) for item in (made, group)] == [None, "aaaaaaaa"]


def test_when_nothing_waits_it_says_how_it_is(shop):
    shop.plan(shop.items[0], "3f9a1c20", waits=False)
    done = shop.approve("shop", "-n=default", "--yes")
    assert done.returncode == 0
    assert "EksCluster default/shop: nothing waits for approval; Available: plan 3f9a1c20" in done.stdout
    assert "the operator has not looked at it yet" in done.stdout


def test_a_plan_of_an_older_spec_is_not_approved(shop):
    made = shop.items[0]
    shop.plan(made, "3f9a1c20")
    shop.api.patch(*key_of(made)[:3], {"spec": {"tags": {"a": "b"}}}, "default")
    done = shop.approve("shop", "-n=default", "--yes")
    assert done.returncode == 1 and "its spec is newer than its plan" in done.stderr
    assert shop.annotation(made) is None


def test_a_deletion_that_waits_is_approved_too(shop):
    made = shop.items[0]
    shop.api.patch(*key_of(made)[:3], {"metadata": {"finalizers": ["keelson.dev/aws"]}}, "default")
    shop.api.delete(*key_of(made))
    shop.plan(made, "3f9a1c20")
    done = shop.approve("shop", "-n=default", "--yes")
    assert "EksCluster default/shop, plan 3f9a1c20, to be deleted" in done.stdout
    assert shop.annotation(made) == "3f9a1c20"


def test_an_approval_is_an_object_of_its_own_that_names_who_approved_and_is_made_once(shop):
    made, group, *_ = shop.items
    shop.plan(made, "3f9a1c20aaaaaaaa")
    shop.plan(group, "3f9a1c20bbbbbbbb")
    done = shop.approve_by_object("shop", "-n=default", "--yes")
    assert done.returncode == 0, done.stderr
    specs = {item["spec"]["hash"]: item for item in shop.objects()}
    of_cluster, of_group = specs["3f9a1c20aaaaaaaa"], specs["3f9a1c20bbbbbbbb"]
    assert of_cluster["spec"]["clusterRef"] == {"name": "shop"} and of_group["spec"]["nodeGroupRef"] == {"name": "shop-default"}
    assert of_cluster["spec"]["approvedBy"], "the API server's name for whoever approves"
    uid = shop.api.get(*key_of(made))["metadata"]["uid"]
    assert [owner["uid"] for owner in of_cluster["metadata"]["ownerReferences"]] == [uid], "it goes with its cluster"
    assert shop.annotation(made) is None
    again = shop.approve_by_object("shop", "-n=default", "--yes")
    assert "the operator is about to take it up" in again.stdout and len(shop.objects()) == 2


def test_a_deletion_that_is_held_is_released_by_its_own_word(shop):
    made = shop.items[0]
    shop.api.patch(*key_of(made)[:3], {"metadata": {"finalizers": ["keelson.dev/aws"]}}, "default")
    shop.api.delete(*key_of(made))
    shop.plan(made, "3f9a1c20aaaaaaaa")
    word = "00000000ffffffff"
    shop.api.patch(*key_of(made)[:3], {"status": {"deletion": {"release": word}}}, "default", subresource="status")
    done = shop.approve_by_object("shop", "-n=default", f"--hash={word}")
    assert f"approved: EksCluster default/shop, release of its deletion {word}" in done.stdout, done.stderr
    assert word in [item["spec"]["hash"] for item in shop.objects()]
    for item in shop.objects():
        shop.api.delete(API, "PlanApproval", item["metadata"]["name"], "default")
    assert shop.approve("shop", "-n=default", "--yes").returncode == 0
    annotations = shop.api.get(*key_of(made))["metadata"]["annotations"]
    assert annotations == {RELEASE: word}


def test_on_a_terminal_it_asks_in_colour_and_no_is_no(shop):
    made = shop.items[0]
    shop.plan(made, "3f9a1c20")
    terminal = Terminal(shop, "shop", "-n=default")
    shown = terminal.until("Approve? [y/N]")
    assert "\x1b[32m+ VPC" in shown and "\x1b[31m- NAT gateway" in shown
    terminal.answer("")
    assert terminal.end() == 1
    assert shop.annotation(made) is None
    terminal = Terminal(shop, "shop", "-n=default", NO_COLOR="1")
    assert "\x1b[" not in terminal.until("Approve? [y/N]")
    terminal.answer("y")
    terminal.until("approved: EksCluster default/shop, plan 3f9a1c20")
    assert terminal.end() == 0
    assert shop.annotation(made) == "3f9a1c20"


def test_a_plan_that_changed_while_it_was_looked_at_is_shown_again(shop):
    made = shop.items[0]
    shop.plan(made, "3f9a1c20")
    terminal = Terminal(shop, "shop", "-n=default")
    terminal.until("Approve? [y/N]")
    shop.plan(made, "4d4d4d4d")
    terminal.answer("y")
    terminal.until("The plan changed. Approve? [y/N]")
    assert shop.annotation(made) is None
    terminal.answer("y")
    terminal.until("approved: EksCluster default/shop, plan 4d4d4d4d")
    assert terminal.end() == 0
    assert shop.annotation(made) == "4d4d4d4d"


def test_an_object_that_changed_and_not_its_plan_is_not_asked_for_again(shop):
    made = shop.items[0]
    shop.plan(made, "3f9a1c20")
    terminal = Terminal(shop, "shop", "-n=default")
    terminal.until("Approve? [y/N]")
    shop.api.patch(*key_of(made)[:3], {"metadata": {"labels": {"a": "b"}}}, "default")
    terminal.answer("yes")
    shown = terminal.until("approved: EksCluster default/shop, plan 3f9a1c20")
    assert terminal.end() == 0 and shown.count("Approve?") == 1


def test_what_is_not_there_is_named(shop):
    done = shop.approve("nowhere", "-n=default", "--yes")
    assert done.returncode == 1 and "EksCluster nowhere in namespace default" in done.stderr
    assert "nothing" not in done.stdout


def test_kinds_without_plans_are_refused(shop):
    done = shop.approve("awsaccount/prod")
    assert done.returncode == 2 and "write NAME, ekscluster/NAME or nodegroup/NAME" in done.stderr


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(workload=False, git=False) as started:
        yield started


def test_the_approver_sees_what_the_live_plan_shows_and_the_approval_is_taken_up(on, tmp_path):
    made, group = cluster("asked", changePolicy="Approval"), node_group("asked")
    manifest = tmp_path / "asked.yaml"

    def planned() -> str:
        """What `keelson plan --live` shows."""
        manifest.write_text(yaml.safe_dump_all([made, group]))
        command = [str(keelson_binary()), "plan", "--live", "-f", str(manifest)]
        env = {**on.aws.env(), "PATH": os.environ["PATH"]}
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def approve(*flags: str) -> str:
        command = [str(keelson_binary()), "approve", "asked", "-n=default", *flags]
        env = {"KUBECONFIG": str(on.cloud.management.kubeconfig), "PATH": os.environ["PATH"]}
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def waits(item: dict) -> str:
        return on.await_condition(item, status="False", reason="WaitingForApproval")["status"]["plan"]["hash"]

    with on.operator():
        on.apply(made, group)
        first = waits(made)
        live, shown = planned(), approve(f"--hash={first}")
        assert re.fullmatch("[0-9a-f]{16}", first)
        for value in ("+ VPC", "cidr: 10.0.0.0/16", "version: 1.34; endpoint: public", "AmazonEKSClusterPolicy"):
            assert value in live and value in shown, (value, live, shown)
        until(lambda: on.status(group).get("plan", {}).get("hash"), 60, "the node group's plan")
        until(lambda: ready(on, made, group, approve), 90, "both ready")
        assert "to update" in planned() and "~" not in planned()
        made["spec"]["logging"] = ["api"]
        group["spec"]["labels"] = {"a": "b"}
        on.apply(made, group)
        assert waits(made) != waits(group)
        assert "~ control plane" in planned()
        shown = approve("--yes")
        assert "~ control plane" in shown and "logging" in shown and "~ node group asked-default" in shown
        on.ready(made, group)
        assert "nothing waits for approval" in approve("--yes")
        for item in (group, made):
            on.api.delete(*key_of(item))
        waits(made)
        assert "to be deleted" in approve("--yes")
        until(lambda: gone(on, made, group, approve), 60, "the end of both")


def gone(on: Environment, made: dict, group: dict, approve) -> bool:
    """Approves the node group's deletion once it waits."""
    found = on.api.find(*key_of(group))
    if found and conditions(found)["Ready"]["reason"] == "WaitingForApproval":
        approve("--yes")
    return not on.api.find(*key_of(made))


def ready(on: Environment, made: dict, group: dict, approve) -> bool:
    """Approves the node group's plan once it waits."""
    if on.condition(group).get("reason") == "WaitingForApproval":
        approve("--yes")
    return all(on.condition(item).get("status") == "True" for item in (made, group))
