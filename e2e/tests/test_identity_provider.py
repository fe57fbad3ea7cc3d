"""`access.oidcIdentityProvider`: associated after everything else in the cluster, never changed, removed and replaced one after the other."""

from __future__ import annotations

import pytest

from fleet.account import OWNER, RESOURCE, Account, fresh_account
from fleet.environment import Environment, actions, environment, stays, until
from fleet.existing_clusters import Others, imported
from fleet.killing import killed_at
from fleet.manifests import cluster, key_of
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

SMALL = {"network": {"vpc": {"zoneCount": 2, "nat": "None"}}, "oidcProvider": False, "addons": [{"name": "eks-pod-identity-agent"}]}
CORP = {"name": "corp", "issuerUrl": "https://id.example.com", "clientId": "kubernetes", "usernameClaim": "email", "requiredClaims": {"hd": "x"}}
FLAGS = ("--drift-interval=1s", "--max-deletions=100")
ASSOCIATE, DISASSOCIATE = "eks:AssociateIdentityProviderConfig", "eks:DisassociateIdentityProviderConfig"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1.5, 0.5, 0.5, 0.2, 0.5)) as started:
        yield started


class Team:
    def __init__(self, on: Environment, name: str, provider: dict | None = None):
        self.on, self.name = on, name
        self.account: Account = on.account(fresh_account())
        self.item = cluster(name, **SMALL, access={"oidcIdentityProvider": provider} if provider else {})

    def patch(self, provider: dict | None) -> int:
        mark = self.on.mark()
        self.on.api.patch(*key_of(self.item)[:3], {"spec": {"access": {"oidcIdentityProvider": provider}}})
        return mark

    def edit(self, provider: dict | None) -> list[str]:
        mark = self.patch(provider)
        self.on.await_in_sync(self.item)
        return self.writes(mark)

    def found(self) -> dict | None:
        return self.on.api.find(*key_of(self.item))

    def is_ready(self) -> bool:
        return conditions(self.found() or {}).get("Ready", {}).get("status") == "True"

    def provider(self, cluster_name: str = "") -> dict | None:
        name = cluster_name or self.name
        for config in self.account.eks.list_identity_provider_configs(clusterName=name)["identityProviderConfigs"]:
            return self.account.eks.describe_identity_provider_config(clusterName=name, identityProviderConfig=config)["identityProviderConfig"]["oidc"]
        return None

    def associate(self, name: str, cluster_name: str = "") -> None:
        oidc = {"identityProviderConfigName": name, "issuerUrl": "https://theirs.example.com", "clientId": "theirs"}
        self.account.eks.associate_identity_provider_config(clusterName=cluster_name or self.name, oidc=oidc)
        until(lambda: self.provider(cluster_name)["status"] == "ACTIVE", 30, "the provider of others")

    def writes(self, mark: int) -> list[str]:
        calls = [call for call in self.on.writes(mark, self.account.id) if call["status"] < 400]
        return [action.split(" ")[0] for action in actions(calls)]

    def calls(self, mark: int) -> list[str]:
        return [call["action"] for call in self.on.calls(mark, self.account.id) if "IdentityProvider" in call["action"]]


# First those that start operators of their own.


def test_identity_provider_is_associated_last_and_removed_though_the_operator_is_killed_at_every_write(on, capsys):
    team = Team(on, "crash", CORP)
    mark = on.mark()
    on.apply(team.item)
    killed = killed_at(on, team.account.id, team.is_ready, flags=FLAGS, timeout=120)
    found = team.provider()
    assert (found["status"], found["issuerUrl"], found["requiredClaims"]) == ("ACTIVE", CORP["issuerUrl"], {"hd": "x"})
    assert found["tags"][RESOURCE] == "identityProvider/corp" and found["tags"][OWNER]
    # EKS creates no add-on while it associates a provider.
    written = team.writes(mark)
    assert written.count(ASSOCIATE) == 1 and written.index("eks:CreateAddon") < written.index(ASSOCIATE)
    mark = team.patch(None)
    again = killed_at(on, team.account.id, lambda: team.is_ready() and not team.provider(), flags=FLAGS, timeout=120)
    assert team.writes(mark).count(DISASSOCIATE) == 1
    on.api.delete(*key_of(team.item))
    gone = killed_at(on, team.account.id, lambda: not team.found(), flags=FLAGS, timeout=120)
    with capsys.disabled():
        print(f"\n  {killed.summary('associate')}\n  {again.summary('remove')}\n  {gone.summary('delete')}")


def test_provider_of_an_adopted_cluster_is_imported_and_adopted_unchanged(on):
    team = Team(on, "unused")
    others = Others(team.account)
    name = f"small-{team.account.id[-3:]}"
    others.small(name)
    team.associate("theirs", name)
    before = team.provider(name)
    items = imported(on, team.account, f"--name={name}")
    assert items[0]["spec"]["access"]["oidcIdentityProvider"]["issuerUrl"] == "https://theirs.example.com"
    with on.operator(account=team.account.id):
        on.apply(*items)
        on.ready(*items)
        after = team.provider(name)
        assert after.pop("tags")[RESOURCE] == "identityProvider/theirs"
        before.pop("tags", None)
        assert after == before
        on.delete(*reversed(items))
    assert team.provider(name)["tags"] == {"keelson.dev/cluster": f"default/{items[0]['metadata']['name']}"}


@pytest.fixture(scope="module")
def team(on) -> Team:
    team = Team(on, "team")
    on.start(*FLAGS, account=team.account.id)
    on.apply(team.item)
    on.ready(team.item)
    return team


def test_cluster_without_the_field_costs_no_calls(team):
    assert team.calls(0) == []
    assert team.edit(CORP) == [ASSOCIATE]


def test_tags_follow_the_cluster(team):
    team.on.api.patch(*key_of(team.item)[:3], {"spec": {"tags": {"team": "a"}}})
    team.on.await_in_sync(team.item)
    until(lambda: team.provider()["tags"].get("team") == "a", 30, "the tag")


def test_another_name_is_associated_after_the_earlier_one_is_gone(team):
    assert team.edit(None) == [DISASSOCIATE]
    assert team.edit(CORP) == [ASSOCIATE]
    # Removed and added in two edits, of which the operator may see one only.
    mark = team.patch(None)
    team.patch({**CORP, "name": "next"})
    team.on.await_in_sync(team.item)
    until(lambda: (team.provider() or {}).get("identityProviderConfigName") == "next", 30, "the other one")
    assert team.writes(mark) == [DISASSOCIATE, ASSOCIATE]
    until(lambda: "identityProvider/corp" not in str(team.on.status(team.item)["resources"]), 30, "no record of the earlier one")


def test_failed_association_is_reported_and_tried_again_on_request(team):
    team.edit(None)
    team.on.aws.add_fault({"account": team.account.id, "action": "AssociateIdentityProviderConfig", "times": 1}, {"fail": "the issuer does not answer"})
    mark = team.patch(CORP)
    stalled = team.on.await_condition(team.item, "Stalled", timeout=30)
    message = conditions(stalled)["Stalled"]["message"]
    assert "the issuer does not answer" in message and "keelson.dev/reconcile-at" in message, message
    stays(lambda: team.writes(mark) == [ASSOCIATE], 2, "no other attempt")
    assert team.on.condition(team.item, "Upgrading").get("status") != "True"
    team.on.api.patch(*key_of(team.item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}})
    until(lambda: (team.provider() or {}).get("status") == "ACTIVE", 30, "the provider")
    team.on.ready(team.item)


def test_provider_of_others_is_named_and_left_alone(team):
    team.edit(None)
    until(lambda: team.provider() is None, 30, "no provider")
    team.associate("theirs")
    mark = team.patch(CORP)
    blocked = team.on.await_condition(team.item, "Ready", "False", "NotOwned", timeout=30)
    assert "has the identity provider theirs, which this object does not own" in conditions(blocked)["Ready"]["message"]
    assert team.writes(mark) == []
    assert team.edit(None) == []
    assert team.provider()["identityProviderConfigName"] == "theirs"


def test_deletion_takes_the_provider_with_the_cluster(team):
    team.account.eks.disassociate_identity_provider_config(clusterName="team", identityProviderConfig={"type": "oidc", "name": "theirs"})
    until(lambda: team.provider() is None, 30, "no provider")
    team.edit(CORP)
    mark = team.on.mark()
    team.on.delete(team.item)
    assert DISASSOCIATE not in team.writes(mark)
