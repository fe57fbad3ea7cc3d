"""Upgrade of Keelson to this version: it takes over unchanged what the previous version left in the management cluster, in a workload
cluster and in AWS (`operator_upgrade/before`, recorded with the previous binary). It writes nothing to AWS, including tags, and nothing to
the workload cluster.
"""

from __future__ import annotations

import json
import time

import pytest

from fleet import API
from fleet.environment import Environment, actions, environment, until
from keelson_harness.kubeapi import ApiError, conditions
from operator_upgrade import BEFORE, changed, content, objects_of_keelson

KINDS = ("EksCluster", "NodeGroup", "AwsAccount")
# Enough to compare everything with AWS several times, and to observe the agent again.
OBSERVATIONS = 3
SECONDS_AFTER_OBSERVATION = 6


class KeelsonUpgrade:
    """The state before this version started, and the state now."""

    def __init__(self, on: Environment):
        self.on = on
        self.objects = self.now()
        self.workload = objects_of_keelson(on.cloud.workload.api)
        self.inventory = on.aws.inventory()
        self.mark = on.mark()
        self.started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def now(self) -> dict[str, dict]:
        found = [item for kind in KINDS for item in self.on.api.list(API, kind)]
        return {f"{item['kind']} {item['metadata']['name']}": item for item in found}

    def clusters(self) -> dict[str, dict]:
        return {key: item for key, item in self.now().items() if item["kind"] == "EksCluster"}

    def is_observed(self) -> bool:
        """Whether each cluster was compared with AWS, and the agent of the one that has one was observed."""
        calls = [call for call in self.on.calls(self.mark) if call["action"] == "DescribeCluster"]
        names = {item["metadata"]["name"] for item in self.clusters().values()}
        observed_often = all(sum(name in call["resource"] for call in calls) >= OBSERVATIONS for name in names)
        contacts = [
            item["status"]["gitops"].get("lastContact", "")
            for item in self.clusters().values()
            if "gitops" in item["spec"]
        ]
        return observed_often and bool(contacts) and all(contact >= self.started for contact in contacts)


@pytest.fixture(scope="module")
def on():
    # Without the controllers of Flux: what they have applied stays unchanged.
    with environment(crds=False, flux=False, git=False, snapshot=BEFORE) as started:
        yield started


@pytest.fixture(scope="module")
def upgrade(on) -> KeelsonUpgrade:
    # In the order of docs/upgrading-keelson.md.
    on.cloud.install_crds()
    found = KeelsonUpgrade(on)
    on.start("--drift-interval=2s")
    until(found.is_observed, 120, "an observation of everything")
    time.sleep(SECONDS_AFTER_OBSERVATION)
    return found


def test_recording_contains_every_kind_of_resource(on, upgrade):
    """An almost empty recording would prove little."""
    reasons = {item["metadata"]["name"]: conditions(item)["Ready"]["reason"] for item in upgrade.objects.values()}
    assert {"Available", "WaitingForApproval", "OutsideMaintenanceWindow"} <= set(reasons.values()), reasons
    (found,) = upgrade.inventory["accounts"].values()
    resources = {**found["eu-west-1"], **found["global"]}
    assert {"vpcs", "natGateways", "vpcEndpoints", "clusters", "nodegroups", "addons", "roles", "oidcProviders"} <= resources.keys()
    kinds = {key.split()[1] for key in upgrade.workload}
    assert {"CustomResourceDefinition", "Deployment", "Secret", "ConfigMap", "GitRepository", "Kustomization"} <= kinds


def test_upgrade_writes_nothing_to_aws(on, upgrade):
    assert actions(on.writes(upgrade.mark)) == []
    assert on.aws.inventory() == upgrade.inventory


def test_upgrade_writes_nothing_to_the_workload_cluster(on, upgrade):
    assert changed(upgrade.workload, objects_of_keelson(on.cloud.workload.api)) == []


def test_upgrade_leaves_user_fields_of_objects_unchanged(on, upgrade):
    now = upgrade.now()
    assert changed(
        {key: content(item) for key, item in upgrade.objects.items()}, {key: content(item) for key, item in now.items()}
    ) == []


def test_upgrade_keeps_the_ready_condition_of_each_object(on, upgrade):
    def ready_states(items: dict[str, dict]) -> dict[str, tuple[str, str]]:
        ready = {key: conditions(item)["Ready"] for key, item in items.items()}
        return {key: (found["status"], found["reason"]) for key, found in ready.items()}

    assert ready_states(upgrade.now()) == ready_states(upgrade.objects)


def test_upgrade_keeps_the_steps_of_a_pending_plan(on, upgrade):
    def steps(items: dict[str, dict]) -> list[tuple[str, str]]:
        plan = items["EksCluster approving"]["status"]["plan"]
        return [(step["action"], step["resource"]) for step in plan["steps"]]

    assert steps(upgrade.now()) == steps(upgrade.objects)


def test_older_crds_reject_the_status_of_a_newer_operator(on, upgrade):
    """docs/upgrading-keelson.md: in this order."""
    item = {"apiVersion": API, "kind": "EksCluster", "metadata": {"name": "whole"}, "status": {"ofALaterVersion": "x"}}
    with pytest.raises(ApiError) as rejected:
        on.api.request(
            "PATCH",
            on.api.path_of(item, "status"),
            params={"fieldManager": "keelson-later", "force": "true"},
            data=json.dumps(item),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
    assert "ofALaterVersion" in rejected.value.message


# These tests show that a write would have been detected. Last, as they write.


def test_changed_tag_would_have_been_detected(on, upgrade):
    mark = on.mark()
    on.api.patch(API, "AwsAccount", "prod", {"spec": {"tags": {"cost-center": "4711", "added": "later"}}}, None)
    until(lambda: on.writes(mark), 60, "the tag")
    # On the cluster and on each of its resources.
    until(lambda: len(on.writes(mark)) > 10, 60, "the tags of all")


def test_changed_agent_manifest_would_have_been_detected(on, upgrade):
    before = objects_of_keelson(on.cloud.workload.api)
    flux = {"registry": "mirror.acme.example/fluxcd"}
    on.api.patch(API, "EksCluster", "whole", {"spec": {"gitops": {"flux": flux}}})
    until(lambda: changed(before, objects_of_keelson(on.cloud.workload.api)), 60, "the other images")
