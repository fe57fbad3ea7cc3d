"""Keelson is replaced by this version: what the version before left in the management cluster, in a workload cluster and in AWS
(`replacing/before`, recorded with its binary) is taken over as it is. Nothing is written to AWS, tags included, and nothing to the
workload cluster.
"""

from __future__ import annotations

import json
import time

import pytest

from fleet import API
from fleet.environment import Environment, actions, environment, until
from keelson_harness.kubeapi import ApiError, conditions
from replacing import BEFORE, changed, content, ours

KINDS = ("EksCluster", "NodeGroup", "AwsAccount")
# In which all is compared with AWS several times, and the agent looked at anew.
LOOKS = 3
A_WHILE = 6


class Taken:
    """What was there before this version started, and what is there now."""

    def __init__(self, on: Environment):
        self.on = on
        self.objects = self.now()
        self.workload = ours(on.cloud.workload.api)
        self.inventory = on.aws.inventory()
        self.mark = on.mark()
        self.started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def now(self) -> dict[str, dict]:
        found = [item for kind in KINDS for item in self.on.api.list(API, kind)]
        return {f"{item['kind']} {item['metadata']['name']}": item for item in found}

    def clusters(self) -> dict[str, dict]:
        return {key: item for key, item in self.now().items() if item["kind"] == "EksCluster"}

    def is_looked_at(self) -> bool:
        """Each cluster was compared with AWS, and the one that has an agent answered."""
        calls = [call for call in self.on.calls(self.mark) if call["action"] == "DescribeCluster"]
        names = {item["metadata"]["name"] for item in self.clusters().values()}
        often = all(sum(name in call["resource"] for call in calls) >= LOOKS for name in names)
        contacts = [
            item["status"]["gitops"].get("lastContact", "")
            for item in self.clusters().values()
            if "gitops" in item["spec"]
        ]
        return often and bool(contacts) and all(contact >= self.started for contact in contacts)


@pytest.fixture(scope="module")
def on():
    # Without the controllers of Flux: what they have applied stands as it is.
    with environment(crds=False, flux=False, git=False, snapshot=BEFORE) as started:
        yield started


@pytest.fixture(scope="module")
def taken(on) -> Taken:
    # In the order of docs/upgrading-keelson.md.
    on.cloud.install_crds()
    found = Taken(on)
    on.start("--drift-interval=2s")
    until(found.is_looked_at, 120, "a look at everything")
    time.sleep(A_WHILE)
    return found


def test_the_version_before_left_something_of_everything(on, taken):
    """A recording that holds little would prove little."""
    reasons = {item["metadata"]["name"]: conditions(item)["Ready"]["reason"] for item in taken.objects.values()}
    assert {"Available", "WaitingForApproval", "OutsideMaintenanceWindow"} <= set(reasons.values()), reasons
    (found,) = taken.inventory["accounts"].values()
    here = {**found["eu-west-1"], **found["global"]}
    assert {"vpcs", "natGateways", "vpcEndpoints", "clusters", "nodegroups", "addons", "roles", "oidcProviders"} <= here.keys()
    kinds = {key.split()[1] for key in taken.workload}
    assert {"CustomResourceDefinition", "Deployment", "Secret", "ConfigMap", "GitRepository", "Kustomization"} <= kinds


def test_nothing_is_written_to_aws(on, taken):
    assert actions(on.writes(taken.mark)) == []
    assert on.aws.inventory() == taken.inventory


def test_nothing_is_written_to_the_workload_cluster(on, taken):
    assert changed(taken.workload, ours(on.cloud.workload.api)) == []


def test_the_objects_stay_as_people_wrote_them(on, taken):
    now = taken.now()
    assert changed(
        {key: content(item) for key, item in taken.objects.items()}, {key: content(item) for key, item in now.items()}
    ) == []


def test_each_object_stands_as_it_stood(on, taken):
    def standing(items: dict[str, dict]) -> dict[str, tuple[str, str]]:
        ready = {key: conditions(item)["Ready"] for key, item in items.items()}
        return {key: (found["status"], found["reason"]) for key, found in ready.items()}

    assert standing(taken.now()) == standing(taken.objects)


def test_a_plan_that_waits_names_the_same_steps(on, taken):
    def steps(items: dict[str, dict]) -> list[tuple[str, str]]:
        plan = items["EksCluster approving"]["status"]["plan"]
        return [(step["action"], step["resource"]) for step in plan["steps"]]

    assert steps(taken.now()) == steps(taken.objects)


def test_crds_come_before_the_operator_as_older_ones_refuse_its_status(on, taken):
    """docs/upgrading-keelson.md: in this order."""
    item = {"apiVersion": API, "kind": "EksCluster", "metadata": {"name": "whole"}, "status": {"ofALaterVersion": "x"}}
    with pytest.raises(ApiError) as refused:
        on.api.request(
            "PATCH",
            on.api.path_of(item, "status"),
            params={"fieldManager": "keelson-later", "force": "true"},
            data=json.dumps(item),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
    assert "ofALaterVersion" in refused.value.message


# That a write would have been seen. Last, as these write.


def test_a_tag_on_what_is_there_would_have_been_seen(on, taken):
    mark = on.mark()
    on.api.patch(API, "AwsAccount", "prod", {"spec": {"tags": {"cost-center": "4711", "added": "later"}}}, None)
    until(lambda: on.writes(mark), 60, "the tag")
    # Beside the cluster: each of its resources.
    until(lambda: len(on.writes(mark)) > 10, 60, "the tags of all")


def test_another_manifest_of_the_agent_would_have_been_seen(on, taken):
    before = ours(on.cloud.workload.api)
    flux = {"registry": "mirror.acme.example/fluxcd"}
    on.api.patch(API, "EksCluster", "whole", {"spec": {"gitops": {"flux": flux}}})
    until(lambda: changed(before, ours(on.cloud.workload.api)), 60, "the other images")
