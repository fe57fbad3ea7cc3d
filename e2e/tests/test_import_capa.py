"""`keelson import --capa`: the manifests from the objects of Cluster API only adopt.

The snapshots of src/cli/import/capa/tests.rs show how other objects are converted. Cluster API itself does not run here.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from fleet.account import Account, fresh_account
from fleet.environment import environment
from fleet.existing_clusters import Others, adopting, assert_only_adopts, keelson, live_plan, picture, reference
from importing import capa_objects, clusters
from keelson_harness.aws import Durations

NAME, GROUP = "clusters_shop-control-plane", "clusters_shop-general"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 1, 1, 0.5, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def account(on) -> Account:
    account = on.account(fresh_account())
    owned = {"sigs.k8s.io/cluster-api-provider-aws/cluster/shop": "owned"}
    clusters.create(Others(account), NAME, GROUP, owned)
    return account


@pytest.fixture
def file(account, tmp_path) -> Path:
    path = tmp_path / "objects.yaml"
    path.write_text(capa_objects.of(account, NAME, GROUP))
    return path


def test_manifests_of_objects_only_adopt(on, account, file, tmp_path):
    on.apply(adopting(account))
    before, start = picture(account), on.mark()
    placed = ("--namespace=default", f"--account-ref={reference(account)['name']}")
    result = keelson(on, account, "import", "--capa", str(file), *placed)
    assert result.returncode == 0, result.stderr
    items = list(yaml.safe_load_all(result.stdout))
    assert [item["metadata"]["name"] for item in items] == ["clusters-shop-control-plane", "clusters-shop-control-plane-clusters-shop-general"]
    assert "mapRoles[0].rolearn: stays in the ConfigMap aws-auth" in result.stderr
    plan = live_plan(on, account, tmp_path, items)
    assert plan.count("0 to create, 0 to update, 0 to delete") == len(items) and "!" not in plan, plan
    try:
        with on.operator("--drift-interval=2s", account=account.id):
            assert_only_adopts(on, account, items, before, start)
            on.delete(*reversed(items))
    finally:
        on.force_delete(*items)


def test_commands_pause_first_and_remove_the_cluster_last(on, account, file):
    result = keelson(on, account, "import", "--capa", str(file))
    commands = [shlex.split(line) for line in result.stderr.splitlines() if line.startswith("  kubectl ")]
    assert [command[1:4] for command in commands] == [
        ["patch", "cluster.cluster.x-k8s.io", "shop"],
        ["patch", "awsmanagedmachinepool.infrastructure.cluster.x-k8s.io", "shop-general"],
        ["patch", "machinepool.cluster.x-k8s.io", "shop-general"],
        ["patch", "awsmanagedcontrolplane.controlplane.cluster.x-k8s.io", "shop-control-plane"],
        ["patch", "cluster.cluster.x-k8s.io", "shop"],
    ]
    assert yaml.safe_load(commands[0][-1]) == {"spec": {"paused": True}}
    for command in commands[1:]:
        assert '{"metadata":{"finalizers":null}}' in command and command[-1] == "--wait=false"


def test_account_id_is_for_cluster_api_only(on, account, file):
    for arguments in (("--name=a", "--account-id=123456789012"), ("--capa", str(file), "--account-id=123")):
        result = keelson(on, account, "import", *arguments)
        assert result.returncode == 1 and "--account-id" in result.stderr
