"""Loss of the management cluster: objects restored from a backup or applied again from Git take over the resources of the lost objects
of the same names once a user confirms it; only tags are written to AWS. Also: losing the Lease, ConfigMaps or recent status is harmless.
"""

from __future__ import annotations

import json
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
from fleet.existing_clusters import TAGGING, picture, assert_idle
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
class RecoverableCluster:
    """A Ready cluster with its own network, roles and node group; no operator is running."""

    on: Environment
    account: Account
    account_object: dict
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
def recoverable(on) -> Iterator[RecoverableCluster]:
    account = on.account(fresh_account())
    name = f"demo-{account.id[-3:]}"
    account_object = aws_account(f"account-{account.id}", account.id)
    vpc = {"zoneCount": 2, "endpoints": ["s3", "ecr.api"]}
    item = cluster(name, network={"vpc": vpc}, accountRef={"name": account_object["metadata"]["name"]})
    recoverable = RecoverableCluster(on, account, account_object, item, node_group(name), name)
    on.apply(account_object)
    with recoverable.operator():
        on.apply(*recoverable.items)
        on.ready(*recoverable.items)
    yield recoverable
    on.aws.clear_faults()
    on.force_delete(*recoverable.items)


def wait_for_recover_message(on: Environment, item: dict, uid: str) -> str:
    """Waits for the message that names the earlier object and the command. Returns the message."""

    def found() -> str | None:
        stalled = on.condition(item, "Stalled")
        not_owned = (stalled.get("status"), stalled.get("reason")) == ("True", "NotOwned")
        return stalled["message"] if not_owned and uid in stalled["message"] else None

    return until(found, 40, f"{item['metadata']['name']} to name UID {uid}")


def run_command(on: Environment, message: str) -> None:
    """Does exactly what the command in the message does."""
    command = re.search(r"kubectl annotate (\w+)/([\w.-]+) -n ([\w-]+) --overwrite (\S+?)=([\w/-]+)", message)
    assert command, message
    kind = {"ekscluster": "EksCluster", "nodegroup": "NodeGroup"}[command[1]]
    patch = {"metadata": {"annotations": {command[4]: command[5]}}}
    on.api.patch("keelson.dev/v1alpha1", kind, command[2], patch, command[3])


def assert_taken_over(recoverable: RecoverableCluster, before: dict, installation: str) -> None:
    assert picture(recoverable.account, without_ours=True) == before
    assert recoverable.owners() == recoverable.uids()
    tags = restore.owners(recoverable.account)
    assert {one[restore.INSTALLATION] for one in tags.values()} == {installation}


def test_object_applied_again_reports_recover_command_and_takes_over_by_tags_only(on, recoverable):
    before, since = picture(recoverable.account, without_ours=True), on.mark()
    old = restore.lose(on, *recoverable.items)
    restore.from_git(on, *recoverable.items)
    with recoverable.operator():
        message = wait_for_recover_message(on, recoverable.cluster, old[0])
        assert f"default/{recoverable.name}" in message and "no object with that UID exists" in message
        assert_idle(on, recoverable.account, 3)
        assert actions(recoverable.writes(since)) == []

        run_command(on, message)
        # A node group waits for its cluster, and then reports its own command.
        run_command(on, wait_for_recover_message(on, recoverable.nodes, old[1]))
        on.ready(*recoverable.items)
        assert {call["action"] for call in recoverable.writes(since)} <= TAGGING, actions(recoverable.writes(since))
        assert_taken_over(recoverable, before, restore.installation(on))
        for item, uid in zip(recoverable.items, old, strict=True):
            recovery = on.status(item)["recovery"]
            assert (recovery["annotation"], recovery["owner"]) == (uid, uid)
            assert any(event["reason"] == "Recovered" and uid in event["note"] for event in on.events(item))
        assert on.status(recoverable.cluster)["recovery"]["resources"] > 15
        # The annotation is used up and has no further effect.
        assert_idle(on, recoverable.account, 3)
        # Everything is recorded as owned by the new object, including roles with names from before.
        on.delete(*reversed(recoverable.items), timeout=90)
    assert {kind: ids for kind, ids in recoverable.account.inventory().items() if ids} == {}


@pytest.mark.parametrize("with_status", [False, True], ids=["as-velero-does", "with-status"])
def test_object_restored_from_backup_takes_over(on, recoverable, with_status):
    before = picture(recoverable.account, without_ours=True)
    backup = restore.backup_of(on, *recoverable.items)
    old = restore.lose(on, *recoverable.items)
    restore.from_velero(on, backup, with_status)
    since = on.mark()
    with recoverable.operator():
        wait_for_recover_message(on, recoverable.cluster, old[0])
        for item, uid in zip(recoverable.items, old, strict=True):
            restore.annotate(on, item, uid)
        until(lambda: recoverable.owners() == recoverable.uids(), 40, "takeover of all resources")
        on.ready(*recoverable.items)
    assert {call["action"] for call in recoverable.writes(since)} <= TAGGING
    assert_taken_over(recoverable, before, restore.installation(on))


def test_takeover_completes_when_killed_at_every_write(on, recoverable, capsys):
    before = picture(recoverable.account, without_ours=True)
    old = restore.lose(on, *recoverable.items)
    restore.from_git(on, *recoverable.items)
    for item, uid in zip(recoverable.items, old, strict=True):
        restore.annotate(on, item, uid)
    run = killed_at(on, recoverable.account.id, recoverable.is_ready)
    with capsys.disabled():
        print(f"\n  {run.summary('recovery')}")
    assert len(run.points) >= 15
    assert {point.split(" ")[0].partition(":")[2] for point in run.writes} <= TAGGING, run.writes
    assert_taken_over(recoverable, before, restore.installation(on))


def test_recovery_from_git_alone_requires_the_installation_id(on, recoverable):
    before, installation = picture(recoverable.account, without_ours=True), restore.installation(on)
    old = restore.lose(on, *recoverable.items)
    restore.forget_config(on)
    restore.from_git(on, *recoverable.items)
    since = on.mark()
    with recoverable.operator():
        message = wait_for_recover_message(on, recoverable.cluster, old[0])
        assert f"--installation-id {installation}" in message and "recover=" not in message
        restore.annotate(on, recoverable.cluster, old[0])
        until(lambda: "carry the tag of installation" in on.condition(recoverable.cluster)["message"], 20, "the rejection")
        assert actions(recoverable.writes(since)) == []
    restore.forget_config(on)
    with recoverable.operator(f"--installation-id={installation}"):
        until(lambda: recoverable.owners() != set(old), 40, "takeover of the cluster")
        restore.annotate(on, recoverable.nodes, old[1])
        on.ready(*recoverable.items)
    assert restore.installation(on) == installation
    assert {call["action"] for call in recoverable.writes(since)} <= TAGGING
    assert_taken_over(recoverable, before, installation)


def test_lost_lease_durations_and_deletions_cause_no_aws_writes(on, recoverable):
    before, since = picture(recoverable.account), on.mark()
    restore.forget_config(on, "keelson-duration-estimates", "keelson-deletions")
    with recoverable.operator():
        assert_idle(on, recoverable.account, 4)
        on.ready(*recoverable.items)
        # Lost while the operator leads: it keeps its state.
        restore.forget_config(on)
        assert_idle(on, recoverable.account, 4)
    assert actions(recoverable.writes(since)) == []
    assert picture(recoverable.account) == before


def installations(recoverable: RecoverableCluster) -> set[str]:
    # The cluster's security group keeps the tags that EKS created it with.
    owners = restore.owners(recoverable.account).items()
    return {tags[restore.INSTALLATION] for one, tags in owners if not one.startswith("sg-")}


def test_lost_installation_id_is_reported_and_corrected_in_the_tags_of_owned_resources(on, recoverable):
    """As after uninstalling, which deletes the namespace of the operator, and a new installation."""
    before, since, lost = picture(recoverable.account, without_ours=True), on.mark(), restore.installation(on)
    assert installations(recoverable) == {lost}
    restore.forget_config(on)
    with recoverable.operator() as operator:
        until(lambda: installations(recoverable) not in (set(), {lost}), 60, "the first corrected tag")
        until(lambda: installations(recoverable) == {restore.installation(on)}, 90, "the new id in all tags")
        on.ready(*recoverable.items)
        assert restore.installation(on) != lost
        assert f'keelson_installation_info{{id="{restore.installation(on)}"}} 1' in operator.metrics()
        changed = [event["note"] for event in on.events(recoverable.cluster) if event["reason"] == "InstallationChanged"]
        assert any(restore.installation(on) in note and "--installation-id" in note for note in changed), changed
        assert_idle(on, recoverable.account, 3)
    assert {call["action"] for call in recoverable.writes(since)} <= TAGGING, actions(recoverable.writes(since))
    assert picture(recoverable.account, without_ours=True) == before
    assert recoverable.owners() == recoverable.uids()


def test_configured_installation_id_replaces_the_stored_one(on, recoverable):
    chosen = f"chosen-{recoverable.account.id}"
    with recoverable.operator(f"--installation-id={chosen}"):
        until(lambda: restore.installation(on) == chosen, 20, "the stored id")
        until(lambda: installations(recoverable) == {chosen}, 90, "the id in all tags")
    # Without the flag it stays, and the command goes by it.
    with recoverable.operator():
        assert_idle(on, recoverable.account, 3)
    assert restore.installation(on) == chosen
    text = recover(on, recoverable.account, "--dry-run")
    assert "other installation" not in text and "owned" in text, text


def set_status(on: Environment, item: dict, status: dict) -> None:
    version, kind, name, namespace = key_of(item)
    on.api.patch(version, kind, name, {"status": status}, namespace, subresource="status")


def test_etcd_restored_from_before_cluster_creation_reports_recover_command_and_writes_nothing(on, recoverable):
    """The same object, with empty status: resources tagged with its UID are recorded once a user confirms it."""
    before, since = picture(recoverable.account), on.mark()
    uid = restore.uid_of(on, recoverable.cluster)
    empty_status = dict.fromkeys(on.status(recoverable.cluster))
    set_status(on, recoverable.cluster, empty_status)
    with recoverable.operator():
        message = wait_for_recover_message(on, recoverable.cluster, uid)
        assert "not recorded" in message
        assert_idle(on, recoverable.account, 2)
        run_command(on, message)
        on.ready(*recoverable.items)
        assert on.status(recoverable.cluster)["recovery"]["owner"] == uid
        assert_idle(on, recoverable.account, 3)
    assert actions(recoverable.writes(since)) == []
    assert picture(recoverable.account) == before


def test_stale_status_resources_cause_no_aws_writes(on, recoverable):
    """An etcd backup from before the last status updates: some entries are missing, some are of resources that were replaced since."""
    before, since = picture(recoverable.account), on.mark()
    lines = on.status(recoverable.cluster)["resources"]
    required_keys = ("cluster", "vpc")
    stale = [
        {**line, "id": line["id"][:-4] + "dead"} if line["key"].startswith(("subnet/", "routeTable/")) else line
        for line in lines
        if line["key"] in required_keys or not line["key"].startswith(("natGateway/", "elasticIp/", "role/", "addon/"))
    ]
    assert len(stale) < len(lines)
    set_status(on, recoverable.cluster, {"resources": stale, "version": None, "conditions": []})
    with recoverable.operator():
        on.ready(*recoverable.items)
        assert_idle(on, recoverable.account, 4)
        now = {line["key"]: line["id"] for line in on.status(recoverable.cluster)["resources"]}
        assert now == {line["key"]: line["id"] for line in lines}
    assert actions(recoverable.writes(since)) == []
    assert picture(recoverable.account) == before


def test_status_cleared_by_others_is_written_again_at_once(on, recoverable):
    """While the operator runs, with an interval of drift that is far away."""
    with on.operator(account=recoverable.account.id):
        # They were Ready before this operator started: it remembers only what it has read.
        on.reconcile(*recoverable.items)
        since = on.mark()
        kept = [on.status(item) for item in recoverable.items]
        set_status(on, recoverable.cluster, {"resources": [], "accountId": None})
        set_status(on, recoverable.nodes, {"arn": None, "conditions": []})

        def restored() -> bool:
            cluster_now, nodes_now = (on.status(item) for item in recoverable.items)
            same_nodes = all(nodes_now.get(key) == kept[1][key] for key in ("arn", "autoScalingGroups"))
            same_cluster = all(cluster_now.get(key) == kept[0][key] for key in ("resources", "accountId", "arn"))
            return same_cluster and same_nodes and conditions({"status": nodes_now})["Ready"]["status"] == "True"

        until(restored, 15, "the status as it was")
        read = {call["action"] for call in on.calls(since, recoverable.account.id)}
        assert {"DescribeCluster", "DescribeNodegroup", "DescribeVpcs"} <= read, "AWS is observed again"
        # Also while nothing is observed.
        on.api.patch(*key_of(recoverable.cluster)[:3], {"spec": {"suspend": True}})
        on.await_condition(recoverable.cluster, reason="Suspended")
        set_status(on, recoverable.cluster, {"resources": []})
        until(lambda: on.status(recoverable.cluster).get("resources") == kept[0]["resources"], 15, "the inventory")
    assert actions(recoverable.writes(since)) == []


def test_takeover_follows_change_policies_observe_and_approval(on, recoverable):
    before = picture(recoverable.account, without_ours=True)
    old = restore.lose(on, *recoverable.items)
    recoverable.cluster["spec"]["changePolicy"] = "Observe"
    restore.from_git(on, recoverable.cluster)
    restore.annotate(on, recoverable.cluster, old[0])
    since = on.mark()
    with recoverable.operator():
        on.await_condition(recoverable.cluster, "Stalled", reason="Observed")
        plan = on.status(recoverable.cluster)["plan"]
        assert {step["action"] for step in plan["steps"]} == {"Adopt"} and len(plan["steps"]) > 15
        assert all(old[0] in step["reason"] for step in plan["steps"])
        vpc = next(step for step in plan["steps"] if step["resource"] == "vpc")
        assert re.match(r"id: vpc-\w+; owner: " + old[0], vpc["detail"]), vpc

        on.api.patch(*key_of(recoverable.cluster)[:3], {"spec": {"changePolicy": "Approval"}})
        on.await_condition(recoverable.cluster, "Stalled", reason="WaitingForApproval")
        assert old[0] in on.condition(recoverable.cluster)["message"]
        assert actions(recoverable.writes(since)) == []
        plan = on.status(recoverable.cluster)["plan"]
        on.api.patch(*key_of(recoverable.cluster)[:3], {"metadata": {"annotations": {APPROVE: plan["hash"]}}})
        until(lambda: "recovery" in on.status(recoverable.cluster), 30, "the recovery")
        on.ready(recoverable.cluster)
    assert {call["action"] for call in recoverable.writes(since)} <= TAGGING
    assert picture(recoverable.account, without_ours=True) == before


def test_suspended_object_takes_over_and_changes_nothing_else_until_resumed(on, recoverable):
    before, since = picture(recoverable.account, without_ours=True), on.mark()
    old = restore.lose(on, *recoverable.items)
    recoverable.cluster["spec"].update(suspend=True, logging=["api"])
    restore.from_git(on, *recoverable.items)
    with recoverable.operator():
        on.await_condition(recoverable.cluster, status="False", reason="Suspended")
        assert actions(recoverable.writes(since)) == []
        for item, uid in zip(recoverable.items, old, strict=True):
            restore.annotate(on, item, uid)
        until(lambda: all("recovery" in on.status(item) for item in recoverable.items), 40, "takeover of both")
        assert_taken_over(recoverable, before, restore.installation(on))
        assert {call["action"] for call in recoverable.writes(since)} <= TAGGING
        on.api.patch(*key_of(recoverable.cluster)[:3], {"spec": {"suspend": False}})
        until(lambda: "UpdateClusterConfig" in {call["action"] for call in recoverable.writes(since)}, 30, "the edit")
        on.ready(*recoverable.items)


RBAC = "rbac.authorization.k8s.io"


def recoverer(on: Environment) -> str:
    """A kubeconfig of a user with only the permissions that `deploy/` grants for `keelson recover`."""
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


def attempt(on: Environment, account: Account, *arguments: str) -> subprocess.CompletedProcess:
    aws = {**on.cloud.operator_env(), "AWS_ACCESS_KEY_ID": account.id, "KUBECONFIG": recoverer(on)}
    env = {**aws, "PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    command = [str(keelson_binary()), "recover", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


def recover(on: Environment, account: Account, *arguments: str) -> str:
    result = attempt(on, account, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_recover_command_lists_owners_and_annotates_objects(on, recoverable):
    account = recoverable.account
    text = recover(on, account, "--dry-run")
    rows = [line for line in text.splitlines() if account.id in line and not line.startswith("searched")]
    verdicts = {line.split("  ")[-1].strip() for line in rows}
    assert verdicts == {"owned"}, text

    old = restore.lose(on, *recoverable.items)
    # Orphaned now, and no object names the region: that of the environment is searched, or those of --region.
    for region in ((), (f"--region={REGION}",)):
        text = recover(on, account, "--dry-run", *region)
        rows = [line for line in text.splitlines() if account.id in line and not line.startswith("searched")]
        assert rows and all(line.endswith("orphaned") for line in rows), text
        assert "nothing can be taken over" in text and f"{account.id} {REGION}" in text.splitlines()[-1]
        assert "apply the object of that name first" in text

    restore.from_git(on, *recoverable.items)
    text = recover(on, account, "--dry-run")
    rows = [line for line in text.splitlines() if account.id in line and not line.startswith("searched")]
    assert rows and all(line.endswith("recoverable") for line in rows), text
    assert {uid for uid in old if uid in text} == set(old)
    found = json.loads(recover(on, account, "-o=json"))
    assert {one["verdict"] for one in found["resources"]} == {"Recoverable"} and {one["accountId"] for one in found["resources"]} == {account.id}
    assert {(one["name"], one["state"]) for one in found["objects"]} == {(item["metadata"]["name"], "Recoverable") for item in recoverable.items}
    text = recover(on, account, "--dry-run", "--installation-id=another")
    assert f"other installation ({restore.installation(on)})" in text
    cure = f"start the operator here with --installation-id {restore.installation(on)}"
    for arguments in (("--all",), (recoverable.name, "-n", "default")):
        refused = attempt(on, account, *arguments, "--installation-id=another")
        assert refused.returncode != 0 and cure in refused.stderr, refused
    refused = attempt(on, account, recoverable.name, "-n", "default", "--uid=not-a-uid")
    assert refused.returncode != 0 and f"it carries {old[0]}" in refused.stderr, refused
    annotations = on.api.get(*key_of(recoverable.cluster))["metadata"].get("annotations", {})
    assert restore.RECOVER not in annotations

    text = recover(on, account, "--all")
    for item, uid in zip(recoverable.items, old, strict=True):
        kind = item["kind"].lower()
        assert f"{kind}/{item['metadata']['name']} -n default: takes over what UID {uid} owned" in text
    named = recover(on, account, f"ekscluster/{recoverable.name}", "-n", "default", "-o=name")
    assert named == f"ekscluster.keelson.dev/{recoverable.name}\n"
    assert "is already annotated" in recover(on, account, f"ekscluster/{recoverable.name}", "-n", "default")
    with recoverable.operator():
        until(lambda: recoverable.owners() == recoverable.uids(), 60, "takeover of all resources")
        on.ready(*recoverable.items)
    assert "nothing can be taken over" in recover(on, account)


def test_resources_without_installation_tag_are_taken_over_and_not_written_before(on, recoverable):
    """Created by an earlier version of Keelson: its resources have no installation tag, and an upgrade adds none."""
    account, installation = recoverable.account, restore.installation(on)
    for one, tags in restore.owners(account).items():
        if one.startswith(("vpc-", "subnet-", "nat-", "rtb-", "igw-", "eipalloc-", "sg-", "vpce-")):
            account.ec2.delete_tags(Resources=[one], Tags=[{"Key": restore.INSTALLATION}])
        elif one in account.roles():
            account.iam.untag_role(RoleName=one, TagKeys=[restore.INSTALLATION])
        assert tags[CLUSTER] == f"default/{recoverable.name}" and tags[OWNER]
    arn = account.eks.describe_cluster(name=recoverable.name)["cluster"]["arn"]
    account.eks.untag_resource(resourceArn=arn, tagKeys=[restore.INSTALLATION])
    since = on.mark()
    with recoverable.operator():
        assert_idle(on, account, 3)
    assert actions(recoverable.writes(since)) == []
    before, old = picture(account, without_ours=True), restore.lose(on, *recoverable.items)
    restore.from_git(on, *recoverable.items)
    for item, uid in zip(recoverable.items, old, strict=True):
        restore.annotate(on, item, uid)
    with recoverable.operator():
        on.ready(*recoverable.items)
    assert_taken_over(recoverable, before, installation)
