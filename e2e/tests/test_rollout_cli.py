"""`keelson rollout`: what it shows of a fleet, and what it writes when a person decides.

The tests write the status of all objects; `test_rollout.py` and `test_notifications.py` cover how the operator acts on a decision.
"""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import yaml

from fleet import API
from fleet.command_line import Following, OutputReader, command, on_terminal, output, run, until_allowed, user
from fleet.environment import Environment, environment, until
from fleet.manifests import cluster, key_of, namespace
from fleet.rings import wave

APPROVE, RETRY, PROMOTE = (f"keelson.dev/{name}" for name in ("approve", "retry", "promote"))
START, GOAL = "1.35", "1.36"
LONG_AGO = "2026-11-01T00:00:00Z"
HALT = {"wave": "canary", "message": "EksCluster default/main-canary-0: Failed: no capacity", "since": "2026-11-28T10:00:00Z"}


@dataclass
class Fleet:
    """A FleetRollout and its clusters; the tests write their status."""

    on: Environment
    name: str
    clusters: dict[str, dict] = field(default_factory=dict)

    @property
    def rollout(self) -> dict:
        waves = [wave("canary", soak="1h", progressDeadline="9000h"), wave("prod", approval="Required", maxConcurrent="50%")]
        spec = {"clusterSelector": {"matchLabels": {"fleet": self.name}}, "gates": ["ControlPlane"], "waves": waves}
        return {"apiVersion": API, "kind": "FleetRollout", "metadata": {"name": self.name}, "spec": spec}

    def make(self) -> None:
        self.on.apply(self.rollout)
        for ring, number in (("canary", 0), ("prod", 0), ("prod", 1)):
            self.join(ring, number, GOAL if ring == "canary" else START)

    def join(self, ring: str, number: int, version: str) -> None:
        name = f"{self.name}-{ring}-{number}"
        item = cluster(name, version=GOAL, addons=[])
        item["metadata"]["labels"] = {"fleet": self.name, "ring": ring}
        self.on.apply(item)
        self.clusters[name] = item
        self.write_status(item, {"version": version, "resources": [{"key": "cluster", "state": "ACTIVE"}]})

    def write_status(self, item: dict, status: dict) -> None:
        version, kind, name, namespace = key_of(item)
        self.on.api.patch(version, kind, name, {"status": status}, namespace, subresource="status")

    def uid(self, name: str) -> str:
        return self.on.api.get(*key_of(self.clusters[name]))["metadata"]["uid"]

    def hash(self, ring: str) -> str:
        """As the operator computes it: of the step, the wave and the UIDs of its clusters."""
        uids = sorted(self.uid(name) for name in self.clusters if f"-{ring}-" in name)
        return hashlib.sha256(f"ControlPlane/{GOAL} {ring} {' '.join(uids)}".encode()).hexdigest()[:16]

    def waits(self, approval: str | None = None) -> str:
        """The canary has passed, and the other wave waits for an approval."""
        approval = approval or self.hash("prod")
        canary = {"name": "canary", "state": "Passed", "members": 1, "atTarget": 1, "passedAt": LONG_AGO}
        prod = {"name": "prod", "state": "WaitingForApproval", "members": 2, "approvalHash": approval}
        self.release("WaitingForApproval", f"wave prod waits for an approval: {approval}", [canary, prod])
        return approval

    def halts(self) -> None:
        canary = {"name": "canary", "state": "Failed", "members": 1, "failed": 1}
        prod = {"name": "prod", "state": "Pending", "members": 2}
        self.release("Halted", f"wave canary has halted: {HALT['message']}", [canary, prod], halt=HALT)

    def release(self, state: str, message: str, waves: list[dict], **more: object) -> None:
        release = {
            "gate": "ControlPlane", "target": GOAL, "state": state, "message": message, "progress": "1/3", "since": LONG_AGO, "waves": waves, **more,
        }
        condition = {"type": "Ready", "status": "False", "reason": state, "message": message, "lastTransitionTime": LONG_AGO}
        generation = self.found()["metadata"]["generation"]
        status = {"observedGeneration": generation, "members": 3, "conditions": [condition], "releases": [release]}
        self.write_status(self.rollout, status)

    def found(self) -> dict:
        return self.on.api.get(API, "FleetRollout", self.name)

    def annotation(self, key: str) -> str | None:
        return self.found()["metadata"].get("annotations", {}).get(key)

    def manager(self, key: str) -> list[str]:
        fields = [entry for entry in self.found()["metadata"]["managedFields"] if f'"f:{key}"' in json.dumps(entry)]
        return [entry["manager"] for entry in fields]

    def annotate(self, manager: str, **annotations: str) -> None:
        named = {f"keelson.dev/{name}": value for name, value in annotations.items()}
        self.on.api.apply({**self.rollout, "metadata": {"name": self.name, "annotations": named}}, field_manager=manager)


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(workload=False, git=False) as started:
        yield started


_NAMES = iter(f"fleet-{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")


@pytest.fixture
def fleet(on: Environment) -> Iterator[Fleet]:
    made = Fleet(on, next(_NAMES))
    made.make()
    yield made
    on.force_delete(made.rollout, *made.clusters.values())


class Terminal:
    """A command on a pseudo-terminal that asks."""

    def __init__(self, on: Environment, *arguments: str):
        self.fd, child = pty.openpty()
        line, env = command(on, *arguments)
        self.process = subprocess.Popen(line, env={**env, "NO_COLOR": "1"}, stdin=child, stdout=child, stderr=child)
        os.close(child)
        self._output = OutputReader(self.fd)

    @property
    def text(self) -> str:
        return self._output.text

    def until(self, text: str) -> None:
        self._output.until(text)

    def answer(self, text: str) -> int:
        os.write(self.fd, f"{text}\n".encode())
        code = self.process.wait(60)
        os.close(self.fd)
        return code


# status


def test_status_shows_waves_clusters_and_what_to_do(on, fleet):
    approval = fleet.waits()
    text = output(on, "rollout", "status", fleet.name)
    assert re.search(r"^control planes to 1\.36 +WaitingForApproval +1/3, since ", text, re.MULTILINE), text
    assert re.search(r"^├─ ✓ canary +Passed +1/1 +passed \S+ ago$", text, re.MULTILINE), text
    assert re.search(rf"^└─ \? prod +WaitingForApproval +0/2 +hash {approval}$", text, re.MULTILINE), text
    assert re.search(rf"^ +default/{fleet.name}-prod-0 +1\.35 +waits for an approval$", text, re.MULTILINE), text
    assert f"keelson rollout approve {fleet.name} --wave prod" in text and "\x1b[" not in text
    answer = json.loads(output(on, "rollout", "status", fleet.name, "-o", "json"))
    assert answer["releases"][0]["waves"][1]["clusters"][0] == {
        "cluster": f"default/{fleet.name}-prod-0", "version": START, "doing": "WaitingForApproval",
    }
    assert [one["name"] for one in yaml.safe_load(output(on, "rollout", "status", "-o", "yaml"))["items"]] == [fleet.name]
    for name in ((), (fleet.name,)):
        assert output(on, "rollout", "status", *name, "-o", "name") == f"fleetrollout.keelson.dev/{fleet.name}\n"


def test_status_names_each_cluster_with_what_it_is_doing(on, fleet):
    canary, prod, _ = fleet.clusters.values()
    stalled = [
        {"type": kind, "status": status, "reason": "Failed", "message": "no capacity", "lastTransitionTime": "2026-11-28T10:00:00Z"}
        for kind, status in (("Ready", "False"), ("Stalled", "True"))
    ]
    fleet.write_status(canary, {"version": START, "conditions": stalled})
    fleet.on.api.patch(*key_of(prod)[:3], {"spec": {"version": START}}, "default")
    ticket = {"cluster": "x", "uid": fleet.uid(f"{fleet.name}-canary-0"), "id": f"ControlPlane/{GOAL}/1", "wave": "canary", "since": LONG_AGO}
    fleet.release(
        "Blocked", "m", [{"name": "canary", "state": "Progressing", "members": 1}, {"name": "prod", "state": "Progressing", "members": 2}], tickets=[ticket]
    )
    text = output(on, "rollout", "status", fleet.name)
    assert re.search(rf"^│ +default/{fleet.name}-canary-0 +1\.35 +failed: Failed: no capacity$", text, re.MULTILINE), text
    assert re.search(rf"^ +default/{fleet.name}-prod-0 +1\.35 +does not ask for it: its spec\.version is 1\.35$", text, re.MULTILINE), text
    assert f"keelson rollout promote {fleet.name} 1.36/canary" in text


def test_status_follows_changes_in_a_pipe_and_on_a_terminal(on, fleet):
    fleet.waits()
    watch = Following(on, "rollout", "status", fleet.name, "-w")
    try:
        watch.until(f"FleetRollout {fleet.name} WaitingForApproval: wave prod waits")
        fleet.halts()
        lines = watch.until(f"FleetRollout {fleet.name} Halted: wave canary has halted").splitlines()
        assert all(re.match(r"\d\d:\d\d:\d\d FleetRollout ", line) for line in lines), lines
    finally:
        watch.stop()
    text = on_terminal(on, "rollout", "status", fleet.name, "-w", until=("✗ canary", "You can"))
    assert "\x1b[2J" in text and "\x1b[31m" in text, "it is redrawn, in colour"
    plain = on_terminal(on, "rollout", "status", fleet.name, env={"NO_COLOR": "1"})
    assert "✗ canary" in plain and "\x1b[" not in plain


def test_rollout_that_does_not_exist_is_said(on):
    for verb in ("status", "approve", "retry"):
        assert run(on, "rollout", verb, "missing").stderr == "keelson: FleetRollout missing does not exist\n"


# approve


def test_approval_is_written_for_exactly_what_was_shown(on, fleet):
    fleet.annotate("from-git", approve="0123456789abcdef")
    approval = fleet.waits()
    refused = run(on, "rollout", "approve", fleet.name)
    assert refused.returncode == 1 and "there is no terminal to ask on" in refused.stderr
    assert f"~ default/{fleet.name}-prod-1  1.35 -> 1.36" in refused.stdout
    asking = Terminal(on, "rollout", "approve", fleet.name)
    asking.until("Approve? [y/N]")
    assert asking.answer("n") == 1 and fleet.annotation(APPROVE) == "0123456789abcdef"
    result = run(on, "rollout", "approve", fleet.name, "--wave", "prod", "--yes", "-o", "name")
    assert (result.returncode, result.stdout) == (0, f"fleetrollout.keelson.dev/{fleet.name}\n"), result.stderr
    assert "note: from-git applies the annotation keelson.dev/approve" in result.stderr
    assert fleet.annotation(APPROVE) == approval, "what no longer counts is dropped"
    assert "keelson-cli" in fleet.manager(APPROVE)
    assert "approved, and not yet processed" in output(on, "rollout", "approve", fleet.name)


def test_nothing_is_approved_if_the_clusters_change_meanwhile(on, fleet):
    fleet.waits()
    asking = Terminal(on, "rollout", "approve", fleet.name)
    asking.until("Approve? [y/N]")
    # Another cluster joins, and the operator notes it, before the person answers.
    fleet.join("prod", 2, START)
    fleet.waits()
    assert asking.answer("y") == 1 and fleet.annotation(APPROVE) is None


def test_status_that_is_written_meanwhile_does_not_hinder_an_approval(on, fleet):
    approval = fleet.waits()
    asking = Terminal(on, "rollout", "approve", fleet.name)
    asking.until("Approve? [y/N]")
    fleet.release("WaitingForApproval", "another message", fleet.found()["status"]["releases"][0]["waves"])
    assert asking.answer("y") == 0 and fleet.annotation(APPROVE) == approval


def test_hash_that_covers_other_clusters_is_not_approved_unseen(on, fleet):
    fleet.waits(approval="0" * 16)
    refused = run(on, "rollout", "approve", fleet.name, "--yes")
    assert refused.returncode == 1 and "are not those that the hash in its status covers" in refused.stderr, refused.stderr
    assert fleet.annotation(APPROVE) is None
    output(on, "rollout", "approve", fleet.name, "--hash", "0" * 16)
    assert fleet.annotation(APPROVE) == "0" * 16
    assert "waiting are: 0000000000000000" in run(on, "rollout", "approve", fleet.name, "--hash", "1" * 16).stderr


def test_owner_of_the_fleet_without_rights_to_clusters_may_decide(on, fleet):
    approval = fleet.waits()
    # Where the roles of people have one.
    on.apply(namespace("keelson-system"))
    kubeconfig = user(on, "owner")
    on.api.apply_all([{
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "owner"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "keelson-rollouts"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "owner"}],
    }])
    status = until_allowed(on, kubeconfig, "rollout", "status", fleet.name)
    assert status.returncode == 0 and "? prod" in status.stdout and "prod-0" not in status.stdout, status
    assert "you may not list EksClusters" in status.stderr
    approved = run(on, "rollout", "approve", fleet.name, "--yes", kubeconfig=kubeconfig)
    assert approved.returncode == 0 and "its clusters cannot be listed" in approved.stdout, approved
    assert fleet.annotation(APPROVE) == approval
    stranger = run(on, "rollout", "approve", fleet.name, "--yes", kubeconfig=user(on, "stranger"))
    assert stranger.returncode == 1 and "ask an administrator" in stranger.stderr


# retry


def test_retry_shows_what_failed_and_continues_once(on, fleet):
    fleet.waits()
    assert "no release has halted" in run(on, "rollout", "retry", fleet.name, "--yes").stderr
    fleet.halts()
    assert "there is no terminal to ask on" in run(on, "rollout", "retry", fleet.name).stderr and fleet.annotation(RETRY) is None
    text = output(on, "rollout", "retry", fleet.name, GOAL, "--yes")
    assert HALT["message"] in text and f"control planes to {GOAL} continue" in text
    first = fleet.annotation(RETRY)
    assert first == f"{GOAL}/1795860000"
    # It has counted, and the release halted again in the same second.
    fleet.write_status(fleet.rollout, {"lastHandledRetry": first})
    output(on, "rollout", "retry", fleet.name, "--yes")
    assert fleet.annotation(RETRY) != first


# promote


def test_promotion_says_what_is_skipped(on, fleet):
    fleet.on.api.patch(*key_of(fleet.clusters[f"{fleet.name}-canary-0"])[:3], {"status": {"version": START}}, "default", subresource="status")
    fleet.halts()
    refused = run(on, "rollout", "promote", fleet.name, f"{GOAL}/canary")
    assert refused.returncode == 1 and "there is no terminal to ask on" in refused.stderr
    assert f"1 of 1 clusters do not have the version (default/{fleet.name}-canary-0)" in refused.stdout
    assert f"stays so until keelson rollout retry {fleet.name} {GOAL}" in refused.stdout
    written = json.loads(output(on, "rollout", "promote", fleet.name, "--wave", "canary", "--yes", "-o", "json"))
    assert written["metadata"]["annotations"][PROMOTE] == f"{GOAL}/canary" == fleet.annotation(PROMOTE)
    output(on, "rollout", "promote", fleet.name, f"{GOAL}/prod", "--yes")
    assert fleet.annotation(PROMOTE) == f"{GOAL}/canary,{GOAL}/prod"
    assert "has passed already" in output(on, "rollout", "promote", fleet.name, f"{GOAL}/prod")
    assert "has no wave x; its waves: canary, prod" in run(on, "rollout", "promote", fleet.name, f"{GOAL}/x").stderr


# As a plugin of kubectl, and in the answers of other commands


def test_cluster_that_waits_names_its_wave_and_the_command_that_shows_it(on, fleet):
    (_, waits, _) = fleet.clusters.values()
    message = f"FleetRollout {fleet.name}: wave prod is not open yet: wave canary of {GOAL} has not passed"
    condition = {"type": "Ready", "status": "False", "reason": "WaitingForWave", "message": message, "lastTransitionTime": LONG_AGO}
    fleet.write_status(waits, {"conditions": [condition], "observedGeneration": 1})
    name = waits["metadata"]["name"]
    text = output(on, "status", name, "-n", "default")
    assert message in text
    advised = re.search(r"keelson (rollout status \S+)", text)
    assert advised and output(on, *advised[1].split()).startswith(f"FleetRollout {fleet.name}: ")
    row = rf"^{name} +False +WaitingForWave .*FleetRollout {fleet.name}: wave prod is not open yet"
    assert re.search(row, output(on, "get", "-n", "default"), re.MULTILINE)


def test_plugin_of_kubectl_has_the_same_verbs(on, fleet, tmp_path):
    line, env = command(on, "rollout", "status", fleet.name)
    plugin = tmp_path / "kubectl-keelson"
    plugin.symlink_to(line[0])
    result = subprocess.run([str(plugin), *line[1:]], env=env, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0 and result.stdout.startswith(f"FleetRollout {fleet.name}: "), result
    usage = subprocess.run([str(plugin), "rollout", "--help"], env=env, capture_output=True, text=True, check=True, timeout=60)
    assert "Usage: kubectl keelson rollout" in usage.stdout


def test_deleted_rollout_ends_the_watch(on, fleet):
    fleet.waits()
    watch = Following(on, "rollout", "status", fleet.name, "-w")
    try:
        watch.until("WaitingForApproval")
        on.force_delete(fleet.rollout)
        watch.until(f"FleetRollout {fleet.name} is deleted")
        until(lambda: watch.process.poll() == 0, 10, "the end")
    finally:
        watch.stop()
