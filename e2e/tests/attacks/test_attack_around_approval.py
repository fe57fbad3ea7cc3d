"""Ways around an approval: a state in which none is asked for, an edit between the approval and the deed, finalizers.

With `--require-approval-objects`, by a tenant with exactly the shipped roles.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from attacks.approving import approval, refusal_of_create, waits
from attacks.tenant import Tenant, install_admission, tenant
from fleet.account import Account, fresh_account
from fleet.manifests import existing, key_of
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import Durations

FAST = Durations(0.3, 0.3, 0.4, 0.2, 0.1, 0.1)
OURS = "keelson.dev/aws"


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(workload=False, git=False, flux=False, durations=FAST) as started:
        # Without those that would stop some of it before anything is stored, as on a Kubernetes before 1.30.
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


def spec(account: Account, **more: object) -> dict:
    usual = {"region": "eu-west-1", "version": "1.34", "addons": [], "oidcProvider": False}
    network = existing(*account.network()[:2])
    return {**usual, "network": network, "upgrade": {"unreadableNodes": "Ignore"}, **more}


def patch(people: Tenant, item: dict, body: dict) -> None:
    people.api.patch(*key_of(item)[:3], body, "team")


def approve(people: Tenant, item: dict, hash_: str, name: str) -> None:
    one = approval(people, name, item["metadata"]["name"], hash_)
    if item["kind"] == "NodeGroup":
        one["spec"]["nodeGroupRef"] = one["spec"].pop("clusterRef")
    assert refusal_of_create(people, one) is None


def written(on: Environment, account: Account, mark: int, action: str) -> list[str]:
    return [one for one in actions(on.writes(mark, account.id)) if action in one]


def looked_at(on: Environment, item: dict, account: Account) -> None:
    """The operator has looked at AWS for the object after all that was done to it."""
    mark = on.mark()
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": str(mark)}}}, "team")
    until(lambda: on.calls(mark, account.id), 30, "a look")


def test_a_cluster_that_could_not_be_read_at_first_waits_for_its_approval_all_the_same(on, editor, account):
    item = editor.object("EksCluster", "sneak", spec(account, changePolicy="Automatic"))
    junk = {"keelson.dev/junk": "x" * 17_000}
    mark = on.mark()
    assert editor.refusal({**item, "metadata": {**item["metadata"], "annotations": junk}}) is None
    on.await_condition(item, "Stalled", reason="InvalidSpec", timeout=30)
    patch(editor, item, {"metadata": {"annotations": {"keelson.dev/junk": None}}})
    waits(on, item)
    assert written(on, account, mark, "") == []


def test_what_was_approved_to_be_retained_is_not_deleted(on, editor, approver, account):
    item = editor.object("EksCluster", "flip", spec(account, changePolicy="Approval", deletionPolicy="Retain"))
    # One that makes nothing, and holds the cluster between the approval and the deed.
    group = {"clusterRef": {"name": "flip"}, "scaling": {"min": 1, "max": 1}, "suspend": True}
    holder = editor.object("NodeGroup", "flip-holder", group, finalizers=[OURS])
    assert editor.refusal(item) is None
    made = waits(on, item)
    approve(approver, item, made, "flip-make")
    on.ready(item)
    assert editor.refusal(holder) is None
    until(lambda: on.condition(holder), 20, "a look at the holder")
    editor.api.delete(*key_of(item))
    tried = {made}

    def begins() -> bool:
        # The first look at a deletion may plan more than the next: the approver approves what is shown.
        status, hash_ = on.status(item), on.status(item).get("plan", {}).get("hash")
        steps = status.get("plan", {}).get("steps", [])
        if steps and on.condition(item)["reason"] == "WaitingForApproval" and hash_ not in tried:
            assert {step["action"] for step in steps} == {"Release"}
            tried.add(hash_)
            approve(approver, item, hash_, f"flip-retain-{len(tried)}")
        return "began" in (status.get("deletion") or {})

    until(begins, 30, "the deletion")
    mark = on.mark()
    patch(editor, item, {"spec": {"deletionPolicy": "Delete"}})
    patch(editor, holder, {"spec": {"suspend": False}})
    on.api.wait_gone(*key_of(item), 60)
    assert written(on, account, mark, "Delete") == []
    assert account.eks.describe_cluster(name="flip")["cluster"]["status"] == "ACTIVE"


def test_a_finalizer_that_was_taken_away_approves_nothing(on, editor, approver, account):
    item = editor.object("EksCluster", "strip", spec(account, changePolicy="Approval"))
    nodes = {"clusterRef": {"name": "strip"}, "scaling": {"min": 1, "max": 1}}
    group = editor.object("NodeGroup", "strip-nodes", nodes)
    assert editor.refusal(item) is None and editor.refusal(group) is None
    approve(approver, item, waits(on, item), "strip-make")
    approve(approver, group, waits(on, group), "strip-make-nodes")
    on.ready(item, group)
    mark = on.mark()
    patch(editor, item, {"metadata": {"finalizers": [OURS, "example.com/hold"]}})
    editor.api.delete(*key_of(item))
    until(lambda: on.condition(item)["reason"] == "WaitingForApproval", 30, "the plan")
    patch(editor, item, {"metadata": {"finalizers": ["example.com/hold"]}})
    editor.api.delete(*key_of(group))
    # As long as it looks for the deletion of its cluster, and then some.
    time.sleep(5)
    waits(on, group)
    looked_at(on, group, account)
    assert written(on, account, mark, "DeleteNodegroup") == []
