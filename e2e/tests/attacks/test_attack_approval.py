"""Forged approvals: set in advance, copied from another object, replayed, written by an editor, or bypassed.

The first part uses annotations, which count by default; the second an operator with `--require-approval-objects`, and a tenant with
exactly the shipped roles.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from attacks.approvals import approval, create_error, await_pending_plan
from attacks.tenant import Tenant, install_admission, tenant
from fleet import plans
from fleet.account import fresh_account
from fleet.manifests import cluster, existing, flux, key_of
from fleet.shop import APPROVE, RELEASE, Shop
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import ApiError, conditions

FAST = Durations(0.3, 0.3, 0.4, 0.2, 0.1, 0.1)


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(git=False, flux=False, durations=FAST) as started:
        install_admission(started)
        yield started


# Annotations


def annotate(on: Environment, item: dict, **annotations: str) -> None:
    keys = {"approve": APPROVE, "release": RELEASE}
    values = {keys[name]: text for name, text in annotations.items()}
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": values}})


def test_annotations_set_in_advance_do_not_pass_the_deletion_guard(on):
    """As from a kustomize base: every cluster has the plan hash and the release hash of the first one's deletion."""
    account = on.account(fresh_account())
    subnets = account.network()[:2]
    created = [cluster(f"base-{n}", network=existing(*subnets), addons=[], oidcProvider=False) for n in range(3)]
    first, *others = created
    with on.operator(account=account.id, env={"KEELSON_MAX_DELETIONS": "0"}):
        on.apply(*created)
        on.ready(*created)
        on.api.delete(*key_of(first))
        on.await_condition(first, status="False", reason="WaitingForApproval")
        status = on.status(first)
        release = status["deletion"].get("release", status["plan"]["hash"])
        for item in others:
            annotate(on, item, approve=status["plan"]["hash"], release=release)
            on.api.delete(*key_of(item))
        mark = on.mark()
        for item in others:
            on.await_condition(item, status="False", reason="WaitingForApproval")
        annotate(on, first, release=release)
        on.api.wait_gone(*key_of(first), 40)
        left = {f"base-{n}" for n in (1, 2)}
        assert left <= set(account.inventory()["clusters"])
        deleted = [call for call in on.writes(mark, account.id) if call["action"] == "DeleteCluster"]
        assert len(deleted) == 1, actions(deleted)
        assert len({on.status(item)["plan"]["hash"] for item in others} | {status["plan"]["hash"]}) == 3
    on.force_delete(*others)


def test_approval_of_a_new_cluster_is_not_valid_for_an_identical_one(on):
    account = on.account(fresh_account())
    network = existing(*account.network()[:2])
    one, two = (cluster(name, network=network, addons=[], changePolicy="Approval") for name in ("twin-1", "twin-2"))
    with on.operator(account=account.id):
        on.apply(one, two)
        for item in (one, two):
            on.await_condition(item, status="False", reason="WaitingForApproval")
        hashes = [on.status(item)["plan"]["hash"] for item in (one, two)]
        assert hashes[0] != hashes[1] and all(len(hash_) == 16 for hash_ in hashes)
        annotate(on, two, approve=hashes[0])
        annotate(on, one, approve=hashes[0])
        on.ready(one)
        on.await_condition(two, status="False", reason="WaitingForApproval")
        assert account.inventory()["clusters"] == ["twin-1"]
    on.force_delete(one, two)


# The agent


REPOSITORY = "https://git.example.com/fleet"
AGENT = "gitOpsAgent"


def followed_source(on: Environment) -> tuple[str, str] | None:
    """Repository and path that the agent in the workload cluster follows."""
    api = on.cloud.workload.api
    source = api.find("source.toolkit.fluxcd.io/v1", "GitRepository", "flux-system", "flux-system")
    path = api.find("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "flux-system", "flux-system")
    return (source["spec"]["url"], path["spec"]["path"]) if source and path else None


def test_edit_of_the_agent_is_applied_only_after_approval(on):
    shop = Shop(on, changePolicy="Approval", by_role=False, gitops=flux(REPOSITORY, "clusters/shop"))
    with on.operator(account=shop.account.id):
        shop.apply()
        status = shop.asks()
        agent = next(step for step in status["plan"]["steps"] if step["resource"] == AGENT)
        for value in (REPOSITORY, "flux.path: clusters/shop", "flux.version: v2.", "handover: "):
            assert value in agent["detail"]
        assert agent["expectedSeconds"] > 30, "the first sync is counted"
        shop.approve(status["plan"]["hash"])
        until(lambda: followed_source(on) == (REPOSITORY, "./clusters/shop"), 60, "the agent")
        until(lambda: shop.found()["status"].get("gitops", {}).get("applied"), 30, "its fields in status")
        until(lambda: plans.steps(shop.found()["status"]) == [], 40, "an empty plan")
        mark = on.mark()
        shop.edit(gitops=flux("https://git.example.com/other", "clusters/other"))
        status = shop.asks()
        assert plans.steps(status) == [("Update", AGENT)]
        assert f"{REPOSITORY} -> https://git.example.com/other" in status["plan"]["steps"][0]["detail"]
        shop.nothing_is_written(mark)
        assert followed_source(on) == (REPOSITORY, "./clusters/shop")
        # Manual changes of the agent are reverted while no step of the agent waits for approval.
        shop.approve(status["plan"]["hash"])
        until(lambda: followed_source(on) == ("https://git.example.com/other", "./clusters/other"), 40, "the edit")
        until(lambda: plans.steps(shop.found()["status"]) == [], 30, "an empty plan")
        api = on.cloud.workload.api
        api.patch("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "flux-system", {"spec": {"path": "./manual"}}, "flux-system")
        until(lambda: followed_source(on) == ("https://git.example.com/other", "./clusters/other"), 40, "the repair")
        assert conditions(shop.found())["Ready"]["reason"] != "WaitingForApproval", "a repair needs no approval"
    shop.go_away()


# Objects


@pytest.fixture(scope="module")
def people(on) -> tuple[Tenant, Tenant]:
    """One tenant that may edit clusters, and one that may approve plans."""
    editor = tenant(on, "team")
    return editor, tenant(on, "team", ("keelson-approve",), name="approver")


def state(on: Environment, item: dict) -> str | None:
    return on.api.get(*key_of(item)).get("status", {}).get("state")


def test_only_an_approver_can_approve(on, people):
    editor, approver = people
    account = on.account(fresh_account())
    spec = {"region": "eu-west-1", "version": "1.34", "network": existing(*account.network()[:2]), "addons": []}
    item = editor.object("EksCluster", "guarded", {**spec, "changePolicy": "Approval"})
    mark = on.mark()

    def assert_nothing_written() -> None:
        on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": str(on.mark())}}}, "team")
        until(lambda: on.calls(mark, account.id), 30, "a reconcile")
        assert actions(on.writes(mark, account.id)) == []

    with on.operator("--require-approval-objects", account=account.id):
        # Not by their own changePolicy: a new cluster always waits.
        automatic = editor.object("EksCluster", "guarded", {**spec, "changePolicy": "Automatic"})
        assert editor.apply_error(automatic) is None
        first = await_pending_plan(on, item)
        assert editor.apply_error(item) is None
        hash_ = await_pending_plan(on, item, other_than=first)
        # Not by annotation.
        editor.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {APPROVE: hash_}}}, "team")
        until(lambda: "annotations do not count" in on.condition(item)["message"], 20, "that annotations do not count")
        # Not by a PlanApproval, nor by writing status.
        own_approval = approval(editor, "mine", "guarded", hash_, approvedBy="system:serviceaccount:team:tenant")
        assert "cannot" in editor.apply_error(own_approval)
        with pytest.raises(ApiError, match="cannot patch resource .*status"):
            editor.api.patch(*key_of(item)[:3], {"status": {"changePolicy": "Automatic"}}, "team", subresource="status")
        assert_nothing_written()
        # Not by loosening the policy.
        editor.api.patch(*key_of(item)[:3], {"spec": {"changePolicy": "Automatic"}}, "team")
        loosened = await_pending_plan(on, item, other_than=hash_)
        steps = on.status(item)["plan"]["steps"]
        assert ("Update", "changePolicy", "changePolicy Approval -> Automatic") in [
            (step["action"], step["resource"], step.get("detail")) for step in steps
        ]
        assert_nothing_written()
        editor.api.patch(*key_of(item)[:3], {"spec": {"changePolicy": "Approval"}}, "team")
        hash_ = await_pending_plan(on, item, other_than=loosened)
        # An approver approves in their own name, exactly this plan, once.
        forged = approval(approver, "forged", "guarded", hash_, approvedBy="system:admin")
        assert "spec.approvedBy must be your own user name" in create_error(approver, forged)
        stale = approval(approver, "stale", "guarded", loosened)
        good = approval(approver, "good", "guarded", hash_)
        for one in (stale, good):
            assert create_error(approver, one) is None
        on.ready(item)
        until(lambda: (state(on, stale), state(on, good)) == ("Stale", "Used"), 30, "the states")
        with pytest.raises(ApiError, match="cannot"):
            approver.api.patch(*key_of(item)[:3], {"spec": {"version": "1.35"}}, "team")
        notes = [event["note"] for event in on.events(item) if event["reason"] == "Approved"]
        assert len(notes) == 1 and "system:serviceaccount:team:approver (PlanApproval good)" in notes[0], notes
        # The existing cluster is deleted only with an approval.
        deleted = on.mark()
        editor.api.delete(*key_of(item))
        hash_ = await_pending_plan(on, item, other_than=hash_)
        assert actions(on.writes(deleted, account.id)) == []
        assert create_error(approver, approval(approver, "deletion", "guarded", hash_)) is None
        on.api.wait_gone(*key_of(item), 40)
        # Created again, it waits again, whatever its changePolicy.
        recreated = on.mark()
        assert editor.apply_error(automatic) is None
        await_pending_plan(on, item)
        assert actions(on.writes(recreated, account.id)) == []
    on.force_delete(item)
