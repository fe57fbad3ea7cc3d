"""`access.entries[]`: the types of entries of nodes, and user names."""

from __future__ import annotations

import json

import pytest

from fleet.account import Account, fresh_account
from fleet.environment import Environment, actions, environment, until
from fleet.manifests import cluster, key_of
from keelson_harness.aws import Durations

SMALL = {"network": {"vpc": {"zoneCount": 2, "nat": "None"}}, "oidcProvider": False, "addons": []}
TYPES = {"Ec2Linux": "EC2_LINUX", "Ec2Windows": "EC2_WINDOWS", "Ec2": "EC2", "HybridLinux": "HYBRID_LINUX"}


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 0.5, 0.5, 0.2, 0.5)) as started:
        yield started


class Entries:
    def __init__(self, on: Environment):
        self.on = on
        self.account: Account = on.account(fresh_account())
        self.eks = self.account.eks
        principal = {"AWS": f"arn:aws:iam::{self.account.id}:root"}
        self.people = self.account.role("people", principal)
        self.nodes = {name: self.account.role(f"nodes-{name}", principal) for name in TYPES}
        self.item = cluster("entries", **SMALL, access={"entries": self.entries()})

    def entries(self, **people: object) -> list[dict]:
        of_nodes = [{"principalArn": arn, "type": name} for name, arn in self.nodes.items()]
        return [{"principalArn": self.people, "username": "sso:{{SessionName}}", "kubernetesGroups": ["viewers"], **people}, *of_nodes]

    def edit(self, **access: object) -> list[str]:
        mark = self.on.mark()
        self.on.api.patch(*key_of(self.item)[:3], {"spec": {"access": access}})
        self.on.await_in_sync(self.item)
        return [action.split(" ")[0] for action in actions(self.on.writes(mark, self.account.id))]

    def found(self, principal: str) -> dict:
        return self.eks.describe_access_entry(clusterName="entries", principalArn=principal)["accessEntry"]

    def listed(self) -> list[str]:
        return self.eks.list_access_entries(clusterName="entries")["accessEntries"]


@pytest.fixture(scope="module")
def entries(on) -> Entries:
    entries = Entries(on)
    on.start("--drift-interval=1s", "--max-deletions=100", account=entries.account.id)
    on.apply(entries.item)
    on.ready(entries.item)
    return entries


def test_entries_have_their_types_and_names(entries):
    people = entries.found(entries.people)
    assert (people["type"], people["username"], people["kubernetesGroups"]) == ("STANDARD", "sso:{{SessionName}}", ["viewers"])
    for name, arn in entries.nodes.items():
        assert entries.found(arn)["type"] == TYPES[name]


def test_user_name_is_changed_and_put_back(entries):
    assert entries.edit(entries=entries.entries(username="people:{{SessionName}}")) == ["eks:UpdateAccessEntry"]
    assert entries.found(entries.people)["username"] == "people:{{SessionName}}"
    entries.eks.update_access_entry(clusterName="entries", principalArn=entries.people, username="theirs:{{SessionName}}")
    until(lambda: entries.found(entries.people)["username"] == "people:{{SessionName}}", 30, "the name of the spec")


def test_type_of_an_entry_is_not_changed_and_the_message_says_what_to_do(entries):
    arn = entries.nodes["Ec2Windows"]
    entries.eks.delete_access_entry(clusterName="entries", principalArn=arn)
    entries.eks.create_access_entry(clusterName="entries", principalArn=arn)
    until(lambda: "EKS does not change the type" in json.dumps(entries.on.status(entries.item)), 30, "the difference")
    assert entries.found(arn)["type"] == "STANDARD"
    entries.eks.delete_access_entry(clusterName="entries", principalArn=arn)
    until(lambda: arn in entries.listed() and entries.found(arn)["type"] == "EC2_WINDOWS", 30, "an entry of that type")


def test_entry_of_nodes_that_the_spec_listed_is_pruned(entries):
    arn = entries.nodes["HybridLinux"]
    kept = [entry for entry in entries.entries() if entry["principalArn"] != arn]
    entries.edit(entries=kept, prune=True)
    until(lambda: arn not in entries.listed(), 30, "the entry is gone")
    assert set(entries.nodes.values()) - {arn} <= set(entries.listed())
