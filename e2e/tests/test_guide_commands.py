"""The commands of the how-to pages about upgrades, windows, approvals, holds and tenants work: the pages' own blocks, each of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fleet.account import fresh_account
from fleet.environment import Environment, environment, until
from fleet.guide import Guide
from fleet.manifests import cluster, key_of, node_group
from fleet.shell import Shell, needs_tools
from fleet.upgrading import SMALL, far_window
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import documents
from keelson_harness.paths import DEPLOY, keelson_binary

HOLD = "hold.keelson.dev/freeze"


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    needs_tools("kubectl")
    with environment(workload=False, git=False, durations=Durations(1, 2, 1, 1, 0.5, 0.5)) as started:
        yield started


@pytest.fixture
def account(on: Environment) -> Iterator[str]:
    """An account of its own, and an operator that works in it."""
    account_id = fresh_account()
    with on.operator("--drift-interval=5s", account=account_id):
        yield account_id
        on.force_delete(*shop("1.34"))
    on.aws.reset_account(account_id)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the reader is."""
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def shell(on: Environment, account: str, tmp_path: Path, folder: Path) -> Shell:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "keelson").symlink_to(keelson_binary().resolve())
    variables = {
        **os.environ,
        **on.aws.env(),
        "AWS_ACCESS_KEY_ID": account,
        "AWS_CONFIG_FILE": os.devnull,
        "KUBECONFIG": str(on.cloud.management.kubeconfig),
        "KUBECACHEDIR": str(tmp_path / "kube-cache"),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    return Shell(tmp_path, {name: value for name, value in variables.items() if name != "AWS_PROFILE"}, folder)


def shop(version: str, hops: int = 1, **spec: object) -> tuple[dict, dict]:
    """hops: another number replaces the nodes."""
    upgrade = spec.pop("upgrade", None)
    nodes = node_group("shop", node={"metadata": {"httpTokens": "required", "httpPutResponseHopLimit": hops}})
    return cluster("shop", version=version, upgrade=upgrade, **SMALL, **spec), nodes


def write(path: Path, *items: dict) -> None:
    """As people write it: versions in double quotes."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(re.sub(r"'(1\.\d+)'", r'"\1"', yaml.safe_dump_all(items, sort_keys=False)))


def test_commands_to_upgrade_a_cluster(on, account, shell, folder):
    guide = Guide("docs/how-to/upgrade-a-cluster.md")
    target, nodes = shop("1.35")
    write(folder / "shop.yaml", target, nodes)
    shell.run("kubectl apply -f shop.yaml")
    on.ready(target, nodes)

    plan = shell.run(guide.take("keelson plan -f shop.yaml --live"))
    assert "1.35 -> 1.36" in plan, plan
    assert yaml.safe_load((folder / "shop.yaml").read_text().split("---")[0])["spec"]["version"] == "1.36"
    assert "ekscluster.keelson.dev/shop configured" in shell.run(guide.take("kubectl apply -f shop.yaml"))

    status, events = guide.lines("keelson status shop -w")
    shell.watch(status, r"Kubernetes 1\.36.*Ready \(Available\)", 120)
    on.ready(target, nodes)
    assert "1.36" in shell.run(events)

    watch, message, preflight, kubectl_events = guide.lines("kubectl get ekscluster shop -w")
    shell.watch(watch, r"\nshop +True +Available")
    assert shell.run(message).strip(), "a message of the condition Upgrading"
    shell.run(preflight)
    assert "ekscluster/shop" in shell.run(kubectl_events).lower()

    asked = on.mark()
    shell.run(guide.take("keelson reconcile shop --wait"))
    assert [call for call in on.calls(asked, account) if call["action"] == "DescribeCluster"], "it was compared with AWS"
    guide.end()


def test_commands_of_windows_approvals_and_holds(on, account, shell, folder):
    guide = Guide("docs/how-to/windows-and-approvals.md")
    target, nodes = shop("1.34", changePolicy="Approval")
    question = "Approve? [y/N]"
    on.apply(target, nodes)
    on.await_condition(target, status="False", reason="WaitingForApproval")

    # Only what a person approved.
    get, approve = guide.lines("# WaitingForApproval")
    assert "WaitingForApproval" in shell.run(get)
    code, shown = shell.answer(approve, question, "n")
    assert code != 0 and "not approved" in shown
    assert on.account(account).eks.list_clusters()["clusters"] == []

    approve, status, approve_again = guide.lines("until a NodeGroup is WaitingForApproval")
    code, shown = shell.answer(approve, question, "y")
    assert code == 0 and "approved: EksCluster default/shop" in shown, shown
    shell.watch(status, r"shop-default[^\n]*WaitingForApproval", 90)
    code, shown = shell.answer(approve_again, question, "y")
    assert code == 0 and "approved: NodeGroup default/shop-default" in shown, shown
    on.ready(target, nodes)

    on.api.patch(*key_of(target)[:3], {"spec": {"logging": ["api"]}})
    on.await_condition(target, status="False", reason="WaitingForApproval")
    shell.run(guide.take("hash=$("))
    on.await_in_sync(target)
    logging = on.account(account).eks.describe_cluster(name="shop")["cluster"]["logging"]["clusterLogging"]
    assert ["api"] in [entry["types"] for entry in logging if entry["enabled"]]

    # Separate who writes from who approves.
    shell.run(guide.take("create rolebinding approvers"))
    roles = {item["metadata"]["name"] for item in documents(DEPLOY / "rbac-users.yaml") if item["kind"] == "ClusterRole"}
    for name in ("writers", "approvers"):
        binding = on.api.get("rbac.authorization.k8s.io/v1", "RoleBinding", name, "default")
        assert binding["roleRef"]["name"] in roles
        on.api.delete("rbac.authorization.k8s.io/v1", "RoleBinding", name, "default")

    # Only in maintenance windows.
    target, nodes = shop("1.35", 2, logging=["api"], changePolicy="Automatic", upgrade={"windows": [far_window()]})
    write(folder / "clusters" / "shop.yaml", target)
    write(folder / "node-groups" / "shop-default.yaml", nodes)
    plan, status, next_window = guide.lines("keelson plan -f clusters/")
    shown = shell.run(plan)
    assert "1.34 -> 1.35" in shown and "nodes are replaced in a maintenance window: the next opens" in shown, shown
    on.apply(target, nodes)
    on.await_condition(target, status="False", reason="OutsideMaintenanceWindow")
    on.await_condition(nodes, "InSync", "False", "OutsideMaintenanceWindow")
    assert "OutsideMaintenanceWindow" in shell.run(status)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\S+\n", shell.run(next_window))

    # Stop everything for a while.
    shell.run(guide.take(f"{HOLD}="))
    until(lambda: on.status(target).get("holds"), 30, "the hold")
    status, remove = guide.lines(f"{HOLD}-")
    assert 'hold freeze ("sales week, ask the shop team"' in " ".join(shell.run(status).split())
    shell.run(remove)
    until(lambda: not on.status(target).get("holds"), 30, "the hold to end")
    guide.end()


def test_commands_to_restrict_a_tenant(on, shell, folder):
    guide = Guide("docs/how-to/restrict-a-tenant.md")
    on.api.apply_all([*documents(DEPLOY / "namespace.yaml"), *documents(DEPLOY / "rbac-users.yaml")])
    shell.run(guide.take("create namespace team-payments"))
    create, patch, apply = guide.lines("auth can-i create ekscluster")
    # The API server notices bindings after a moment; the answer `no` is exit code 1.
    until(lambda: shell.run(f"{create} || true").split()[-1:] == ["yes"], 30, "the right to create clusters")
    assert shell.run(f"{patch} || true").split()[-1:] == ["no"]
    write(folder / "payments.yaml", cluster("payments", "team-payments", accountRef={"name": "payments"}))
    assert "created (server dry run)" in shell.run(apply)
    elsewhere = apply.replace("-f payments.yaml", "-f elsewhere.yaml")
    write(folder / "elsewhere.yaml", cluster("payments", "default"))
    assert "forbidden" in shell.run(f"! {elsewhere}")
    guide.end()
