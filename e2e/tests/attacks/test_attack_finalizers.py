"""Whoever may write an object may write its finalizers: a tenant adds Keelson's finalizer to an object, or removes it.

First without the admission policies, as on Kubernetes before 1.30: a finalizer proves nothing, and existing clusters are reconciled
without one. Then with them: only the operator adds and removes it, or in an emergency whoever has the role for that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from attacks.tenant import Tenant, install_admission, tenant
from fleet.account import Account, fresh_account
from fleet.manifests import account as aws_account
from fleet.manifests import existing, flux, key_of
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import ApiError

FINALIZER = "keelson.dev/aws"
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
    defaults = {"region": "eu-west-1", "version": "1.34", "accountRef": {"name": aws_account}, "addons": [], "oidcProvider": False}
    network = existing(*account.network()[:2])
    return owner.object("EksCluster", name, {**defaults, "network": network, **spec}, **metadata)


def apply(owner: Tenant, item: dict) -> dict:
    assert owner.apply_error(item) is None
    return item


def finalizers(on: Environment, item: dict) -> list[str]:
    return on.api.get(*key_of(item))["metadata"].get("finalizers", [])


def set_finalizers(user: Tenant, item: dict, *names: str) -> str | None:
    """Returns the API server's error, or None."""
    try:
        user.api.patch(*key_of(item)[:3], {"metadata": {"finalizers": list(names) or None}}, TEAM)
    except ApiError as error:
        return str(error)
    return None


def writes(on: Environment, account: Account, mark: int) -> list[str]:
    return actions(on.writes(mark, account.id))


def test_own_finalizer_creates_nothing_in_an_account_being_deleted(on, editor, account):
    leaving = aws_account("leaving", account.id)
    on.apply(leaving)
    holder = apply(editor, cluster(editor, account, "holder", "leaving"))
    on.ready(holder)
    on.api.delete(*key_of(leaving))
    on.await_condition(leaving, "Ready", "False", "DeletionBlocked", timeout=20)
    late = cluster(editor, account, "late", "leaving", [FINALIZER])
    mark = on.mark()
    apply(editor, late)
    on.await_condition(late, "Stalled", reason="AccessDenied", timeout=20)
    assert "is being deleted" in on.condition(late)["message"]
    assert writes(on, account, mark) == []
    # An existing cluster is still reconciled without its finalizer, and gets it back.
    assert set_finalizers(editor, holder) is None
    until(lambda: FINALIZER in finalizers(on, holder), 60, "the finalizer")
    on.await_condition(holder, timeout=20)
    on.delete(late, holder)
    on.api.wait_gone(*key_of(leaving), 40)


def test_own_finalizer_does_not_block_deletion_of_a_closed_account(on, editor, account):
    closed = aws_account("closed", account.id, allowedNamespaces=["team-others"])
    on.apply(closed)
    on.await_condition(closed, timeout=20)
    item = apply(editor, cluster(editor, account, "squatter", "closed", [FINALIZER]))
    on.await_condition(item, "Stalled", reason="AccessDenied", timeout=20)
    on.api.delete(*key_of(closed))
    on.api.wait_gone(*key_of(closed), 20)
    on.delete(item)


def test_own_finalizer_creates_nothing_while_a_secret_is_missing(on, editor, account):
    gitops = flux("https://git.example.com/fleet", secretRef={"name": "not-there"})
    item = cluster(editor, account, "no-secret", finalizers=[FINALIZER], gitops=gitops)
    mark = on.mark()
    apply(editor, item)
    message = until(lambda: on.condition(item, "GitOpsReady").get("message"), 20, "a message about the Secret")
    assert "not-there" in message
    assert writes(on, account, mark) == []
    on.delete(item)


# The following tests run with the policies that deploy/ ships.


@pytest.fixture(scope="module")
def admission(on, editor, account) -> None:
    install_admission(on)
    probe = cluster(editor, account, "probe", finalizers=[FINALIZER])

    def rejected() -> bool:
        if editor.apply_error(probe) is not None:
            return True
        on.force_delete(probe)
        return False

    # Policies take effect some moments after they are stored.
    until(rejected, 20, "the admission policy")


@pytest.fixture(scope="module")
def ready(on, editor, account, admission) -> tuple[dict, dict]:
    item = apply(editor, cluster(editor, account, "held"))
    nodes = {"clusterRef": {"name": "held"}, "scaling": {"min": 1, "max": 1}}
    group = apply(editor, editor.object("NodeGroup", "held-nodes", nodes))
    on.ready(item, group)
    return item, group


def test_operator_adds_and_removes_the_finalizer_of_an_account(on, account, admission):
    """An AwsAccount has no namespace: the policy must not fail on it."""
    item = aws_account("protected", account.id)
    on.apply(item)
    until(lambda: FINALIZER in finalizers(on, item), 20, "the finalizer")
    on.api.delete(*key_of(item))
    on.api.wait_gone(*key_of(item), 20)


@pytest.mark.parametrize("kind", ["EksCluster", "NodeGroup"])
def test_only_the_operator_can_add_the_finalizer(on, editor, account, admission, kind):
    item = cluster(editor, account, "own-finalizer", finalizers=[FINALIZER])
    if kind == "NodeGroup":
        nodes = {"clusterRef": {"name": "none"}, "scaling": {"min": 1, "max": 1}}
        item = editor.object("NodeGroup", "own-finalizer", nodes, finalizers=[FINALIZER])
    error = editor.apply_error(item)
    assert error and "keelson.dev/aws is put on and taken off by the operator alone" in error and "leave it out" in error
    # Keelson ignores finalizers of others.
    item["metadata"]["finalizers"] = ["example.com/hold"]
    item["spec"]["suspend"] = True
    apply(editor, item)
    error = set_finalizers(editor, item, "example.com/hold", FINALIZER)
    assert error and "by the operator alone" in error
    assert set_finalizers(editor, item) is None
    on.delete(item)


def replace_without_finalizers(on, editor, item) -> str:
    """The error of a PUT. The operator writes status all the time, so a conflict is no answer yet."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        replaced = on.api.get(*key_of(item))
        del replaced["metadata"]["finalizers"]
        with pytest.raises(ApiError) as error:
            editor.api.request("PUT", editor.api.path_of(item), json=replaced)
        if error.value.code != 409:
            return str(error.value)
    raise AssertionError("each PUT met a conflict")


@pytest.mark.parametrize("number", [0, 1], ids=["EksCluster", "NodeGroup"])
def test_only_the_operator_can_remove_the_finalizer(on, editor, ready, number):
    item = ready[number]
    for names in ((), ("example.com/hold",)):
        error = set_finalizers(editor, item, *names)
        assert error and "by the operator alone" in error and "in an emergency" in error
    assert "by the operator alone" in replace_without_finalizers(on, editor, item)
    assert FINALIZER in finalizers(on, item)
    # The tenant may write the rest of the object.
    assert set_finalizers(editor, item, FINALIZER, "example.com/hold") is None
    assert set_finalizers(editor, item, FINALIZER) is None


def test_emergency_role_can_remove_the_finalizer(on, editor, ready, account):
    item, group = ready
    emergency_user = tenant(on, TEAM, ("keelson-edit", "keelson-finalizers"), name="fixer")
    mark = on.mark()
    editor.api.delete(*key_of(group))
    assert set_finalizers(editor, item) is not None
    on.api.wait_gone(*key_of(group), 40)
    editor.api.patch(*key_of(item)[:3], {"spec": {"suspend": True}}, TEAM)
    editor.api.delete(*key_of(item))
    until(lambda: on.condition(item)["reason"] == "Suspended", 20, "the suspension")
    assert set_finalizers(emergency_user, item) is None
    on.api.wait_gone(*key_of(item), 20)
    assert "eks:DeleteCluster held" not in writes(on, account, mark)
    assert account.eks.describe_cluster(name="held")["cluster"]["status"] == "ACTIVE"
