"""Finalizers are written by whoever may write the object: a tenant puts Keelson's on an object of his, or takes it off.

First on a management cluster without the admission policies, as on Kubernetes before 1.30: then a finalizer proves nothing, and what is
there is looked after without one. Then with them: only the operator puts it on and takes it off, or whoever is trusted to in an emergency.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from attacks.tenant import Tenant, install_admission, tenant
from fleet.account import Account, fresh_account
from fleet.manifests import account as aws_account
from fleet.manifests import existing, flux, key_of
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import ApiError

OURS = "keelson.dev/aws"
TEAM = "team"
FAST = Durations(0.3, 0.3, 0.4, 0.2, 0.1, 0.1)


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(workload=False, git=False, flux=False, durations=FAST) as started:
        yield started


@pytest.fixture(scope="module")
def account(on) -> Account:
    return on.account(fresh_account())


@pytest.fixture(scope="module")
def editor(on, account) -> Tenant:
    on.apply(aws_account("shared", account.id))
    return tenant(on, TEAM)


@pytest.fixture(scope="module", autouse=True)
def operator(on, account, editor):
    with on.operator("--drift-interval=2s", account=account.id) as running:
        yield running


def cluster(owner: Tenant, account: Account, name: str, aws_account: str = "shared", finalizers: list[str] | None = None, **spec) -> dict:
    metadata = {"finalizers": finalizers} if finalizers else {}
    usual = {"region": "eu-west-1", "version": "1.34", "accountRef": {"name": aws_account}, "addons": [], "oidcProvider": False}
    network = existing(*account.network()[:2])
    return owner.object("EksCluster", name, {**usual, "network": network, **spec}, **metadata)


def stored(owner: Tenant, item: dict) -> dict:
    assert owner.refusal(item) is None
    return item


def finalizers(on: Environment, item: dict) -> list[str]:
    return on.api.get(*key_of(item))["metadata"].get("finalizers", [])


def set_finalizers(people: Tenant, item: dict, *names: str) -> str | None:
    """What the API server says against it."""
    try:
        people.api.patch(*key_of(item)[:3], {"metadata": {"finalizers": list(names) or None}}, TEAM)
    except ApiError as error:
        return str(error)
    return None


def writes(on: Environment, account: Account, mark: int) -> list[str]:
    return actions(on.writes(mark, account.id))


def test_a_finalizer_of_ones_own_makes_nothing_in_an_account_that_is_being_deleted(on, editor, account):
    leaving = aws_account("leaving", account.id)
    on.apply(leaving)
    holder = stored(editor, cluster(editor, account, "holder", "leaving"))
    on.ready(holder)
    on.api.delete(*key_of(leaving))
    on.await_condition(leaving, "Ready", "False", "DeletionBlocked", timeout=20)
    late = cluster(editor, account, "late", "leaving", [OURS])
    mark = on.mark()
    stored(editor, late)
    on.await_condition(late, "Stalled", reason="AccessDenied", timeout=20)
    assert "is being deleted" in on.condition(late)["message"]
    assert writes(on, account, mark) == []
    # What is there already is looked after, whoever took its finalizer off, and gets it back.
    assert set_finalizers(editor, holder) is None
    until(lambda: OURS in finalizers(on, holder), 60, "the finalizer")
    on.await_condition(holder, timeout=20)
    on.delete(late, holder)
    on.api.wait_gone(*key_of(leaving), 40)


def test_a_finalizer_holds_no_account_that_is_not_open_to_its_namespace(on, editor, account):
    theirs = aws_account("theirs", account.id, allowedNamespaces=["team-others"])
    on.apply(theirs)
    on.await_condition(theirs, timeout=20)
    item = stored(editor, cluster(editor, account, "squatter", "theirs", [OURS]))
    on.await_condition(item, "Stalled", reason="AccessDenied", timeout=20)
    on.api.delete(*key_of(theirs))
    on.api.wait_gone(*key_of(theirs), 20)
    on.delete(item)


def test_a_finalizer_makes_nothing_while_a_secret_is_missing(on, editor, account):
    gitops = flux("https://git.example.com/fleet", secretRef={"name": "not-there"})
    item = cluster(editor, account, "no-secret", finalizers=[OURS], gitops=gitops)
    mark = on.mark()
    stored(editor, item)
    message = until(lambda: on.condition(item, "GitOpsReady").get("message"), 20, "a word of the Secret")
    assert "not-there" in message
    assert writes(on, account, mark) == []
    on.delete(item)


# From here on with the policies that deploy/ ships.


@pytest.fixture(scope="module")
def admission(on, editor, account) -> None:
    install_admission(on)
    probe = cluster(editor, account, "probe", finalizers=[OURS])

    def refused() -> bool:
        if editor.refusal(probe) is not None:
            return True
        on.force_delete(probe)
        return False

    # Policies take effect some moments after they are stored.
    until(refused, 20, "the admission policy")


@pytest.fixture(scope="module")
def ready(on, editor, account, admission) -> tuple[dict, dict]:
    item = stored(editor, cluster(editor, account, "held"))
    nodes = {"clusterRef": {"name": "held"}, "scaling": {"min": 1, "max": 1}}
    group = stored(editor, editor.object("NodeGroup", "held-nodes", nodes))
    on.ready(item, group)
    return item, group


@pytest.mark.parametrize("kind", ["EksCluster", "NodeGroup"])
def test_nobody_but_the_operator_puts_the_finalizer_on(on, editor, account, admission, kind):
    item = cluster(editor, account, "own-finalizer", finalizers=[OURS])
    if kind == "NodeGroup":
        nodes = {"clusterRef": {"name": "none"}, "scaling": {"min": 1, "max": 1}}
        item = editor.object("NodeGroup", "own-finalizer", nodes, finalizers=[OURS])
    refusal = editor.refusal(item)
    assert refusal and "keelson.dev/aws is put on and taken off by the operator alone" in refusal and "leave it out" in refusal
    # One of somebody else's is nothing to Keelson.
    item["metadata"]["finalizers"] = ["example.com/hold"]
    item["spec"]["suspend"] = True
    stored(editor, item)
    refusal = set_finalizers(editor, item, "example.com/hold", OURS)
    assert refusal and "by the operator alone" in refusal
    assert set_finalizers(editor, item) is None
    on.delete(item)


@pytest.mark.parametrize("number", [0, 1], ids=["EksCluster", "NodeGroup"])
def test_nobody_but_the_operator_takes_the_finalizer_off(on, editor, ready, number):
    item = ready[number]
    for names in ((), ("example.com/hold",)):
        refusal = set_finalizers(editor, item, *names)
        assert refusal and "by the operator alone" in refusal and "in an emergency" in refusal
    replaced = on.api.get(*key_of(item))
    del replaced["metadata"]["finalizers"]
    with pytest.raises(ApiError, match="by the operator alone"):
        editor.api.request("PUT", editor.api.path_of(item), json=replaced)
    assert OURS in finalizers(on, item)
    # The rest of the object is the tenant's to write.
    assert set_finalizers(editor, item, OURS, "example.com/hold") is None
    assert set_finalizers(editor, item, OURS) is None


def test_in_an_emergency_whoever_was_given_the_role_takes_it_off(on, editor, ready, account):
    item, group = ready
    fixer = tenant(on, TEAM, ("keelson-edit", "keelson-finalizers"), name="fixer")
    mark = on.mark()
    editor.api.delete(*key_of(group))
    assert set_finalizers(editor, item) is not None
    on.api.wait_gone(*key_of(group), 40)
    editor.api.patch(*key_of(item)[:3], {"spec": {"suspend": True}}, TEAM)
    editor.api.delete(*key_of(item))
    until(lambda: on.condition(item)["reason"] == "Suspended", 20, "the suspension")
    assert set_finalizers(fixer, item) is None
    on.api.wait_gone(*key_of(item), 20)
    assert "eks:DeleteCluster held" not in writes(on, account, mark)
    assert account.eks.describe_cluster(name="held")["cluster"]["status"] == "ACTIVE"
