"""`capabilities`: created, changed in place where EKS can, replaced one after the other, deleted when no longer listed and with the cluster."""

from __future__ import annotations

import json

import pytest

from fleet.account import OWNER, RESOURCE, Account, fresh_account
from fleet.environment import Environment, actions, environment, until
from fleet.existing_clusters import Others, imported
from fleet.killing import killed_at
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, key_of
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

SMALL = {"network": {"vpc": {"zoneCount": 2, "nat": "None"}}, "oidcProvider": False, "addons": []}
FLAGS = ("--drift-interval=1s", "--max-deletions=100")
SERVICE = {"Service": "capabilities.eks.amazonaws.com"}
CREATE, UPDATE, DELETE = "eks:CreateCapability", "eks:UpdateCapability", "eks:DeleteCapability"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 0.5, 0.5, 0.4, 0.5)) as started:
        yield started


class Team:
    """A cluster in an account whose owner allows the roles of capabilities."""

    def __init__(self, on: Environment, name: str, **capabilities: dict):
        self.on, self.name = on, name
        self.account: Account = on.account(fresh_account())
        self.eks = self.account.eks
        self.arns = {role: self.account.role(role, SERVICE) for role in ("one", "two")}
        allowed = f"arn:aws:iam::{self.account.id}:role/*"
        self.access = aws_account(f"account-{self.account.id}", self.account.id, allowedRoleArns=[allowed])
        reference = {"name": self.access["metadata"]["name"]}
        self.item = cluster(name, accountRef=reference, **SMALL, capabilities=self.listed(**capabilities))

    def listed(self, **capabilities: dict) -> list[dict]:
        return [{"name": name, "roleArn": self.arns["one"], **fields} for name, fields in capabilities.items()]

    def patch(self, **capabilities: dict) -> int:
        mark = self.on.mark()
        self.on.api.patch(*key_of(self.item)[:3], {"spec": {"capabilities": self.listed(**capabilities)}})
        return mark

    def edit(self, **capabilities: dict) -> list[str]:
        mark = self.patch(**capabilities)
        self.on.await_in_sync(self.item)
        return self.writes(mark)

    def object(self) -> dict | None:
        return self.on.api.find(*key_of(self.item))

    def is_ready(self) -> bool:
        return conditions(self.object() or {}).get("Ready", {}).get("status") == "True"

    def found(self, cluster_name: str = "") -> dict[str, dict]:
        names = [one["capabilityName"] for one in self.eks.list_capabilities(clusterName=cluster_name or self.name)["capabilities"]]
        described = [self.eks.describe_capability(clusterName=cluster_name or self.name, capabilityName=name)["capability"] for name in names]
        return {one["capabilityName"]: one for one in described}

    def writes(self, mark: int) -> list[str]:
        calls = [call for call in self.on.writes(mark, self.account.id) if call["status"] < 400]
        return [action.split(" ")[0] for action in actions(calls)]

    def create(self, name: str, kind: str, cluster_name: str = "") -> None:
        of = {"clusterName": cluster_name or self.name, "capabilityName": name}
        self.eks.create_capability(**of, type=kind, roleArn=self.arns["two"], deletePropagationPolicy="RETAIN")
        until(lambda: self.found(cluster_name)[name]["status"] == "ACTIVE", 30, "the capability of others")


ACK = {"type": "Ack", "configuration": {"ack": {"disabledServices": ["iam"]}}}


def argo(*ids: str) -> dict:
    """Argo CD with these groups as its administrators."""
    identities = [{"id": one, "type": "SsoGroup"} for one in ids]
    center = {"idcInstanceArn": "arn:aws:sso:::instance/ssoins-0123456789abcdef"}
    return {"type": "ArgoCd", "configuration": {"argoCd": {"awsIdc": center, "rbacRoleMappings": [{"role": "Admin", "identities": identities}]}}}


def admins(team: Team) -> set[str]:
    mappings = team.found()["argocd"]["configuration"]["argoCd"]["rbacRoleMappings"]
    return {who["id"] for mapping in mappings for who in mapping["identities"] if mapping["role"] == "ADMIN"}


# First those that start operators of their own.


def test_capability_is_created_changed_and_deleted_though_the_operator_is_killed_at_every_write(on, capsys):
    team = Team(on, "crash", ack=ACK)
    mark = on.mark()
    on.apply(team.access, team.item)
    killed = killed_at(on, team.account.id, team.is_ready, flags=FLAGS, timeout=120)
    found = team.found()["ack"]
    assert (found["status"], found["type"], found["configuration"]) == ("ACTIVE", "ACK", {"ack": {"disabledServices": ["iam"]}})
    assert found["tags"][RESOURCE] == "capability/ack" and found["tags"][OWNER]
    assert team.writes(mark).count(CREATE) == 1

    more = {**ACK, "configuration": {"ack": {"disabledServices": ["iam", "s3"], "enableCrossNamespace": True}}}
    mark = team.patch(ack=more, argocd=argo("a"))
    wanted = {"ack": {"disabledServices": ["iam", "s3"], "enableCrossNamespace": True}}
    is_changed = lambda: team.found()["ack"]["configuration"] == wanted and "argocd" in team.found() and team.is_ready()  # noqa: E731
    changed = killed_at(on, team.account.id, is_changed, flags=FLAGS, timeout=120)
    assert (team.writes(mark).count(UPDATE), team.writes(mark).count(CREATE)) == (1, 1)

    mark = team.patch(ack=more, argocd=argo("b"))
    mapped = killed_at(on, team.account.id, lambda: admins(team) == {"b"} and team.is_ready(), flags=FLAGS, timeout=120)
    assert team.writes(mark) == [UPDATE] and mapped.points, mapped.summary("mappings")

    mark = team.patch()
    removed = killed_at(on, team.account.id, lambda: not team.found() and team.is_ready(), flags=FLAGS, timeout=120)
    assert team.writes(mark).count(DELETE) == 2
    team.patch(ack=ACK)
    with on.operator(*FLAGS, account=team.account.id):
        until(lambda: team.found().get("ack", {}).get("status") == "ACTIVE", 30, "the capability")
    mark = on.mark()
    on.api.delete(*key_of(team.item))
    gone = killed_at(on, team.account.id, lambda: not team.object(), flags=FLAGS, timeout=120)
    written = team.writes(mark)
    assert written.count(DELETE) == 1 and written.index(DELETE) < written.index("eks:DeleteCluster")
    with capsys.disabled():
        print(f"\n  {killed.summary('create')}\n  {changed.summary('change')}\n  {mapped.summary('mappings')}\n  {removed.summary('remove')}\n  {gone.summary('delete')}")


def test_capability_of_an_adopted_cluster_is_imported_and_adopted_unchanged(on):
    team = Team(on, "unused")
    others = Others(team.account)
    name = f"small-{team.account.id[-3:]}"
    others.small(name)
    team.create("theirs", "KRO", name)
    before = team.found(name)["theirs"]
    items = imported(on, team.account, f"--name={name}")
    assert items[0]["spec"]["capabilities"] == [{"name": "theirs", "type": "Kro", "roleArn": team.arns["two"]}]
    with on.operator(account=team.account.id):
        on.apply(*items)
        on.ready(*items)
        after = team.found(name)["theirs"]
        assert after.pop("tags")[RESOURCE] == "capability/theirs"
        before.pop("tags", None)
        assert after == before
        on.delete(*reversed(items))
    assert team.found(name)["theirs"]["tags"] == {"keelson.dev/cluster": f"default/{items[0]['metadata']['name']}"}


@pytest.fixture(scope="module")
def team(on) -> Team:
    team = Team(on, "team")
    on.start(*FLAGS, account=team.account.id)
    on.apply(team.access, team.item)
    on.ready(team.item)
    return team


def test_cluster_without_capabilities_costs_no_calls(team):
    assert [call["action"] for call in team.on.calls(0, team.account.id) if "Capabilit" in call["action"]] == []
    assert team.edit(kro={"type": "Kro"}) == [CREATE]


def test_role_is_changed_in_place(team):
    assert team.edit(kro={"type": "Kro", "roleArn": team.arns["two"]}) == [UPDATE]
    assert team.found()["kro"]["roleArn"] == team.arns["two"]


def test_new_capability_of_the_same_type_waits_for_the_deletion_of_the_earlier_one(team):
    mark = team.patch(other={"type": "Kro"})
    team.on.await_in_sync(team.item)
    assert team.writes(mark) == [DELETE, CREATE]
    assert set(team.found()) == {"other"}


def test_users_of_argocd_follow_the_spec(team):
    assert team.edit(other={"type": "Kro"}, argocd=argo("a", "b")) == [CREATE]
    assert admins(team) == {"a", "b"}
    assert team.edit(other={"type": "Kro"}, argocd=argo("b")) == [UPDATE]
    assert team.edit(other={"type": "Kro"}, argocd=argo("b", "c")) == [UPDATE]
    assert admins(team) == {"b", "c"}


def test_failed_capability_is_reported_and_created_again_on_request(team):
    issue = {"code": "AccessDenied", "message": "no way in"}
    kept = {"other": {"type": "Kro"}}
    team.edit(**kept)
    team.on.aws.add_fault({"account": team.account.id, "action": "CreateCapability", "times": 1}, {"health_issue": issue})
    team.patch(**kept, ack=ACK)
    message = conditions(team.on.await_condition(team.item, "Stalled", timeout=30))["Stalled"]["message"]
    assert "no way in" in message and "Check the role of the capability" in message, message
    team.on.api.patch(*key_of(team.item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}})
    team.on.await_in_sync(team.item)
    assert team.found()["ack"]["status"] == "ACTIVE"
    team.on.ready(team.item)


def test_capability_of_others_is_named_left_alone_and_keeps_the_deletion_from_starting(team):
    team.edit()
    team.create("theirs", "KRO")
    team.patch(kro={"type": "Kro"})
    until(lambda: "has the capability theirs of type KRO" in json.dumps(team.on.status(team.item)), 30, "its name")
    assert team.edit() == []
    mark = team.on.mark()
    team.on.api.delete(*key_of(team.item))
    until(lambda: "capability theirs, which this object does not own" in json.dumps(team.on.status(team.item)), 30, "what keeps it")
    assert team.writes(mark) == []
    team.eks.delete_capability(clusterName="team", capabilityName="theirs")
    team.on.api.wait_gone(*key_of(team.item), 60)
