"""`keelson move`: moves clusters to another management cluster. Both operators write only tags. Interrupted anywhere and run again, the
result is the same.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from fleet import API, restore
from fleet.account import Account, fresh_account
from fleet.killing import killed_at
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, flux, key_of, node_group, secret
from fleet.existing_clusters import TAGGING, picture
from fleet.environment import actions, environment, until
from fleet.moving import (
    QUICK,
    MovingCluster,
    SecondManagementCluster,
    annotate,
    assert_moved,
    attempt,
    command,
    move,
    replica_that_does_nothing,
    suspend,
)
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import KubeApi, conditions


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(0.5, 0.5, 0.5, 0.5, 0.2, 0.2)) as started:
        yield started


@pytest.fixture(scope="module")
def second(on) -> SecondManagementCluster:
    return SecondManagementCluster(on)


@pytest.fixture
def moving(on, second) -> Iterator[MovingCluster]:
    account = on.account(fresh_account())
    name = f"demo-{account.id[-3:]}"
    access = aws_account(f"account-{account.id}", account.id)
    spec = {"network": {"vpc": {"zoneCount": 2}}, "accountRef": {"name": access["metadata"]["name"]}}
    items = (cluster(name, **spec), node_group(name))
    on.apply(access)
    with on.operator(*QUICK, account=account.id):
        on.apply(*items)
        on.ready(*items)
    # Started once, so that the other installation has its id.
    second.start(account.id).stop()
    moving = MovingCluster(on, second, account, items, name)
    yield moving
    on.aws.clear_faults()
    on.force_delete(*items)
    for item in moving.found(second.api):
        version, kind, name, namespace = key_of(item)
        second.api.patch(version, kind, name, {"metadata": {"finalizers": None}}, namespace)
        second.api.delete(*key_of(item))


def test_move_only_writes_tags_and_the_cluster_is_managed_by_the_other_installation(on, second, moving):
    before, since = picture(moving.account, without_ours=True), on.mark()
    first_operator, second_operator = on.start(*QUICK, account=moving.account.id), second.start(moving.account.id)
    text = move(on, second, "--dry-run")
    assert "nothing was changed" in text and moving.name in text
    assert moving.found(second.api) == [] and not on.api.get(*key_of(moving.items[0]))["spec"].get("suspend")

    text = move(on, second)
    assert "moved" in text and text.count("taken over\n") == 2
    until(moving.is_ready_in_second, 60, "Ready in the second cluster")
    assert_moved(moving, before, since)
    # A second run has nothing to do.
    mark = on.mark()
    move(on, second)
    assert actions(moving.writes(mark)) == []
    # The objects left in the first cluster have no effect in AWS, neither when resumed nor when deleted.
    item = moving.items[0]
    on.api.patch(*key_of(item)[:3], {"spec": {"suspend": False}})
    on.await_condition(item, "Stalled", reason="NotOwned")
    on.delete(*reversed(moving.items))
    assert actions(moving.writes(mark)) == []
    # In the second cluster it can be deleted like any other.
    for one in reversed(moving.items):
        second.api.delete(*key_of(one))
    for one in moving.items:
        second.api.wait_gone(*key_of(one), 90)
    assert {kind: ids for kind, ids in moving.account.inventory().items() if ids} == {}
    first_operator.stop()
    second_operator.stop()


def test_move_interrupted_repeatedly_ends_the_same(on, second, moving):
    before, since = picture(moving.account, without_ours=True), on.mark()
    first_operator, second_operator = on.start(*QUICK, account=moving.account.id), second.start(moving.account.id)
    command_line, env = command(on, second)
    interruptions, code = 0, None
    while code != 0:
        process = subprocess.Popen(command_line, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            code = process.wait(0.03 * (interruptions + 1))
            assert code == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            interruptions += 1
        assert interruptions < 200
    assert interruptions > 3
    until(moving.is_ready_in_second, 60, "Ready in the second cluster")
    assert_moved(moving, before, since)
    first_operator.stop()
    second_operator.stop()


def test_move_ends_the_same_when_both_operators_are_killed_at_every_write(on, second, moving, capsys):
    before, since = picture(moving.account, without_ours=True), on.mark()
    command_line, env = command(on, second, "--timeout=170")
    with replica_that_does_nothing(second):
        process = subprocess.Popen(command_line, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        run = killed_at(on, moving.account.id, moving.handed_over)
    with capsys.disabled():
        print(f"\n  {run.summary('hand-over')}")
    assert len(run.points) >= 10
    run = killed_at(second, moving.account.id, moving.is_ready_in_second)
    with capsys.disabled():
        print(f"\n  {run.summary('take-over')}")
    assert len(run.points) >= 10
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert_moved(moving, before, since)


def test_other_installation_writes_nothing_before_the_handover(on, second, moving):
    """Objects that were only copied: the first installation still owns the cluster."""
    old = restore.uid_of(on, moving.items[0])
    second.api.apply_all([aws_account(f"account-{moving.account.id}", moving.account.id), *moving.items])
    version, kind, name, namespace = key_of(moving.items[0])
    second.api.patch(version, kind, name, {"metadata": {"annotations": {restore.RECOVER: old}}}, namespace)
    since = on.mark()
    second_operator = second.start(moving.account.id)

    def is_refused() -> bool:
        stalled = conditions(second.api.get(version, kind, name, namespace)).get("Stalled", {})
        return stalled.get("reason") == "NotOwned" and restore.installation(on) in stalled["message"]

    until(is_refused, 40, "the rejection")
    time.sleep(3)
    assert actions(moving.writes(since)) == []
    second_operator.stop()


def test_object_without_aws_resources_is_copied_with_its_secrets(on, second):
    account = on.account(fresh_account())
    second.start(account.id).stop()
    with on.operator(account=account.id):
        pass
    source = flux("https://git.example.com/fleet.git", secretRef={"name": "deploy-key"})
    item = cluster("planned", gitops=source, suspend=True)
    item["metadata"]["labels"] = {"team": "shop"}
    on.apply(secret("deploy-key", username="git", password="key"), item)
    binding = ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "keelson-secrets")
    kept = second.api.get(*binding)
    second.api.delete(*binding)
    text = move(on, second, "--dry-run")
    assert "Secret default/deploy-key: created there" in text
    assert "kubectl create rolebinding keelson-secrets --namespace=default" in text, text
    second.api.apply_all([{key: kept[key] for key in ("apiVersion", "kind", "roleRef", "subjects")} | {"metadata": {"name": binding[2]}}])
    labels = on.api.get("v1", "Secret", "deploy-key")["metadata"]["labels"]
    on.api.patch("v1", "Secret", "deploy-key", {"metadata": {"labels": dict.fromkeys(labels)}})
    text = move(on, second, "--dry-run")
    assert "Secret default/deploy-key has no label keelson.dev/use" in text and "rolebinding" not in text, text
    on.api.patch("v1", "Secret", "deploy-key", {"metadata": {"labels": labels}})
    move(on, second)
    move(on, second)
    moved = second.api.get(*key_of(item))
    assert moved["spec"]["suspend"] is True and moved["metadata"]["labels"] == {"team": "shop"}
    assert restore.RECOVER not in moved["metadata"].get("annotations", {})
    original, copy = (api.get("v1", "Secret", "deploy-key") for api in (on.api, second.api))
    assert (copy["data"], copy["metadata"]["labels"]) == (original["data"], original["metadata"]["labels"])
    assert on.writes(0, account.id) == []
    on.api.delete(*key_of(item))
    second.api.delete(*key_of(item))


@pytest.mark.parametrize("tagged", [True, False], ids=["one-tag-left", "no-tag-left"])
def test_untagged_cluster_of_a_live_installation_is_not_taken_over(on, second, moving, tagged):
    """The tag that names the installation was removed in AWS."""
    account, old = moving.account, restore.uid_of(on, moving.items[0])
    before = moving.owners()
    for one in restore.owners(account):
        if not (tagged and one.startswith("igw-")):
            untag(account, one, restore.INSTALLATION)
    first_operator = on.start(*QUICK, account=account.id)
    second.api.apply_all([aws_account(f"account-{account.id}", account.id), *moving.items])
    second_operator = second.start(account.id)
    version, kind, name, namespace = key_of(moving.items[0])

    def message(text: str) -> str | None:
        stalled = conditions(second.api.get(version, kind, name, namespace)).get("Stalled", {})
        return stalled["message"] if stalled.get("reason") == "NotOwned" and text in stalled["message"] else None

    # The command is not printed before all resources were read.
    assert f"{restore.RECOVER}=" not in until(lambda: message(old), 30, "NotOwned")
    second.api.patch(version, kind, name, {"metadata": {"annotations": {restore.RECOVER: old}}}, namespace)
    expected = "installation " + restore.installation(on) if tagged else "has the tag keelson.dev/installation"
    until(lambda: message(expected), 30, "the refusal")
    assert moving.owners() == before
    first_operator.stop(), second_operator.stop()


def untag(account: Account, one: str, key: str) -> None:
    if one in account.roles():
        account.iam.untag_role(RoleName=one, TagKeys=[key])
    elif one.startswith("arn:"):
        account.iam.untag_open_id_connect_provider(OpenIDConnectProviderArn=one, TagKeys=[key])
    elif one.split("-")[0] in ("vpc", "subnet", "nat", "rtb", "igw", "eipalloc", "sg", "vpce"):
        account.ec2.delete_tags(Resources=[one], Tags=[{"Key": key}])
    else:
        name, _, part = one.partition("/")
        if not part:
            arn = account.eks.describe_cluster(name=name)["cluster"]["arn"]
        elif part in account.eks.list_addons(clusterName=name)["addons"]:
            arn = account.eks.describe_addon(clusterName=name, addonName=part)["addon"]["addonArn"]
        else:
            arn = account.eks.describe_nodegroup(clusterName=name, nodegroupName=part)["nodegroup"]["nodegroupArn"]
        account.eks.untag_resource(resourceArn=arn, tagKeys=[key])


def test_move_is_not_begun_without_an_operator_there_or_with_another_account(on, second, moving):
    since = on.mark()
    assert "no operator runs there: its Lease keelson-system/keelson is not held" in move(on, second, "--dry-run")
    refused = attempt(on, second, "--timeout=2")
    assert refused.returncode != 0 and "Nothing was changed" in refused.stderr, refused.stderr
    other = aws_account(f"account-{moving.account.id}", moving.account.id)
    other["spec"]["allowedRegions"] = ["eu-west-1"]
    second.api.apply_all([other])
    refused = attempt(on, second, "--dry-run")
    assert "exists there and differs in spec.allowedRegions: make both equal first" in refused.stderr, refused.stderr
    second.api.delete(*key_of(other))
    assert not on.api.get(*key_of(moving.items[0]))["spec"].get("suspend") and moving.found(second.api) == []
    assert actions(moving.writes(since)) == []


def test_aborted_move_is_taken_back_and_resumed(on, second, moving):
    before, since = picture(moving.account), on.mark()
    with on.operator(*QUICK, account=moving.account.id):
        with replica_that_does_nothing(second):
            failed = attempt(on, second, "--timeout=20")
            assert failed.returncode != 0 and "--abort" in failed.stderr, failed.stderr
        until(moving.handed_over, 30, "the hand-over of both")
        for item in moving.items:
            on.await_condition(item, status="False", reason="Suspended")
            assert "keelson move --abort" in on.condition(item)["message"]
        assert len(moving.found(second.api)) == 1 and moving.installations() == {moving.second_installation()}

        assert "undone" in move(on, second, "--abort")
        assert moving.found(second.api) == []
        assert moving.installations() == {restore.installation(on)}
        on.ready(*moving.items)
        for item in moving.items:
            now = on.api.get(*key_of(item))
            assert not now["spec"].get("suspend") and "handOver" not in now["status"]
            assert not any("move" in key or "hand-over" in key for key in now["metadata"].get("annotations", {}))
        # The operator there finds nothing to take over; and the move can be begun again.
        with_second = second.start(moving.account.id)
        move(on, second)
        until(moving.is_ready_in_second, 60, "Ready in the second cluster")
        with_second.stop()
        refused = attempt(on, second, "--abort")
        assert refused.returncode != 0 and "was taken over there" in refused.stderr, refused.stderr
    assert {call["action"] for call in moving.writes(since)} <= TAGGING
    assert picture(moving.account).keys() == before.keys()


def test_withdrawn_hand_over_is_taken_back_and_the_other_installation_is_refused(on, second, moving):
    item, since = moving.items[0], on.mark()
    second.api.apply_all([aws_account(f"account-{moving.account.id}", moving.account.id), item])
    annotate(second.api, item, recover=restore.uid_of(on, item))
    with on.operator(*QUICK, account=moving.account.id):
        suspend(on, item, True)
        annotate(on.api, item, hand_over_to=moving.second_installation())
        until(lambda: "handOver" in on.status(item), 30, "the hand-over")
        # Withdrawn and resumed at once, before the operator there runs.
        annotate(on.api, item, hand_over_to=None)
        suspend(on, item, False)
        until(lambda: moving.installations() == {restore.installation(on)}, 30, "its own tags")
        on.ready(*moving.items)
        assert "handOver" not in on.status(item)
        assert any(event["reason"] == "TakenBack" for event in on.events(item))
        second_operator = second.start(moving.account.id)

        def is_refused() -> bool:
            stalled = conditions(second.api.get(*key_of(item))).get("Stalled", {})
            return stalled.get("reason") == "NotOwned" and restore.installation(on) in stalled["message"]

        until(is_refused, 40, "the rejection")
        second_operator.stop()
    assert {call["action"] for call in moving.writes(since)} <= TAGGING
    assert moving.owners() == moving.uids(on.api)


def test_deletion_of_a_cluster_that_was_taken_over_keeps_its_nodes(on, second, moving):
    item, nodes = moving.items
    second.api.apply_all([aws_account(f"account-{moving.account.id}", moving.account.id), item])
    second_operator = second.start(moving.account.id)
    with on.operator(*QUICK, account=moving.account.id):
        suspend(on, item, True)
        annotate(on.api, item, hand_over_to=moving.second_installation())
        until(lambda: on.status(item).get("handOver"), 30, "the hand-over")
        annotate(second.api, item, recover=restore.uid_of(on, item))

        def is_taken_over() -> bool:
            return "recovery" in second.api.get(*key_of(item)).get("status", {})

        until(is_taken_over, 60, "the takeover")
        since = on.mark()
        annotate(on.api, item, hand_over_to=None)
        suspend(on, item, False)
        on.await_condition(item, "Stalled", reason="NotOwned")
        stalled = on.condition(item, "Stalled")
        assert "an object of this name took it over" in stalled["message"], stalled
        on.api.delete(*key_of(nodes))
        on.await_condition(nodes, "Stalled", reason="DeletionBlocked")
        held = on.condition(nodes, "Stalled")
        assert "deletionPolicy: Retain" in held["message"], held
        on.delete(item)
        on.api.wait_gone(*key_of(nodes), 60)
        assert any("deletes nothing" in event["note"] or "nothing is deleted" in event["note"] for event in on.events(item))
    second_operator.stop()
    assert not [call for call in moving.writes(since) if "Delete" in call["action"]]
    group = moving.account.eks.describe_nodegroup(clusterName=moving.name, nodegroupName=nodes["metadata"]["name"])
    assert group["nodegroup"]["status"] == "ACTIVE"


def test_move_is_not_begun_if_the_other_cluster_has_another_object_of_that_name(on, second, moving):
    access = {"name": f"account-{moving.account.id}"}
    other = cluster(moving.name, changePolicy="Observe", clusterName="something-else", accountRef=access)
    second.api.apply_all([aws_account(access["name"], moving.account.id), other])
    with on.operator(*QUICK, account=moving.account.id):
        second_operator = second.start(moving.account.id)
        since = on.mark()
        for arguments in (("--dry-run",), ("--timeout=20",)):
            refused = attempt(on, second, *arguments)
            assert refused.returncode != 0 and "is not the moved object" in refused.stderr, refused.stderr
        item = on.api.get(*key_of(moving.items[0]))
        assert not item["spec"].get("suspend") and "keelson.dev/hand-over-to" not in item["metadata"].get("annotations", {})
        assert actions(moving.writes(since)) == []
        second_operator.stop()


def test_node_group_that_does_not_exist_in_aws_is_moved_with_its_cluster(on, second, moving):
    gone = node_group(moving.name, f"{moving.name}-gone")
    with on.operator(*QUICK, account=moving.account.id):
        second_operator = second.start(moving.account.id)
        on.apply(gone)
        on.ready(gone)
        # Deleted in AWS by hand, while nothing is reconciled.
        suspend(on, moving.items[0], True)
        on.await_condition(moving.items[0], reason="Suspended")
        name, eks = gone["metadata"]["name"], moving.account.eks
        eks.delete_nodegroup(clusterName=moving.name, nodegroupName=name)
        until(lambda: name not in eks.list_nodegroups(clusterName=moving.name)["nodegroups"], 30, "its deletion")
        move(on, second, "--timeout=60")
        assert on.status(gone)["handOver"]["resources"] == 0
        copy = second.api.get(*key_of(gone))
        assert restore.RECOVER not in copy["metadata"].get("annotations", {})
        assert "finalizers" not in on.api.get(*key_of(gone))["metadata"]
        # Its cluster was suspended before, and runs on there.
        second.api.patch(*key_of(moving.items[0])[:3], {"spec": {"suspend": False}}, "default")
        until(lambda: conditions(second.api.get(*key_of(gone))).get("Ready", {}).get("status") == "True", 90, "Ready")
        second.api.delete(*key_of(gone))
        second.api.wait_gone(*key_of(gone), 60)
        second_operator.stop()
    on.force_delete(gone)


def test_cluster_that_waits_for_its_first_approval_is_moved_and_waits_there(on, second):
    account = on.account(fresh_account())
    access = aws_account(f"account-{account.id}", account.id)
    waiting = cluster("waits", changePolicy="Approval", accountRef={"name": access["metadata"]["name"]})
    on.apply(access)
    with on.operator(*QUICK, account=account.id):
        second_operator = second.start(account.id)
        on.apply(waiting)
        on.await_condition(waiting, "Stalled", reason="WaitingForApproval")
        since = on.mark()
        move(on, second, "--timeout=60")
        move(on, second, "--timeout=60")

        def reason() -> bool:
            return conditions(second.api.get(*key_of(waiting))).get("Stalled", {}).get("reason") == "WaitingForApproval"

        until(reason, 40, "the plan there")
        assert "finalizers" not in on.api.get(*key_of(waiting))["metadata"]
        assert actions(on.writes(since, account.id)) == []
        second.api.delete(*key_of(waiting))
        second.api.wait_gone(*key_of(waiting), 60)
        second_operator.stop()
    on.force_delete(waiting)


def test_cluster_that_waits_for_approvals_does_not_hold_up_the_others(on, second, moving):
    """Its hand-over and its take-over are plans, each of which waits for a person."""
    asking, asking_nodes = moving.items
    other = cluster(f"z-{moving.name}", addons=[], network={"vpc": {"zoneCount": 2}}, accountRef=asking["spec"]["accountRef"])
    with on.operator(*QUICK, account=moving.account.id):
        on.apply(other)
        on.ready(other)
        on.api.patch(*key_of(asking)[:3], {"spec": {"changePolicy": "Approval"}})
        on.ready(*moving.items)
        second_operator = second.start(moving.account.id)
        assert "a plan that waits for its approval, here and then there" in move(on, second, "--dry-run")

        held = attempt(on, second, "--timeout=12")
        assert held.returncode != 0, held.stdout
        assert f"EksCluster default/{other['metadata']['name']}: taken over" in held.stdout, held.stdout
        for item in moving.items:
            waits = f"{item['kind']} default/{item['metadata']['name']} waits for the operator here to hand it over: WaitingForApproval: "
            assert waits in held.stdout and waits in held.stderr, held.stdout + held.stderr
        assert held.stderr.count(": keelson approve ") == 2, held.stderr
        assert moving.found(second.api) == []
        for item in moving.items:
            approve(on.api, item)
        until(moving.handed_over, 30, "the hand-over of both")

        held = attempt(on, second, "--timeout=12")
        waits = f"EksCluster default/{moving.name} waits for the operator there to take it over"
        assert held.returncode != 0 and waits in held.stderr and "WaitingForApproval: " in held.stderr, held.stderr
        approve(second.api, asking)
        # What it waits for next: approved while the command waits.
        process = subprocess.Popen(command(on, second)[0], env=command(on, second)[1], stdout=subprocess.PIPE, text=True)
        until(lambda: second.api.find(*key_of(asking_nodes)), 60, "the copy of the NodeGroup")
        approve(second.api, asking_nodes)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, out
        assert moving.owners() == moving.uids(second.api)
        second_operator.stop()
    on.force_delete(other)
    version, kind, name, namespace = key_of(other)
    second.api.patch(version, kind, name, {"metadata": {"finalizers": None}}, namespace)
    second.api.delete(*key_of(other))


def test_hand_over_that_is_withdrawn_before_its_approval_leaves_everything_on_record(on, moving):
    item = moving.items[0]
    with on.operator(*QUICK, account=moving.account.id) as operator:
        on.api.patch(*key_of(item)[:3], {"spec": {"changePolicy": "Approval"}})
        on.ready(*moving.items)
        kept = {line["key"]: line["id"] for line in on.status(item)["resources"]}
        since = on.mark()
        suspend(on, item, True)
        for one in moving.items:
            annotate(on.api, one, hand_over_to="elsewhere")
        for one in moving.items:
            on.await_condition(one, "Stalled", reason="WaitingForApproval")
        assert {line["key"]: line["id"] for line in on.status(item)["resources"]} == kept
        # Nothing but status says what the next process owns.
        operator.restart()
        on.await_ready(operator)
        for one in moving.items:
            annotate(on.api, one, hand_over_to=None)
        suspend(on, item, False)
        until(lambda: on.condition(item).get("reason") == "Available", 60, "Ready")
        on.ready(*moving.items)
        assert {line["key"]: line["id"] for line in on.status(item)["resources"]} == kept
    assert actions(moving.writes(since)) == []


def approve(api: KubeApi, item: dict) -> None:
    """Approves the plan of an object, once it waits for its approval."""

    def waits() -> str | None:
        now = api.get(*key_of(item))
        stalled = conditions(now).get("Stalled", {})
        is_waiting = stalled.get("reason") == "WaitingForApproval" and "UID" in stalled["message"]
        return now["status"]["plan"]["hash"] if is_waiting else None

    annotate(api, item, approve=until(waits, 60, f"the plan of {item['kind']}"))


def test_all_objects_that_cannot_move_are_named_before_anything_is_written(on, second, moving):
    item, nodes = moving.items
    second_operator = second.start(moving.account.id)
    on.api.patch(*key_of(item)[:3], {"spec": {"changePolicy": "Observe"}})
    second.api.apply_all([node_group(moving.name)])
    since = on.mark()
    refused = attempt(on, second)
    assert refused.returncode != 0 and "2 objects cannot be moved now, and nothing was changed" in refused.stderr, refused.stderr
    assert f"EksCluster default/{moving.name} has changePolicy: Observe" in refused.stderr, refused.stderr
    assert f"NodeGroup default/{nodes['metadata']['name']} already exists there" in refused.stderr, refused.stderr
    now = on.api.get(*key_of(item))
    assert not now["spec"].get("suspend") and "keelson.dev/hand-over-to" not in now["metadata"].get("annotations", {})
    assert second.api.find(*key_of(item)) is None and actions(moving.writes(since)) == []
    second_operator.stop()


def test_cluster_suspended_after_an_undone_move_is_suspended_in_the_next(on, second, moving):
    item = moving.items[0]
    with on.operator(*QUICK, account=moving.account.id):
        with replica_that_does_nothing(second):
            assert attempt(on, second, "--timeout=8").returncode != 0
        # Undone by hand, with the operator there not running.
        for one in moving.items:
            annotate(on.api, one, hand_over_to=None)
            if second.api.find(*key_of(one)):
                second.api.delete(*key_of(one))
        suspend(on, item, False)
        on.ready(*moving.items)
        suspend(on, item, True)
        on.await_condition(item, reason="Suspended")
        second_operator = second.start(moving.account.id)
        move(on, second)
        assert second.api.get(*key_of(item))["spec"].get("suspend") is True
        second_operator.stop()


def test_fleet_rollout_that_selects_a_cluster_must_exist_there_first(on, second):
    account = on.account(fresh_account())
    second.start(account.id).stop()
    with on.operator(account=account.id):
        pass
    item = cluster("gated", suspend=True)
    item["metadata"]["labels"] = {"fleet": "gated"}
    selector = {"matchLabels": {"fleet": "gated"}}
    rollout = {"apiVersion": API, "kind": "FleetRollout", "metadata": {"name": "gated"}, "spec": {"clusterSelector": selector, "waves": [{"name": "all"}]}}
    on.apply(item, rollout)
    refused = attempt(on, second, "--dry-run")
    assert refused.returncode == 1 and "FleetRollout gated selects default/gated, is not moved" in refused.stderr, refused
    assert "Nothing was changed" in refused.stderr and second.api.find(*key_of(item)) is None
    second.api.apply_all([rollout])
    assert "nothing was changed" in move(on, second, "--dry-run")
    for api in (on.api, second.api):
        api.delete(*key_of(rollout))
    on.api.delete(*key_of(item))


def test_secrets_are_copied_only_for_the_uses_that_their_owners_allow(on, second):
    account = on.account(fresh_account())
    second.start(account.id).stop()
    with on.operator(account=account.id):
        pass
    robot = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": "default"}}
    token = secret("robot-token", use="git")
    token["type"] = "kubernetes.io/service-account-token"
    token["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "robot"}
    refused = (secret("other-use", use="decryption", password="x"), secret("no-use", use="none", password="x"), token)
    allowed = secret("credentials", username="git", password="key", database="database-password-3f10")
    url, items = "https://git.example.com/fleet.git", []
    for number, one in enumerate((*refused, allowed)):
        source = flux(url, secretRef={"name": one["metadata"]["name"]})
        items.append(cluster(f"tenant-{number}", gitops=source, suspend=True))
    on.apply(robot, *refused, allowed, *items)
    text = move(on, second, "--dry-run")
    for name in ("other-use", "no-use", "robot-token"):
        assert f"Secret default/{name}: not copied for spec.gitops.flux.source.git.secretRef: " in text, text
    assert "its keys database are not copied" in text, text
    move(on, second)
    assert [one for one in refused if second.api.find("v1", "Secret", one["metadata"]["name"], "default")] == []
    assert sorted(second.api.get("v1", "Secret", "credentials")["data"]) == ["password", "username"]
    for item in items:
        on.api.delete(*key_of(item))
        second.api.delete(*key_of(item))
