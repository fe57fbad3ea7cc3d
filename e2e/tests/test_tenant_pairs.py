"""Random pairs of tenants in one account, with random specs: no call for one names resources of the other, and each is denied
exactly the resources of the other.

Each tenant uses the account through its own AwsAccount, so that the call log shows for whom a call was made.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from fleet.account import CLUSTER, Account, fresh_account
from fleet.manifests import CLOSED, account, cluster, existing, namespace, node_group
from fleet.environment import Environment, environment, until
from keelson_harness.aws import ACCOUNT, Durations
from keelson_harness.kubeapi import conditions

SEED = 20261128
PAIRS = 6
DURATIONS = Durations(0.3, 0.1, 0.1, 0.2, 0.05, 0.1)
OWN_NETWORK = {"vpc": {"zoneCount": 2, "nat": "Single"}}


@dataclass
class Tenant:
    name: str
    account: Account
    # An existing network and role that its AwsAccount lists.
    subnets: list[str]
    vpc: str
    role: str
    # Its first cluster, and its later attempts: each with whether it names only its own resources.
    first: dict = field(default_factory=dict)
    attempts: list[tuple[dict, bool]] = field(default_factory=list)

    @property
    def session(self) -> str:
        return f"keelson/keelson-{self.name}"

    def reference(self, operator_role: str) -> dict:
        lists = CLOSED | {"allowedNamespaces": [self.name], "allowedVpcIds": [self.vpc], "allowedRoleArns": [self.role]}
        return account(self.name, self.account.id, roleArn=operator_role, **lists)

    def cluster(self, name: str, **spec: object) -> dict:
        defaults = {"accountRef": {"name": self.name}, "addons": [], "oidcProvider": False, **spec}
        return cluster(f"{self.name}-{name}", self.name, **defaults)

    def resources(self) -> set[str]:
        """Ids, names and ARNs of all resources that belong only to this tenant."""
        owned = {i for i, tags in self.account.tagged().items() if tags[CLUSTER].startswith(f"{self.name}/")}
        for name, tags in self.account.roles().items():
            if tags.get(CLUSTER, "").startswith(f"{self.name}/"):
                owned |= {name, f"arn:aws:iam::{self.account.id}:role/{name}"}
        for name in self.account.eks.list_clusters()["clusters"]:
            if name.startswith(f"{self.name}-"):
                found = self.account.eks.describe_cluster(name=name)["cluster"]
                owned |= {name, found["arn"], found["resourcesVpcConfig"]["clusterSecurityGroupId"]}
        return owned | {*self.subnets, self.vpc, self.role}


def pair(on: Environment, number: int) -> tuple[Tenant, Tenant]:
    shared = on.account(fresh_account())
    operator_role = shared.role("keelson", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "AdministratorAccess")
    created = []
    for side in "ab":
        name = f"pair{number}{side}"
        subnets = shared.network("ab", cidr="10.8.0.0/16" if side == "a" else "10.9.0.0/16")
        vpc = shared.ec2.describe_subnets(SubnetIds=subnets)["Subnets"][0]["VpcId"]
        created.append(Tenant(name, shared, subnets, vpc, shared.cluster_role(f"{name}-role")))
        on.apply(namespace(name), created[-1].reference(operator_role))
    return created[0], created[1]


def eks_cluster_of(tenant: Tenant) -> dict:
    return tenant.account.eks.describe_cluster(name=tenant.first["metadata"]["name"])["cluster"]


def attempt(rng: random.Random, number: int, tenant: Tenant, other: Tenant) -> tuple[dict, bool]:
    """A spec that names, in a random field, a resource of its own or of the other tenant."""
    own_only = rng.random() < 0.4
    owner = tenant if own_only else other
    named_cluster = eks_cluster_of(owner)
    network = named_cluster["resourcesVpcConfig"]
    group = f"{tenant.name}-{number}"
    kinds = {
        "listed network": tenant.cluster(str(number), network=existing(*owner.subnets)),
        "network of a cluster": tenant.cluster(str(number), network=existing(*network["subnetIds"])),
        "listed role": tenant.cluster(str(number), network=existing(*tenant.subnets), roleArn=owner.role),
        "made role": tenant.cluster(str(number), network=existing(*tenant.subnets), roleArn=named_cluster["roleArn"]),
        "group": tenant.cluster(
            str(number),
            network={"existing": {"subnetIds": eks_cluster_of(tenant)["resourcesVpcConfig"]["subnetIds"], "securityGroupIds": [network["clusterSecurityGroupId"]]}},
        ),
        "nodes": node_group(tenant.first["metadata"]["name"], group, tenant.name, scaling={"min": 1, "max": 1}, subnets={"ids": network["subnetIds"][:1]}),
    }
    return kinds[rng.choice(sorted(kinds))], own_only


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=DURATIONS) as started:
        yield started


@pytest.fixture(scope="module")
def pairs(on) -> list[tuple[Tenant, Tenant]]:
    rng = random.Random(SEED)
    created = [pair(on, number) for number in range(PAIRS)]
    on.start()
    tenants = [tenant for both in created for tenant in both]
    for tenant in tenants:
        tenant.first = tenant.cluster("first", network=rng.choice([OWN_NETWORK, existing(*tenant.subnets)]))
    on.apply(*(tenant.first for tenant in tenants))
    for tenant in tenants:
        on.await_condition(tenant.first, "InSync", timeout=60)
    for a, b in created:
        for tenant, other in ((a, b), (b, a)):
            tenant.attempts = [attempt(rng, number, tenant, other) for number in range(2)]
    on.apply(*(item for tenant in tenants for item, _ in tenant.attempts))
    for tenant in tenants:
        for item, _ in tenant.attempts:
            until(lambda item=item: on.condition(item, "InSync").get("status") == "True" or denied(on, item), 60, on.describe(item))
    return created


def denied(on: Environment, item: dict) -> bool:
    stalled = conditions(on.api.get(item["apiVersion"], item["kind"], item["metadata"]["name"], item["metadata"]["namespace"]))
    return stalled.get("Stalled", {}).get("reason") == "AccessDenied"


def test_own_resources_are_allowed_and_foreign_resources_denied(on, pairs):
    attempts = [one for both in pairs for tenant in both for one in tenant.attempts]
    assert {own_only for _, own_only in attempts} == {True, False}
    unexpected = [on.describe(item) for item, own_only in attempts if denied(on, item) == own_only]
    assert unexpected == []


def test_no_call_for_one_tenant_names_resources_of_the_other(on, pairs):
    calls = on.calls()
    checked_calls = 0
    for a, b in pairs:
        resources = {tenant.name: tenant.resources() for tenant in (a, b)}
        for tenant, other in ((a, b), (b, a)):
            foreign = resources[other.name] - resources[tenant.name]
            assert len(foreign) > 5
            own_calls = [call for call in calls if call.get("session") == tenant.session]
            checked_calls += len(own_calls)
            # With a list of VPCs, the VPC of a named subnet has to be read; the result is not shown to the tenant.
            naming_foreign = [call for call in own_calls if {call["resource"], *call.get("names", ())} & foreign]
            assert [call for call in naming_foreign if call["action"] != "DescribeSubnets"] == []
    assert checked_calls > 100


def test_status_contains_no_resources_of_the_other_tenant(on, pairs):
    for a, b in pairs:
        for tenant, other in ((a, b), (b, a)):
            foreign = other.resources() - tenant.resources()
            for item in (tenant.first, *(item for item, own_only in tenant.attempts if own_only)):
                status = str(on.status(item))
                assert not any(thing in status for thing in foreign), item
