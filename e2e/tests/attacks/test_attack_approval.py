"""Approvals that nobody gave: placed in advance, taken from another object, replayed, given by an editor, walked around.

The first part has annotations, which count by default; the second an operator with `--require-approval-objects`, and a tenant with
exactly the shipped roles.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from attacks.tenant import Tenant, install_admission, tenant
from fleet import plans
from fleet.account import fresh_account
from fleet.manifests import cluster, existing, key_of
from fleet.shop import APPROVE, RELEASE, Shop
from fleet.stage import Stage, actions, stage, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import ApiError, conditions

FAST = Durations(0.3, 0.3, 0.4, 0.2, 0.1, 0.1)


@pytest.fixture(scope="module")
def on() -> Iterator[Stage]:
    with stage(workload=False, git=False, durations=FAST) as started:
        install_admission(started)
        yield started


# Annotations


def annotate(on: Stage, item: dict, **annotations: str) -> None:
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
    on.forget(*others)


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
    on.forget(one, two)
