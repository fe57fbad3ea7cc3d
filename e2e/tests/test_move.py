"""`keelson move`: clusters go to another management cluster. Both operators write tags and nothing else; cut off anywhere, run again, it
ends the same.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet import restore
from fleet.account import Account, fresh_account
from fleet.killing import killed_at
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, flux, key_of, node_group, secret
from fleet.others import TAGGING, picture
from fleet.environment import READ_AFTER_WRITE_WINDOW, Environment, actions, environment, until
from keelson_harness.aws import Durations
from keelson_harness.controller import Controller
from keelson_harness.kubeapi import KubeApi, conditions, documents
from keelson_harness.kubernetes import BASE_CONTROLLERS, ControlPlane
from keelson_harness.paths import CRDS, DEPLOY, keelson_binary

OPERATOR = f"system:serviceaccount:{restore.NAMESPACE}:keelson"
SERVICE_ACCOUNTS = ("system:serviceaccounts", f"system:serviceaccounts:{restore.NAMESPACE}")
QUICK = ("--drift-interval=2s",)


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(0.5, 0.5, 0.5, 0.5, 0.2, 0.2)) as started:
        yield started


class There:
    """Another management cluster, with an API server of its own. Like an Environment, as far as operators are started in it."""

    def __init__(self, on: Environment):
        self.on, self.aws = on, on.aws
        self.plane: ControlPlane = on.cloud._control_plane("management-2", BASE_CONTROLLERS)
        on.cloud._bring_up(self.plane)()
        self.api: KubeApi = self.plane.api
        kinds = [item for path in sorted(CRDS.glob("*.yaml")) for item in documents(path)]
        self.api.apply_all([item for item in kinds if item["kind"] == "CustomResourceDefinition"])
        names = ("namespace.yaml", "service-account.yaml", "rbac.yaml", "secrets-cluster-wide/rbac.yaml")
        self.api.apply_all([item for name in names for item in documents(DEPLOY / name)])
        self.kubeconfig: Path = self.plane.kubeconfig_for(OPERATOR, SERVICE_ACCOUNTS)

    def start(self, account: str, wait: bool = True) -> Controller:
        env = {"AWS_ACCESS_KEY_ID": account, "POD_NAME": "keelson-there"}
        started = self.on.cloud.operator(READ_AFTER_WRITE_WINDOW, *QUICK, env=env, kubeconfig=self.kubeconfig)
        if wait:
            self.on.await_ready(started)
        return started

    def mark(self) -> int:
        return self.on.mark()

    def writes(self, since: int, account: str) -> list[dict]:
        return self.on.writes(since, account)


@pytest.fixture(scope="module")
def there(on) -> There:
    return There(on)


def command(on: Environment, there: There, *arguments: str) -> tuple[list[str], dict[str, str]]:
    env = {"KUBECONFIG": str(on.cloud.management.kubeconfig), "PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    return [str(keelson_binary()), "move", f"--to={there.plane.kubeconfig}", "--namespace=default", *arguments], env


def move(on: Environment, there: There, *arguments: str) -> str:
    words, env = command(on, there, *arguments)
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class Made:
    """A cluster with a node group, Ready here, and no operator anywhere."""

    on: Environment
    there: There
    account: Account
    items: tuple[dict, dict]
    name: str

    def writes(self, since: int) -> list[dict]:
        return [c for c in self.on.writes(since, self.account.id) if c["status"] < 400]

    def found(self, api: KubeApi) -> list[dict]:
        return [item for one in self.items if (item := api.find(*key_of(one)))]

    def uids(self, api: KubeApi) -> set[str]:
        return {item["metadata"]["uid"] for item in self.found(api)}

    def owners(self) -> set[str]:
        return restore.owned_by(self.account, f"default/{self.name}")

    def is_ready_there(self) -> bool:
        states = [conditions(item).get("Ready", {}).get("status") for item in self.found(self.there.api)]
        return states == ["True", "True"]

    def handed_over(self) -> bool:
        done = [item.get("status", {}).get("handOver", {}).get("installation") for item in self.found(self.on.api)]
        return done == [self.installation_there()] * 2

    def installation_there(self) -> str:
        return self.there.api.get("v1", "ConfigMap", "keelson-installation", restore.NAMESPACE)["data"]["id"]


@pytest.fixture
def made(on, there) -> Iterator[Made]:
    account = on.account(fresh_account())
    name = f"demo-{account.id[-3:]}"
    access = aws_account(f"account-{account.id}", account.id)
    spec = {"network": {"vpc": {"zoneCount": 2}}, "accountRef": {"name": access["metadata"]["name"]}}
    items = (cluster(name, **spec), node_group(name))
    on.apply(access)
    with on.operator(*QUICK, account=account.id):
        on.apply(*items)
        on.ready(*items)
    # The other installation has its id.
    there.start(account.id).stop()
    made = Made(on, there, account, items, name)
    yield made
    on.aws.clear_faults()
    on.force_delete(*items)
    for item in made.found(there.api):
        version, kind, name, namespace = key_of(item)
        there.api.patch(version, kind, name, {"metadata": {"finalizers": None}}, namespace)
        there.api.delete(*key_of(item))


def assert_moved(made: Made, before: dict, since: int) -> None:
    assert {call["action"] for call in made.writes(since)} <= TAGGING, actions(made.writes(since))
    assert picture(made.account, without_ours=True) == before
    assert made.owners() == made.uids(made.there.api)
    tags = restore.owners(made.account).values()
    assert {one[restore.INSTALLATION] for one in tags} == {made.installation_there()}
    for item in made.found(made.on.api):
        assert "finalizers" not in item["metadata"], item["metadata"]


def test_a_cluster_is_moved_by_tags_alone_and_goes_on_there(on, there, made):
    before, since = picture(made.account, without_ours=True), on.mark()
    here, elsewhere = on.start(*QUICK, account=made.account.id), there.start(made.account.id)
    text = move(on, there, "--dry-run")
    assert "nothing was changed" in text and made.name in text
    assert made.found(there.api) == [] and not on.api.get(*key_of(made.items[0]))["spec"].get("suspend")

    text = move(on, there)
    assert "moved" in text and text.count("taken over\n") == 2
    until(made.is_ready_there, 60, "it to be Ready there")
    assert_moved(made, before, since)
    # A second time there is nothing to do.
    mark = on.mark()
    move(on, there)
    assert actions(made.writes(mark)) == []
    # What is left here is no more than an entry: neither resumed nor deleted does it anything in AWS.
    item = made.items[0]
    on.api.patch(*key_of(item)[:3], {"spec": {"suspend": False}})
    on.await_condition(item, "Stalled", reason="NotOwned")
    on.delete(*reversed(made.items))
    assert actions(made.writes(mark)) == []
    # And there it is a cluster like any other.
    for one in reversed(made.items):
        there.api.delete(*key_of(one))
    for one in made.items:
        there.api.wait_gone(*key_of(one), 90)
    assert {kind: ids for kind, ids in made.account.inventory().items() if ids} == {}
    here.stop()
    elsewhere.stop()


def test_cut_off_again_and_again_it_ends_the_same(on, there, made):
    before, since = picture(made.account, without_ours=True), on.mark()
    here, elsewhere = on.start(*QUICK, account=made.account.id), there.start(made.account.id)
    words, env = command(on, there)
    cuts, code = 0, None
    while code != 0:
        process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            code = process.wait(0.03 * (cuts + 1))
            assert code == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            cuts += 1
        assert cuts < 200
    assert cuts > 3
    until(made.is_ready_there, 60, "it to be Ready there")
    assert_moved(made, before, since)
    here.stop()
    elsewhere.stop()


def test_both_operators_killed_at_every_write_it_ends_the_same(on, there, made, capsys):
    before, since = picture(made.account, without_ours=True), on.mark()
    words, env = command(on, there, "--timeout=170")
    process = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    run = killed_at(on, made.account.id, made.handed_over)
    with capsys.disabled():
        print(f"\n  {run.summary('hand-over')}")
    assert len(run.points) >= 10
    run = killed_at(there, made.account.id, made.is_ready_there)
    with capsys.disabled():
        print(f"\n  {run.summary('take-over')}")
    assert len(run.points) >= 10
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert_moved(made, before, since)


def test_until_it_is_handed_over_the_other_installation_takes_nothing(on, there, made):
    """Objects that were only copied there: this installation's claim lives."""
    old = restore.uid_of(on, made.items[0])
    there.api.apply_all([aws_account(f"account-{made.account.id}", made.account.id), *made.items])
    version, kind, name, namespace = key_of(made.items[0])
    there.api.patch(version, kind, name, {"metadata": {"annotations": {restore.RECOVER: old}}}, namespace)
    since = on.mark()
    elsewhere = there.start(made.account.id)

    def refused() -> bool:
        stalled = conditions(there.api.get(version, kind, name, namespace)).get("Stalled", {})
        return stalled.get("reason") == "NotOwned" and restore.installation(on) in stalled["message"]

    until(refused, 40, "the refusal")
    time.sleep(3)
    assert actions(made.writes(since)) == []
    elsewhere.stop()


def test_what_has_nothing_in_aws_is_copied_as_it_is_with_the_secrets_that_it_names(on, there):
    account = on.account(fresh_account())
    there.start(account.id).stop()
    with on.operator(account=account.id):
        pass
    source = flux("https://git.example.com/fleet.git", secretRef={"name": "deploy-key"})
    item = cluster("planned", gitops=source, suspend=True)
    item["metadata"]["labels"] = {"team": "shop"}
    on.apply(secret("deploy-key", identity="key"), item)
    move(on, there)
    move(on, there)
    moved = there.api.get(*key_of(item))
    assert moved["spec"]["suspend"] is True and moved["metadata"]["labels"] == {"team": "shop"}
    assert restore.RECOVER not in moved["metadata"].get("annotations", {})
    kept, copy = (api.get("v1", "Secret", "deploy-key") for api in (on.api, there.api))
    assert (copy["data"], copy["metadata"]["labels"]) == (kept["data"], kept["metadata"]["labels"])
    assert on.writes(0, account.id) == []
    on.api.delete(*key_of(item))
    there.api.delete(*key_of(item))
