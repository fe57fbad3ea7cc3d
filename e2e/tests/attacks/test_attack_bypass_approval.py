"""Attempts to bypass an approval: by a state that needs none, by an edit between approval and execution, by finalizers.

With `--require-approval-objects`, by a tenant with exactly the shipped roles.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from attacks.approvals import approval, create_error, await_pending_plan
from attacks.tenant import Tenant, install_admission, tenant
from fleet.account import Account, fresh_account
from fleet.manifests import existing, key_of
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import Durations

FAST = Durations(0.3, 0.3, 0.4, 0.2, 0.1, 0.1)
FINALIZER = "keelson.dev/aws"


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(workload=False, git=False, flux=False, durations=FAST) as started:
        # Without the policies that would reject some of it at admission, as on Kubernetes before 1.30.
        install_admission(started, without=("keelson-limits", "keelson-finalizers"))
        yield started


@pytest.fixture(scope="module")
def editor(on) -> Tenant:
    return tenant(on, "team")


@pytest.fixture(scope="module")
def approver(on, editor) -> Tenant:
    return tenant(on, "team", ("keelson-approve",), name="approver")


@pytest.fixture(scope="module")
def account(on) -> Account:
    return on.account(fresh_account())


@pytest.fixture(scope="module", autouse=True)
def operator(on, account, editor):
    with on.operator("--require-approval-objects", account=account.id) as running:
        yield running


def spec(account: Account, **fields: object) -> dict:
    defaults = {"region": "eu-west-1", "version": "1.34", "addons": [], "oidcProvider": False}
    network = existing(*account.network()[:2])
    return {**defaults, "network": network, "upgrade": {"unreadableNodes": "Ignore"}, **fields}


def patch(user: Tenant, item: dict, body: dict) -> None:
    user.api.patch(*key_of(item)[:3], body, "team")


def approve(user: Tenant, item: dict, hash_: str, name: str) -> None:
    one = approval(user, name, item["metadata"]["name"], hash_)
    if item["kind"] == "NodeGroup":
        one["spec"]["nodeGroupRef"] = one["spec"].pop("clusterRef")
    assert create_error(user, one) is None


def written(on: Environment, account: Account, mark: int, action: str) -> list[str]:
    return [one for one in actions(on.writes(mark, account.id)) if action in one]


def await_reconcile(on: Environment, item: dict, account: Account) -> None:
    """Waits until the operator has reconciled the object after the changes so far."""
    mark = on.mark()
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": str(mark)}}}, "team")
    until(lambda: on.calls(mark, account.id), 30, "a reconcile")


def test_initially_invalid_cluster_still_waits_for_approval(on, editor, account):
    item = editor.object("EksCluster", "sneak", spec(account, changePolicy="Automatic"))
    junk = {"keelson.dev/junk": "x" * 17_000}
    mark = on.mark()
    assert editor.apply_error({**item, "metadata": {**item["metadata"], "annotations": junk}}) is None
    on.await_condition(item, "Stalled", reason="InvalidSpec", timeout=30)
    patch(editor, item, {"metadata": {"annotations": {"keelson.dev/junk": None}}})
    await_pending_plan(on, item)
    assert written(on, account, mark, "") == []


def test_approved_release_cannot_be_turned_into_a_deletion(on, editor, approver, account):
    item = editor.object("EksCluster", "flip", spec(account, changePolicy="Approval", deletionPolicy="Retain"))
    # A node group that creates nothing, and blocks the deletion of the cluster between approval and execution.
    group = {"clusterRef": {"name": "flip"}, "scaling": {"min": 1, "max": 1}, "suspend": True}
    holder = editor.object("NodeGroup", "flip-holder", group, finalizers=[FINALIZER])
    assert editor.apply_error(item) is None
    creation_hash = await_pending_plan(on, item)
    approve(approver, item, creation_hash, "flip-make")
    on.ready(item)
    assert editor.apply_error(holder) is None
    until(lambda: on.condition(holder), 20, "a reconcile of the holder")
    editor.api.delete(*key_of(item))
    approved = {creation_hash}

    def started() -> bool:
        # The first reconcile of a deletion may plan more than the next: the approver approves each plan that is shown.
        status, hash_ = on.status(item), on.status(item).get("plan", {}).get("hash")
        steps = status.get("plan", {}).get("steps", [])
        if steps and on.condition(item)["reason"] == "WaitingForApproval" and hash_ not in approved:
            assert {step["action"] for step in steps} == {"Release"}
            approved.add(hash_)
            approve(approver, item, hash_, f"flip-retain-{len(approved)}")
        return "began" in (status.get("deletion") or {})

    until(started, 30, "the deletion")
    mark = on.mark()
    patch(editor, item, {"spec": {"deletionPolicy": "Delete"}})
    patch(editor, holder, {"spec": {"suspend": False}})
    on.api.wait_gone(*key_of(item), 60)
    assert written(on, account, mark, "Delete") == []
    assert account.eks.describe_cluster(name="flip")["cluster"]["status"] == "ACTIVE"


def test_removing_the_finalizer_does_not_bypass_approval(on, editor, approver, account):
    item = editor.object("EksCluster", "strip", spec(account, changePolicy="Approval"))
    nodes = {"clusterRef": {"name": "strip"}, "scaling": {"min": 1, "max": 1}}
    group = editor.object("NodeGroup", "strip-nodes", nodes)
    assert editor.apply_error(item) is None and editor.apply_error(group) is None
    approve(approver, item, await_pending_plan(on, item), "strip-make")
    approve(approver, group, await_pending_plan(on, group), "strip-make-nodes")
    on.ready(item, group)
    mark = on.mark()
    patch(editor, item, {"metadata": {"finalizers": [FINALIZER, "example.com/hold"]}})
    editor.api.delete(*key_of(item))
    until(lambda: on.condition(item)["reason"] == "WaitingForApproval", 30, "the plan")
    patch(editor, item, {"metadata": {"finalizers": ["example.com/hold"]}})
    editor.api.delete(*key_of(group))
    # Longer than the node group checks whether its cluster is being deleted.
    time.sleep(5)
    await_pending_plan(on, group)
    await_reconcile(on, group, account)
    assert written(on, account, mark, "DeleteNodegroup") == []


def test_approval_is_void_once_its_edit_was_withdrawn(on, editor, approver, account):
    item = editor.object("EksCluster", "reuse", spec(account, changePolicy="Approval"))
    assert editor.apply_error(item) is None
    first = await_pending_plan(on, item)
    approve(approver, item, first, "reuse-make")
    on.ready(item)
    patch(editor, item, {"spec": {"logging": ["audit"]}})
    second = await_pending_plan(on, item, other_than=first)
    busy = {"code": "ResourceInUseException", "status": 409, "message": "in progress"}
    on.aws.add_fault({"service": "eks", "action": "UpdateClusterConfig"}, {"error": busy})
    approve(approver, item, second, "reuse-audit")
    until(lambda: on.status(item)["plan"].get("approved"), 20, "the acceptance")
    patch(editor, item, {"spec": {"logging": None, "suspend": True}})
    until(lambda: not on.status(item)["plan"].get("approved"), 20, "the end of the approval")
    on.aws.clear_faults()
    mark = on.mark()
    patch(editor, item, {"spec": {"logging": ["audit"], "suspend": False}})
    await_pending_plan(on, item, other_than=second)
    assert written(on, account, mark, "UpdateClusterConfig") == []
