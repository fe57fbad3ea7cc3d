"""Approvals that nobody gave: placed in advance, taken from another object, replayed, given by an editor, walked around.

The first part has annotations, which count by default; the second an operator with `--require-approval-objects`, and a tenant with
exactly the shipped roles.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from attacks.approving import approval, refusal_of_create, waits
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
    words = {"approve": APPROVE, "release": RELEASE}
    marks = {words[name]: text for name, text in annotations.items()}
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": marks}})


def test_annotations_placed_in_advance_do_not_pass_the_guard_against_mass_deletion(on):
    """One line in a kustomize base: every cluster carries the hash and the release of the first one's deletion."""
    account = on.account(fresh_account())
    subnets = account.network()[:2]
    made = [cluster(f"base-{n}", network=existing(*subnets), addons=[], oidcProvider=False) for n in range(3)]
    first, *others = made
    with on.operator(account=account.id, env={"KEELSON_MAX_DELETIONS": "0"}):
        on.apply(*made)
        on.ready(*made)
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


def test_the_approval_of_one_new_cluster_is_none_of_another_just_like_it(on):
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


def followed(on: Environment) -> tuple[str, str] | None:
    """Repository and path that the agent in the workload cluster follows."""
    api = on.cloud.workload.api
    source = api.find("source.toolkit.fluxcd.io/v1", "GitRepository", "flux-system", "flux-system")
    path = api.find("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "flux-system", "flux-system")
    return (source["spec"]["url"], path["spec"]["path"]) if source and path else None


def test_an_edit_of_the_agent_is_carried_out_once_it_is_approved_and_not_before(on):
    shop = Shop(on, changePolicy="Approval", by_role=False, gitops=flux(REPOSITORY, "clusters/ours"))
    with on.operator(account=shop.account.id):
        shop.apply()
        status = shop.asks()
        agent = next(step for step in status["plan"]["steps"] if step["resource"] == AGENT)
        for value in (REPOSITORY, "flux.path: clusters/ours", "flux.version: v2.", "handover: "):
            assert value in agent["detail"]
        assert agent["expectedSeconds"] > 30, "the first sync is counted"
        shop.approve(status["plan"]["hash"])
        until(lambda: followed(on) == (REPOSITORY, "./clusters/ours"), 60, "the agent")
        until(lambda: shop.found()["status"].get("gitops", {}).get("applied"), 30, "its fields in status")
        until(lambda: plans.steps(shop.found()["status"]) == [], 40, "nothing left to do")
        mark = on.mark()
        theirs = flux("https://git.example.com/theirs", "clusters/theirs")
        shop.edit(gitops=theirs)
        status = shop.asks()
        assert plans.steps(status) == [("Update", AGENT)]
        assert f"{REPOSITORY} -> https://git.example.com/theirs" in status["plan"]["steps"][0]["detail"]
        shop.nothing_is_written(mark)
        assert followed(on) == (REPOSITORY, "./clusters/ours")
        # What hands changed waits with it, and is put back once nothing of the agent waits.
        shop.approve(status["plan"]["hash"])
        until(lambda: followed(on) == ("https://git.example.com/theirs", "./clusters/theirs"), 40, "the edit")
        until(lambda: plans.steps(shop.found()["status"]) == [], 30, "nothing left to do")
        api = on.cloud.workload.api
        api.patch("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "flux-system", {"spec": {"path": "./hand"}}, "flux-system")
        until(lambda: followed(on) == ("https://git.example.com/theirs", "./clusters/theirs"), 40, "the repair")
        assert conditions(shop.found())["Ready"]["reason"] != "WaitingForApproval", "a repair asks nobody"
    shop.go_away()


# Objects


@pytest.fixture(scope="module")
def people(on) -> tuple[Tenant, Tenant]:
    """One who may write clusters, and one who may approve them."""
    editor = tenant(on, "team")
    return editor, tenant(on, "team", ("keelson-approve",), name="approver")


def state(on: Environment, item: dict) -> str | None:
    return on.api.get(*key_of(item)).get("status", {}).get("state")


def test_an_editor_cannot_approve_by_any_way_and_an_approver_can(on, people):
    editor, approver = people
    account = on.account(fresh_account())
    spec = {"region": "eu-west-1", "version": "1.34", "network": existing(*account.network()[:2]), "addons": []}
    item = editor.object("EksCluster", "guarded", {**spec, "changePolicy": "Approval"})
    mark = on.mark()

    def nothing_is_written() -> None:
        on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": str(on.mark())}}}, "team")
        until(lambda: on.calls(mark, account.id), 30, "a look")
        assert actions(on.writes(mark, account.id)) == []

    with on.operator("--require-approval-objects", account=account.id):
        # Not by a policy of their own: a new cluster waits, whatever it says.
        automatic = editor.object("EksCluster", "guarded", {**spec, "changePolicy": "Automatic"})
        assert editor.refusal(automatic) is None
        first = waits(on, item)
        assert editor.refusal(item) is None
        hash_ = waits(on, item, other_than=first)
        # Not by annotation.
        editor.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {APPROVE: hash_}}}, "team")
        until(lambda: "annotations do not count" in on.condition(item)["message"], 20, "that annotations do not count")
        # Not by an object, nor by writing status.
        mine = approval(editor, "mine", "guarded", hash_, approvedBy="system:serviceaccount:team:tenant")
        assert "cannot" in editor.refusal(mine)
        with pytest.raises(ApiError, match="cannot patch resource .*status"):
            editor.api.patch(*key_of(item)[:3], {"status": {"changePolicy": "Automatic"}}, "team", subresource="status")
        nothing_is_written()
        # Not by loosening the policy.
        editor.api.patch(*key_of(item)[:3], {"spec": {"changePolicy": "Automatic"}}, "team")
        loosened = waits(on, item, other_than=hash_)
        steps = on.status(item)["plan"]["steps"]
        assert ("Update", "changePolicy", "changePolicy Approval -> Automatic") in [
            (step["action"], step["resource"], step.get("detail")) for step in steps
        ]
        nothing_is_written()
        editor.api.patch(*key_of(item)[:3], {"spec": {"changePolicy": "Approval"}}, "team")
        hash_ = waits(on, item, other_than=loosened)
        # An approver approves in their own name, this plan, once.
        forged = approval(approver, "forged", "guarded", hash_, approvedBy="system:admin")
        assert "spec.approvedBy must be your own user name" in refusal_of_create(approver, forged)
        stale = approval(approver, "stale", "guarded", loosened)
        good = approval(approver, "good", "guarded", hash_)
        for one in (stale, good):
            assert refusal_of_create(approver, one) is None
        on.ready(item)
        until(lambda: (state(on, stale), state(on, good)) == ("Stale", "Used"), 30, "the states")
        with pytest.raises(ApiError, match="cannot"):
            approver.api.patch(*key_of(item)[:3], {"spec": {"version": "1.35"}}, "team")
        told = [event["note"] for event in on.events(item) if event["reason"] == "Approved"]
        assert len(told) == 1 and "system:serviceaccount:team:approver (PlanApproval good)" in told[0], told
        # What is there goes by an approval only.
        deleted = on.mark()
        editor.api.delete(*key_of(item))
        hash_ = waits(on, item, other_than=hash_)
        assert actions(on.writes(deleted, account.id)) == []
        assert refusal_of_create(approver, approval(approver, "deletion", "guarded", hash_)) is None
        on.api.wait_gone(*key_of(item), 40)
        # And made anew it waits again, whatever it says.
        remade = on.mark()
        assert editor.refusal(automatic) is None
        waits(on, item)
        assert actions(on.writes(remade, account.id)) == []
    on.force_delete(item)
