"""`keelson import`: clusters that somebody else made become manifests whose plan is to take them over as they are, and to do
nothing else; and applied, they do nothing else.

What becomes of which field is in the tables of src/resources/inventory/tests.rs.
"""

from __future__ import annotations

import re

import pytest

from fleet.account import Account, fresh_account
from fleet.others import (
    TAGGING,
    Others,
    assert_released,
    imported,
    keelson,
    live_plan,
    picture,
    rests,
)
from fleet.environment import Environment, actions, environment
from keelson_harness.aws import REGION, Durations

NOTHING = re.compile(r"\b0 to create, 0 to update, 0 to delete, (\d+) to adopt", re.M)
# One at a time: import reads each, and its account is its own.
KINDS = ("bare", "odd", "private")


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 1, 1, 0.5, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def theirs(on) -> dict[str, Account]:
    """An account for each kind of cluster, with that in it."""
    accounts = {}
    for kind in KINDS:
        account = on.account(fresh_account())
        getattr(Others(account), kind)()
        accounts[kind] = account
    return accounts


@pytest.fixture(scope="module")
def written(on, theirs) -> dict[str, list[dict]]:
    return {kind: imported(on, account, "--all") for kind, account in theirs.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_of_what_is_written_is_only_to_adopt(on, theirs, written, kind, tmp_path):
    before = on.mark()
    plan = live_plan(on, theirs[kind], tmp_path, written[kind])
    summaries = [line for line in plan.splitlines() if " to create, " in line]
    assert len(summaries) == len(written[kind]), plan
    for summary in summaries:
        assert NOTHING.search(summary), plan
    assert "!" not in plan, plan
    assert on.writes(before, theirs[kind].id) == []


def test_names_that_kubernetes_refuses_are_changed_and_kept_for_eks(written):
    cluster, group = written["bare"]
    assert (cluster["metadata"]["name"], cluster["spec"]["clusterName"]) == ("bare-one", "Bare_One")
    assert group["metadata"]["name"] == "bare-one-default"
    assert group["spec"]["nodeGroupName"] == "default"
    assert cluster["spec"]["access"] == {"authenticationMode": "ConfigMap"}
    assert cluster["spec"]["addons"] == [] and cluster["spec"]["oidcProvider"] is False


def test_all_that_the_odd_cluster_has_is_said(written):
    cluster, *groups = written["odd"]
    spec = cluster["spec"]
    assert spec["endpointAccess"] == {
        "public": True,
        "private": True,
        "publicCidrs": ["203.0.113.0/24", "198.51.100.7/32"],
    }
    assert spec["logging"] == ["audit", "scheduler"]
    assert spec["deletionProtection"] is True and spec["zonalShift"] is True
    assert spec["deletionPolicy"] == "Retain" and spec["adoptionPolicy"] == "Adopt"
    versions = {addon["name"]: addon["version"] for addon in spec["addons"]}
    assert versions["vpc-cni"] == "v1.19.6-eksbuild.7" and versions["kube-proxy"] == "Default"
    names = {group["spec"].get("nodeGroupName") for group in groups}
    assert names == {"Spot_Nodes", "fixed"}


def test_what_cannot_be_said_is_named_twice(on, theirs):
    done = keelson(on, theirs["odd"], "import", f"--region={REGION}", "--name=odd-shop")
    for text in (done.stdout, done.stderr):
        assert "not managed: tags of the cluster (Name=odd, cost:center=1/2, team=shop)" in text
        assert "not managed: tags Name=spot of node group Spot_Nodes" in text
        assert "its type is EC2_LINUX" in text


def test_one_that_is_not_there_is_an_error_that_says_so(on, theirs):
    done = keelson(on, theirs["odd"], "import", f"--region={REGION}", "--name=no-such")
    assert done.returncode != 0 and "no-such" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("kind", KINDS)
def test_applied_it_only_tags_and_then_rests(on: Environment, theirs, written, kind, tmp_path):
    account, items = theirs[kind], written[kind]
    before, start = picture(account), on.mark()
    try:
        with on.operator("--drift-interval=2s", account=account.id):
            on.apply(*items)
            on.ready(*items)
            for item in items:
                on.await_condition(item, "InSync")
            writes = [call for call in on.writes(start, account.id) if call["status"] < 400]
            assert {call["action"] for call in writes} <= TAGGING, actions(writes)
            rests(on, account)
            assert picture(account, without_ours=True) == before
            # Known again by its tags, it is as asked, and nobody else's to import.
            plan = live_plan(on, account, tmp_path, items)
            assert "to adopt" not in plan and "0 to create, 0 to update, 0 to delete" in plan, plan
            name = items[0]["spec"].get("clusterName", items[0]["metadata"]["name"])
            done = keelson(on, account, "import", f"--region={REGION}", f"--name={name}")
            assert done.returncode != 0 and "belongs to default/" in done.stderr
            # Released, all is as it was before.
            on.delete(*reversed(items))
    finally:
        on.force_delete(*items)
    assert_released(account, before, f"default/{items[0]['metadata']['name']}")
