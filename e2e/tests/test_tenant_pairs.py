"""Random pairs of tenants in one account, with random specs: no call that is made for one names anything of the other, and what
each is refused is what the other made.

Each tenant reaches the account by an AwsAccount of its own, so that the call log says for whom a call was made.
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
LIFE = Durations(0.3, 0.1, 0.1, 0.2, 0.05, 0.1)
OWN_NETWORK = {"vpc": {"zoneCount": 2, "nat": "None"}}


@dataclass
class Tenant:
    name: str
    account: Account
    # A network and a role that others made and that its AwsAccount lists.
    subnets: list[str]
    vpc: str
    role: str
    # Its first cluster, and what it tries afterwards: each with whether it names only its own.
    first: dict = field(default_factory=dict)
    tries: list[tuple[dict, bool]] = field(default_factory=list)

    @property
    def session(self) -> str:
        return f"keelson/keelson-{self.name}"

    def reference(self, operator_role: str) -> dict:
        lists = CLOSED | {"allowedNamespaces": [self.name], "allowedVpcIds": [self.vpc], "allowedRoleArns": [self.role]}
        return account(self.name, self.account.id, roleArn=operator_role, **lists)

    def cluster(self, name: str, **spec: object) -> dict:
        given = {"accountRef": {"name": self.name}, "addons": [], "oidcProvider": False, **spec}
        return cluster(f"{self.name}-{name}", self.name, **given)

    def things(self) -> set[str]:
        """Ids, names and ARNs of all that is this tenant's alone."""
        ours = {i for i, tags in self.account.tagged().items() if tags[CLUSTER].startswith(f"{self.name}/")}
        for name, tags in self.account.roles().items():
            if tags.get(CLUSTER, "").startswith(f"{self.name}/"):
                ours |= {name, f"arn:aws:iam::{self.account.id}:role/{name}"}
        for name in self.account.eks.list_clusters()["clusters"]:
            if name.startswith(f"{self.name}-"):
                found = self.account.eks.describe_cluster(name=name)["cluster"]
                ours |= {name, found["arn"], found["resourcesVpcConfig"]["clusterSecurityGroupId"]}
        return ours | {*self.subnets, self.vpc, self.role}


def pair(on: Environment, number: int) -> tuple[Tenant, Tenant]:
    shared = on.account(fresh_account())
    operator_role = shared.role("keelson", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "AdministratorAccess")
    made = []
    for side in "ab":
        name = f"pair{number}{side}"
        subnets = shared.network("ab", cidr="10.8.0.0/16" if side == "a" else "10.9.0.0/16")
        vpc = shared.ec2.describe_subnets(SubnetIds=subnets)["Subnets"][0]["VpcId"]
        made.append(Tenant(name, shared, subnets, vpc, shared.cluster_role(f"{name}-role")))
        on.apply(namespace(name), made[-1].reference(operator_role))
    return made[0], made[1]


def found(tenant: Tenant) -> dict:
    return tenant.account.eks.describe_cluster(name=tenant.first["metadata"]["name"])["cluster"]


def attempt(chance: random.Random, number: int, me: Tenant, other: Tenant) -> tuple[dict, bool]:
    """A spec that names, in a field by chance, something of its own or of the other's."""
    right = chance.random() < 0.4
    whose = me if right else other
    there = found(whose)
    network = there["resourcesVpcConfig"]
    group = f"{me.name}-{number}"
    kinds = {
        "listed network": me.cluster(str(number), network=existing(*whose.subnets)),
        "network of a cluster": me.cluster(str(number), network=existing(*network["subnetIds"])),
        "listed role": me.cluster(str(number), network=existing(*me.subnets), roleArn=whose.role),
        "made role": me.cluster(str(number), network=existing(*me.subnets), roleArn=there["roleArn"]),
        "group": me.cluster(
            str(number),
            network={"existing": {"subnetIds": found(me)["resourcesVpcConfig"]["subnetIds"], "securityGroupIds": [network["clusterSecurityGroupId"]]}},
        ),
        "nodes": node_group(me.first["metadata"]["name"], group, me.name, scaling={"min": 1, "max": 1}, subnets={"ids": network["subnetIds"][:1]}),
    }
    return kinds[chance.choice(sorted(kinds))], right


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=LIFE) as started:
        yield started


@pytest.fixture(scope="module")
def pairs(on) -> list[tuple[Tenant, Tenant]]:
    chance = random.Random(SEED)
    made = [pair(on, number) for number in range(PAIRS)]
    on.start()
    tenants = [tenant for both in made for tenant in both]
    for tenant in tenants:
        tenant.first = tenant.cluster("first", network=chance.choice([OWN_NETWORK, existing(*tenant.subnets)]))
    on.apply(*(tenant.first for tenant in tenants))
    for tenant in tenants:
        on.await_condition(tenant.first, "InSync", timeout=60)
    for a, b in made:
        for me, other in ((a, b), (b, a)):
            me.tries = [attempt(chance, number, me, other) for number in range(2)]
    on.apply(*(item for tenant in tenants for item, _ in tenant.tries))
    for tenant in tenants:
        for item, _ in tenant.tries:
            until(lambda item=item: on.condition(item, "InSync").get("status") == "True" or denied(on, item), 60, on.describe(item))
    return made


def denied(on: Environment, item: dict) -> bool:
    stalled = conditions(on.api.get(item["apiVersion"], item["kind"], item["metadata"]["name"], item["metadata"]["namespace"]))
    return stalled.get("Stalled", {}).get("reason") == "AccessDenied"


def test_who_names_its_own_gets_it_and_who_names_the_others_is_denied(on, pairs):
    tries = [one for both in pairs for tenant in both for one in tenant.tries]
    assert {right for _, right in tries} == {True, False}
    wrong = [on.describe(item) for item, right in tries if denied(on, item) == right]
    assert wrong == []


def test_no_call_for_one_tenant_names_anything_of_the_other(on, pairs):
    calls = on.calls()
    seen = 0
    for a, b in pairs:
        things = {tenant.name: tenant.things() for tenant in (a, b)}
        for me, other in ((a, b), (b, a)):
            foreign = things[other.name] - things[me.name]
            assert len(foreign) > 5
            mine = [call for call in calls if call.get("session") == me.session]
            seen += len(mine)
            # Where something lies that a spec names has to be looked up where a VPC is listed: read, and told nobody.
            named = [call for call in mine if {call["resource"], *call.get("names", ())} & foreign]
            assert [call for call in named if call["action"] != "DescribeSubnets"] == []
    assert seen > 100


def test_nothing_of_one_is_in_the_others_status(on, pairs):
    for a, b in pairs:
        for me, other in ((a, b), (b, a)):
            foreign = other.things() - me.things()
            for item in (me.first, *(item for item, right in me.tries if right)):
                status = str(on.status(item))
                assert not any(thing in status for thing in foreign), item
