"""`keelson import`: writes manifests for existing clusters. Their plan is to adopt the clusters unchanged and nothing else;
applying them does nothing else.

The tables of src/resources/inventory/tests.rs test how each field is converted.
"""

from __future__ import annotations

import re

import pytest
import yaml

from fleet.account import Account, fresh_account
from fleet.existing_clusters import (
    TAGGING,
    Others,
    assert_released,
    imported,
    keelson,
    live_plan,
    picture,
    assert_idle,
)
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import REGION, Durations

ONLY_ADOPTION = re.compile(r"\b0 to create, 0 to update, 0 to delete, (\d+) to adopt", re.M)
# Each kind has its own account.
KINDS = ("bare", "odd", "private")


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 1, 1, 0.5, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def existing_clusters(on) -> dict[str, Account]:
    """For each kind of cluster, an account with one."""
    accounts = {}
    for kind in KINDS:
        account = on.account(fresh_account())
        getattr(Others(account), kind)()
        accounts[kind] = account
    return accounts


@pytest.fixture(scope="module")
def imported_manifests(on, existing_clusters) -> dict[str, list[dict]]:
    return {kind: imported(on, account, "--all") for kind, account in existing_clusters.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_plan_of_imported_manifests_only_adopts(on, existing_clusters, imported_manifests, kind, tmp_path):
    before = on.mark()
    plan = live_plan(on, existing_clusters[kind], tmp_path, imported_manifests[kind])
    summaries = [line for line in plan.splitlines() if " to create, " in line]
    assert len(summaries) == len(imported_manifests[kind]), plan
    for summary in summaries:
        assert ONLY_ADOPTION.search(summary), plan
    assert "!" not in plan, plan
    assert on.writes(before, existing_clusters[kind].id) == []


def test_names_invalid_in_kubernetes_are_changed_and_kept_for_eks(imported_manifests):
    cluster, group = imported_manifests["bare"]
    assert (cluster["metadata"]["name"], cluster["spec"]["clusterName"]) == ("bare-one", "Bare_One")
    assert group["metadata"]["name"] == "bare-one-default"
    assert group["spec"]["nodeGroupName"] == "default"
    assert cluster["spec"]["access"] == {"authenticationMode": "ConfigMap"}
    assert cluster["spec"]["addons"] == [] and cluster["spec"]["oidcProvider"] is False


def test_imported_manifest_has_all_settings_of_the_odd_cluster(imported_manifests):
    cluster, *groups = imported_manifests["odd"]
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
    assert spec["controlPlane"] == {
        "egressMode": "CustomerRouted",
        "apiServer": {"eventTtl": "30m"},
        "controllerManager": {"podGcControllerConfig": {"terminatedPodGcThreshold": 1000}},
    }
    assert spec["remoteNetworks"] == {"nodeCidrs": ["10.80.0.0/16"], "podCidrs": ["10.85.0.0/16"]}
    types = {entry["principalArn"].rpartition("/")[2]: entry.get("type") for entry in spec["access"]["entries"]}
    assert types["hybrid"] == "HybridLinux"
    untagged = {one["serviceAccount"] for one in spec["podIdentities"] if one.get("disableSessionTags")}
    assert untagged == {"till"}
    by_name = {group["spec"].get("nodeGroupName"): group["spec"] for group in groups}
    assert by_name.keys() == {"Spot_Nodes", "fixed"}
    assert by_name["fixed"]["warmPool"]["minSize"] == 1 and by_name["fixed"]["warmPool"]["reuseOnScaleIn"] is True
    (override,) = by_name["fixed"]["repair"]["overrides"]
    assert (override["nodeUnhealthyReason"], override["repairAction"]) == ("SoftLockup", "Reboot")


def test_settings_that_cannot_be_expressed_are_listed_in_output_and_on_standard_error(on, existing_clusters):
    result = keelson(on, existing_clusters["odd"], "import", f"--region={REGION}", "--name=odd-shop")
    for text in (result.stdout, result.stderr):
        assert "not managed: tags of the cluster (Name=odd, cost:center=1/2, team=shop)" in text
        assert "not managed: tags Name=spot of node group Spot_Nodes" in text
        assert "its type is EC2_LINUX" in text


def test_printed_account_settings_are_sufficient(on, existing_clusters):
    account = existing_clusters["odd"]
    arguments = (f"--region={REGION}", "--name=odd-shop", "--namespace=default", "--account-ref=strict")
    result = keelson(on, account, "import", *arguments)
    allowed = yaml.safe_load(result.stderr.partition("must allow it:\n")[2])
    assert allowed["adoption"] == {"policy": "Allow", "clusterNames": ["odd-shop"], "namespaces": ["default"]}
    strict = {"apiVersion": "keelson.dev/v1alpha1", "kind": "AwsAccount", "metadata": {"name": "strict"}, "spec": {"accountId": account.id, **allowed}}
    items = list(yaml.safe_load_all(result.stdout))
    items[0]["spec"]["changePolicy"] = "Observe"
    since = on.mark()
    with on.operator(account=account.id):
        on.apply(strict, *items)
        steps = until(lambda: on.status(items[0]).get("plan", {}).get("steps"), 30, "the plan of the cluster")
        assert {step["action"] for step in steps} == {"Adopt"}, steps
        for group in items[1:]:
            on.await_condition(group, "Ready", "False", "WaitingForCluster")
        on.delete(*items)
    on.force_delete(strict)
    assert on.writes(since, account.id) == []


def test_importing_a_missing_cluster_is_an_error(on, existing_clusters):
    result = keelson(on, existing_clusters["odd"], "import", f"--region={REGION}", "--name=no-such")
    assert result.returncode != 0 and "no-such" in result.stderr and result.stdout == ""


@pytest.mark.parametrize("kind", KINDS)
def test_applying_imported_manifests_only_tags_and_then_writes_nothing(on: Environment, existing_clusters, imported_manifests, kind, tmp_path):
    account, items = existing_clusters[kind], imported_manifests[kind]
    before, start = picture(account), on.mark()
    try:
        with on.operator("--drift-interval=2s", account=account.id):
            on.apply(*items)
            on.ready(*items)
            for item in items:
                on.await_condition(item, "InSync")
            writes = [call for call in on.writes(start, account.id) if call["status"] < 400]
            assert {call["action"] for call in writes} <= TAGGING, actions(writes)
            assert_idle(on, account)
            assert picture(account, without_ours=True) == before
            # Now it is recognized by its tags and matches the spec, and cannot be imported again.
            plan = live_plan(on, account, tmp_path, items)
            assert "to adopt" not in plan and "0 to create, 0 to update, 0 to delete" in plan, plan
            name = items[0]["spec"].get("clusterName", items[0]["metadata"]["name"])
            result = keelson(on, account, "import", f"--region={REGION}", f"--name={name}")
            assert result.returncode != 0 and "belongs to default/" in result.stderr
            # After its release, everything is as before.
            on.delete(*reversed(items))
    finally:
        on.force_delete(*items)
    assert_released(account, before, f"default/{items[0]['metadata']['name']}")
