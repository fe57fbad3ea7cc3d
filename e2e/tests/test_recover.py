"""A management cluster that is lost: objects restored from a backup or applied anew from Git take over what their names had, on a
person's word; nothing is written to AWS but tags. And what is lost without harm: Lease, ConfigMaps, status older than AWS.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fleet import restore
from fleet.account import CLUSTER, OWNER, Account, fresh_account
from fleet.killing import killed_at
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, key_of, node_group
from fleet.others import TAGGING, picture, rests
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import REGION, Durations
from keelson_harness.kubeapi import conditions, documents
from keelson_harness.paths import DEPLOY, keelson_binary

APPROVE = "keelson.dev/approve"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(0.5, 0.5, 0.5, 0.5, 0.2, 0.2)) as started:
        yield started


@dataclass
class Made:
    """A cluster with a network, roles and a node group of its own, Ready; and no operator."""

    on: Environment
    account: Account
    access: dict
    cluster: dict
    nodes: dict
    name: str

    @property
    def items(self) -> tuple[dict, dict]:
        return self.cluster, self.nodes

    def writes(self, since: int) -> list[dict]:
        return [c for c in self.on.writes(since, self.account.id) if c["status"] < 400]

    def is_ready(self) -> bool:
        found = [self.on.api.find(*key_of(item)) for item in self.items]
        states = [conditions(item or {}).get("Ready", {}).get("status") for item in found]
        return states == ["True", "True"]

    def operator(self, *args: str):
        return self.on.operator("--drift-interval=2s", *args, account=self.account.id)

    def owners(self) -> set[str]:
        return restore.owned_by(self.account, f"default/{self.name}")

    def uids(self) -> set[str]:
        return {restore.uid_of(self.on, item) for item in self.items}


@pytest.fixture
def made(on) -> Iterator[Made]:
    account = on.account(fresh_account())
    name = f"demo-{account.id[-3:]}"
    access = aws_account(f"account-{account.id}", account.id)
    vpc = {"zoneCount": 2, "endpoints": ["s3", "ecr.api"]}
    item = cluster(name, network={"vpc": vpc}, accountRef={"name": access["metadata"]["name"]})
    made = Made(on, account, access, item, node_group(name), name)
    on.apply(access)
    with made.operator():
        on.apply(*made.items)
        on.ready(*made.items)
    yield made
    on.aws.clear_faults()
    on.force_delete(*made.items)


def told_of_old(on: Environment, item: dict, uid: str) -> str:
    """The message that names the earlier object, and the command."""

    def found() -> str | None:
        stalled = on.condition(item, "Stalled")
        says = (stalled.get("status"), stalled.get("reason")) == ("True", "NotOwned")
        return stalled["message"] if says and uid in stalled["message"] else None

    return until(found, 40, f"{item['metadata']['name']} to name UID {uid}")


def run_command(on: Environment, message: str) -> None:
    """Does what the message says, word for word."""
    said = re.search(r"kubectl annotate (\w+)/([\w.-]+) -n ([\w-]+) --overwrite (\S+?)=([\w/-]+)", message)
    assert said, message
    kind = {"ekscluster": "EksCluster", "nodegroup": "NodeGroup"}[said[1]]
    patch = {"metadata": {"annotations": {said[4]: said[5]}}}
    on.api.patch("keelson.dev/v1alpha1", kind, said[2], patch, said[3])


def assert_taken_over(made: Made, before: dict, installation: str) -> None:
    assert picture(made.account, without_ours=True) == before
    assert made.owners() == made.uids()
    tags = restore.owners(made.account)
    assert {one[restore.INSTALLATION] for one in tags.values()} == {installation}


def test_applied_anew_it_names_the_command_and_then_takes_over_by_tags_alone(on, made):
    before, since = picture(made.account, without_ours=True), on.mark()
    old = restore.lose(on, *made.items)
    restore.from_git(on, *made.items)
    with made.operator():
        message = told_of_old(on, made.cluster, old[0])
        assert f"default/{made.name}" in message and "no object of that UID exists" in message
        rests(on, made.account, 3)
        assert actions(made.writes(since)) == []

        run_command(on, message)
        # A node group waits for its cluster, and then names its own.
        run_command(on, told_of_old(on, made.nodes, old[1]))
        on.ready(*made.items)
        assert {call["action"] for call in made.writes(since)} <= TAGGING, actions(made.writes(since))
        assert_taken_over(made, before, restore.installation(on))
        for item, uid in zip(made.items, old, strict=True):
            recovery = on.status(item)["recovery"]
            assert (recovery["annotation"], recovery["owner"]) == (uid, uid)
            assert any(event["reason"] == "Recovered" and uid in event["note"] for event in on.events(item))
        assert on.status(made.cluster)["recovery"]["resources"] > 15
        # The word is used up: nothing is done about it any more.
        rests(on, made.account, 3)
        # All of it is on record as its own, roles with the names of before among it.
        on.delete(*reversed(made.items), timeout=90)
    assert {kind: ids for kind, ids in made.account.inventory().items() if ids} == {}


@pytest.mark.parametrize("with_status", [False, True], ids=["as-velero-does", "with-status"])
def test_restored_from_a_backup_it_takes_over(on, made, with_status):
    before = picture(made.account, without_ours=True)
    backup = restore.backup_of(on, *made.items)
    old = restore.lose(on, *made.items)
    restore.from_velero(on, backup, with_status)
    since = on.mark()
    with made.operator():
        told_of_old(on, made.cluster, old[0])
        for item, uid in zip(made.items, old, strict=True):
            restore.annotate(on, item, uid)
        until(lambda: made.owners() == made.uids(), 40, "all of it to be taken over")
        on.ready(*made.items)
    assert {call["action"] for call in made.writes(since)} <= TAGGING
    assert_taken_over(made, before, restore.installation(on))


def test_killed_at_every_write_it_is_taken_over_as_if_nothing_had_been(on, made, capsys):
    before = picture(made.account, without_ours=True)
    old = restore.lose(on, *made.items)
    restore.from_git(on, *made.items)
    for item, uid in zip(made.items, old, strict=True):
        restore.annotate(on, item, uid)
    run = killed_at(on, made.account.id, made.is_ready)
    with capsys.disabled():
        print(f"\n  {run.summary('recovery')}")
    assert len(run.points) >= 15
    assert {point.split(" ")[0].partition(":")[2] for point in run.writes} <= TAGGING, run.writes
    assert_taken_over(made, before, restore.installation(on))


def test_with_git_alone_it_is_refused_until_the_installation_is_named(on, made):
    before, installation = picture(made.account, without_ours=True), restore.installation(on)
    old = restore.lose(on, *made.items)
    restore.forget_config(on)
    restore.from_git(on, *made.items)
    since = on.mark()
    with made.operator():
        message = told_of_old(on, made.cluster, old[0])
        assert f"--installation-id {installation}" in message and "recover=" not in message
        restore.annotate(on, made.cluster, old[0])
        until(lambda: "carries the tag of installation" in on.condition(made.cluster)["message"], 20, "the refusal")
        assert actions(made.writes(since)) == []
    restore.forget_config(on)
    with made.operator(f"--installation-id={installation}"):
        until(lambda: made.owners() != set(old), 40, "the cluster to be taken over")
        restore.annotate(on, made.nodes, old[1])
        on.ready(*made.items)
    assert restore.installation(on) == installation
    assert {call["action"] for call in made.writes(since)} <= TAGGING
    assert_taken_over(made, before, installation)


def test_a_lost_lease_and_lost_configmaps_write_nothing(on, made):
    before, since = picture(made.account), on.mark()
    restore.forget_config(on)
    with made.operator():
        rests(on, made.account, 4)
        on.ready(*made.items)
        assert restore.installation(on)
        # Lost while it leads: what it knows is kept.
        restore.forget_config(on)
        rests(on, made.account, 4)
    assert actions(made.writes(since)) == []
    assert picture(made.account) == before


def set_status(on: Environment, item: dict, status: dict) -> None:
    version, kind, name, namespace = key_of(item)
    on.api.patch(version, kind, name, {"status": status}, namespace, subresource="status")


def test_etcd_from_before_the_cluster_was_made_names_the_command_and_writes_nothing(on, made):
    """The same object, with nothing on record: what carries its own UID is put on record by a word."""
    before, since = picture(made.account), on.mark()
    uid = restore.uid_of(on, made.cluster)
    nothing = dict.fromkeys(on.status(made.cluster))
    set_status(on, made.cluster, nothing)
    with made.operator():
        message = told_of_old(on, made.cluster, uid)
        assert "not on record" in message
        rests(on, made.account, 2)
        run_command(on, message)
        on.ready(*made.items)
        assert on.status(made.cluster)["recovery"]["owner"] == uid
        rests(on, made.account, 3)
    assert actions(made.writes(since)) == []
    assert picture(made.account) == before


def test_a_stale_inventory_writes_nothing(on, made):
    """etcd from before the last lines were written: some are missing, some are of what was made anew since."""
    before, since = picture(made.account), on.mark()
    lines = on.status(made.cluster)["resources"]
    proof = ("cluster", "vpc")
    stale = [
        {**line, "id": line["id"][:-4] + "dead"} if line["key"].startswith(("subnet/", "routeTable/")) else line
        for line in lines
        if line["key"] in proof or not line["key"].startswith(("natGateway/", "elasticIp/", "role/", "addon/"))
    ]
    assert len(stale) < len(lines)
    set_status(on, made.cluster, {"resources": stale, "version": None, "conditions": []})
    with made.operator():
        on.ready(*made.items)
        rests(on, made.account, 4)
        now = {line["key"]: line["id"] for line in on.status(made.cluster)["resources"]}
        assert now == {line["key"]: line["id"] for line in lines}
    assert actions(made.writes(since)) == []
    assert picture(made.account) == before


def test_it_waits_for_an_approval_of_what_it_takes_over_and_observes_where_that_is_asked_for(on, made):
    before = picture(made.account, without_ours=True)
    old = restore.lose(on, *made.items)
    made.cluster["spec"]["changePolicy"] = "Observe"
    restore.from_git(on, made.cluster)
    restore.annotate(on, made.cluster, old[0])
    since = on.mark()
    with made.operator():
        on.await_condition(made.cluster, "Stalled", reason="Observed")
        plan = on.status(made.cluster)["plan"]
        assert {step["action"] for step in plan["steps"]} == {"Adopt"} and len(plan["steps"]) > 15
        assert all(old[0] in step["reason"] for step in plan["steps"])
        vpc = next(step for step in plan["steps"] if step["resource"] == "vpc")
        assert re.match(r"id: vpc-\w+; owner: " + old[0], vpc["detail"]), vpc

        on.api.patch(*key_of(made.cluster)[:3], {"spec": {"changePolicy": "Approval"}})
        on.await_condition(made.cluster, "Stalled", reason="WaitingForApproval")
        assert old[0] in on.condition(made.cluster)["message"]
        assert actions(made.writes(since)) == []
        plan = on.status(made.cluster)["plan"]
        on.api.patch(*key_of(made.cluster)[:3], {"metadata": {"annotations": {APPROVE: plan["hash"]}}})
        until(lambda: "recovery" in on.status(made.cluster), 30, "the recovery")
        on.ready(made.cluster)
    assert {call["action"] for call in made.writes(since)} <= TAGGING
    assert picture(made.account, without_ours=True) == before


def test_suspended_it_takes_over_and_nothing_else_is_done_before_it_is_resumed(on, made):
    before, since = picture(made.account, without_ours=True), on.mark()
    old = restore.lose(on, *made.items)
    made.cluster["spec"].update(suspend=True, logging=["api"])
    restore.from_git(on, *made.items)
    with made.operator():
        on.await_condition(made.cluster, status="False", reason="Suspended")
        assert actions(made.writes(since)) == []
        for item, uid in zip(made.items, old, strict=True):
            restore.annotate(on, item, uid)
        until(lambda: all("recovery" in on.status(item) for item in made.items), 40, "both to be taken over")
        assert_taken_over(made, before, restore.installation(on))
        assert {call["action"] for call in made.writes(since)} <= TAGGING
        on.api.patch(*key_of(made.cluster)[:3], {"spec": {"suspend": False}})
        until(lambda: "UpdateClusterConfig" in {call["action"] for call in made.writes(since)}, 30, "the edit")
        on.ready(*made.items)


RBAC = "rbac.authorization.k8s.io"


def recoverer(on: Environment) -> str:
    """A kubeconfig of somebody who has what `deploy/` has for this verb, and nothing else."""
    roles = [o for o in documents(DEPLOY / "rbac-users.yaml") if o["metadata"]["name"] == "keelson-recover"]
    user = {"kind": "User", "name": "recoverer", "apiGroup": RBAC}
    for role in roles:
        binding = {
            "apiVersion": f"{RBAC}/v1",
            "kind": f"{role['kind']}Binding",
            "metadata": role["metadata"],
            "roleRef": {"apiGroup": RBAC, "kind": role["kind"], "name": "keelson-recover"},
            "subjects": [user],
        }
        on.apply(role, binding)
    assert {role["kind"] for role in roles} == {"ClusterRole", "Role"}
    return str(on.cloud.management.kubeconfig_for("recoverer"))


def recover(on: Environment, account: Account, *arguments: str) -> str:
    aws = {**on.cloud.operator_env(), "AWS_ACCESS_KEY_ID": account.id, "KUBECONFIG": recoverer(on)}
    env = {**aws, "PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    command = [str(keelson_binary()), "recover", *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_verb_lists_whose_everything_is_and_gives_the_word(on, made):
    account = made.account
    text = recover(on, account, "--dry-run")
    verdicts = {line.split("  ")[-1].strip() for line in text.splitlines()[1:] if account.id in line}
    assert verdicts == {"owned"}, text

    old = restore.lose(on, *made.items)
    # Nobody's any more, and in a region where there is no object: only where it is asked for.
    text = recover(on, account, "--dry-run", f"--region={REGION}")
    rows = [line for line in text.splitlines() if account.id in line]
    assert rows and all(line.endswith("orphaned") for line in rows), text
    assert "nothing can be taken over" in text

    restore.from_git(on, *made.items)
    text = recover(on, account, "--dry-run")
    rows = [line for line in text.splitlines() if account.id in line]
    assert rows and all(line.endswith("recoverable") for line in rows), text
    assert {uid for uid in old if uid in text} == set(old)
    text = recover(on, account, "--dry-run", "--installation-id=another")
    assert f"other installation ({restore.installation(on)})" in text
    annotations = on.api.get(*key_of(made.cluster))["metadata"].get("annotations", {})
    assert restore.RECOVER not in annotations

    text = recover(on, account, "--all")
    for item, uid in zip(made.items, old, strict=True):
        kind = item["kind"].lower()
        assert f"{kind}/{item['metadata']['name']} -n default: takes over what UID {uid} had" in text
    assert "is told already" in recover(on, account, f"ekscluster/{made.name}", "-n", "default")
    with made.operator():
        until(lambda: made.owners() == made.uids(), 60, "all of it to be taken over")
        on.ready(*made.items)
    assert "nothing can be taken over" in recover(on, account)


def test_what_was_made_without_an_installation_is_taken_over_and_nothing_is_written_before(on, made):
    """By a Keelson of before: its resources name no installation, and an upgrade writes none."""
    account, installation = made.account, restore.installation(on)
    for one, tags in restore.owners(account).items():
        if one.startswith(("vpc-", "subnet-", "nat-", "rtb-", "igw-", "eipalloc-", "sg-", "vpce-")):
            account.ec2.delete_tags(Resources=[one], Tags=[{"Key": restore.INSTALLATION}])
        elif one in account.roles():
            account.iam.untag_role(RoleName=one, TagKeys=[restore.INSTALLATION])
        assert tags[CLUSTER] == f"default/{made.name}" and tags[OWNER]
    arn = account.eks.describe_cluster(name=made.name)["cluster"]["arn"]
    account.eks.untag_resource(resourceArn=arn, tagKeys=[restore.INSTALLATION])
    since = on.mark()
    with made.operator():
        rests(on, account, 3)
    assert actions(made.writes(since)) == []
    before, old = picture(account, without_ours=True), restore.lose(on, *made.items)
    restore.from_git(on, *made.items)
    for item, uid in zip(made.items, old, strict=True):
        restore.annotate(on, item, uid)
    with made.operator():
        on.ready(*made.items)
    assert_taken_over(made, before, installation)
