"""The life of one cluster, in order: created, held against AWS, changed from outside, scaled, extended, upgraded, deleted."""

from __future__ import annotations

import pytest

from conformance import tagged, tags
from conformance.settings import minor
from conformance.stand import Stand
from fleet import cluster_checks
from fleet.account import RESOURCE
from fleet.environment import until
from fleet.manifests import DEFAULT_ADDONS, key_of

EXTRA_ADDON = "metrics-server"
# Until a change that was made outside is reverted: a comparison and a write.
REVERT_SECONDS = 60


@pytest.fixture(scope="module")
def ready(stand: Stand) -> Stand:
    stand.ready()
    return stand


def nodegroup(stand: Stand) -> dict:
    name = stand.found_nodes["spec"].get("nodeGroupName") or stand.nodes["metadata"]["name"]
    return stand.account.eks.describe_nodegroup(clusterName=stand.settings.name, nodegroupName=name)["nodegroup"]


def test_cluster_becomes_ready(ready):
    cluster_checks.assert_conditions_follow_the_contract(ready.found, ready.found_nodes)


def test_resources_are_tagged_with_their_owner(ready):
    cluster_checks.assert_everything_is_tagged_with_its_owner(ready.account, ready.found)
    cluster_checks.assert_subnets_are_tagged_for_load_balancers(ready.account, ready.found, ready.settings.name)


def test_everything_carries_the_tags_of_the_run(ready):
    """What lacks them would be found by no janitor."""
    found = {(resource.kind, resource.id) for resource in tagged.find(ready.settings.account, tagged.of_run(ready.settings.run))}
    kinds = {kind for kind, _ in found}
    assert {"cluster", "node group", "add-on", "VPC", "subnet", "NAT gateway", "elastic IP", "role", "OIDC provider"} <= kinds
    ids = {resource_id for _, resource_id in found}
    resources = [*ready.found["status"]["resources"], *ready.found_nodes["status"].get("resources", [])]
    # Routes, associations and access entries go with what they belong to.
    parts = ("route/", "routeTableAssociation/", "accessEntry/", "internetRoute", "natRoute")
    missing = {r["key"]: r["id"] for r in resources if r["id"] not in ids and not r["key"].startswith(parts)}
    assert missing == {}


def test_subnets_route_through_their_gateway(ready):
    cluster_checks.assert_subnets_route_through_their_gateway(ready.account, ready.found)


def test_status_matches_aws(ready):
    cluster_checks.assert_status_matches_aws(ready.account, ready.found, ready.settings.name)
    key = f"nodeGroup/{ready.nodes['metadata']['name']}"
    cluster_checks.assert_status_lists_every_resource(ready.account, ready.found, [key])
    cluster_checks.assert_plan_is_empty(ready.found)


def test_every_create_has_an_event(ready):
    cluster_checks.assert_every_create_has_an_event(ready.on, ready.account, ready.items)


def test_agent_applies_the_repository(ready):
    if not ready.settings.git_url:
        pytest.skip("no --git-url: the cluster would have to reach the repository")
    gitops = ready.found["status"]["gitops"]
    assert gitops["agent"] == "flux" and gitops["lastAppliedRevision"] and gitops["objects"]["failing"] == 0


def test_tag_changed_outside_is_restored(ready):
    account, (vpc, ours) = ready.account, next((i, t) for i, t in ready.account.tagged().items() if t[RESOURCE] == "vpc")
    assert ours[tags.RUN] == ready.settings.run
    account.ec2.create_tags(Resources=[vpc], Tags=[{"Key": tags.EXPIRES, "Value": "2099-01-01T00:00:00Z"}])
    ready.compare_now()
    until(
        lambda: ready.account.tagged()[vpc][tags.EXPIRES] == ready.settings.tags[tags.EXPIRES],
        ready.settings.seconds(REVERT_SECONDS),
        "the tag's value of the spec",
    )


def test_deleted_route_is_restored(ready):
    account = ready.account
    table = cluster_checks.resource_id(account, "routeTable/public")
    account.ec2.delete_route(RouteTableId=table, DestinationCidrBlock=cluster_checks.ANYWHERE)
    ready.compare_now()
    until(
        lambda: cluster_checks.default_route(account, table).get("GatewayId", "").startswith("igw-"),
        ready.settings.seconds(REVERT_SECONDS),
        "the default route",
    )


def test_node_group_scales(ready):
    ready.edit(ready.nodes, scaling={"min": 1, "max": 3, "desired": 2, "desiredPolicy": "Enforce"})
    ready.ready()
    until(lambda: nodegroup(ready)["scalingConfig"]["desiredSize"] == 2, ready.settings.seconds(30), "two nodes")
    assert nodegroup(ready)["status"] == "ACTIVE"
    version, kind, name, namespace = key_of(ready.nodes)
    ready.on.api.wait(version, kind, name, lambda i: i["status"].get("readyNodes") == 2, namespace, ready.settings.seconds(60), "two ready nodes")


def test_addon_is_added(ready):
    ready.edit(ready.cluster, addons=[{"name": name} for name in (*DEFAULT_ADDONS, EXTRA_ADDON)])
    ready.ready()
    addon = ready.account.eks.describe_addon(clusterName=ready.settings.name, addonName=EXTRA_ADDON)["addon"]
    assert addon["status"] == "ACTIVE" and addon["tags"][tags.RUN] == ready.settings.run


def test_upgrade_by_one_minor(ready):
    assert minor(ready.goal) == minor(ready.start) + 1
    ready.edit(ready.cluster, version=ready.goal)
    ready.ready(150)
    assert ready.account.eks.describe_cluster(name=ready.settings.name)["cluster"]["version"] == ready.goal
    assert nodegroup(ready)["version"] == ready.goal
    cluster_checks.assert_plan_is_empty(ready.found)


def test_deletion_leaves_nothing_of_the_run(ready):
    ids = set(ready.account.resources().values())
    assert len(ids) > 10
    ready.on.delete(*ready.items, timeout=ready.settings.seconds(90))
    left = tagged.find(ready.settings.account, tagged.of_run(ready.settings.run))
    assert [str(resource) for resource in left] == []
