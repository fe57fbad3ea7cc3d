"""A tenant names a cluster that somebody else made, or that another namespace left in AWS, to take it over or to learn of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from attacks.tenant import Tenant, install_admission, tenant
from fleet.account import Account, fresh_account
from fleet.manifests import account as aws_account
from fleet.others import Others, picture, tags_of_ours
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

ATTACKER, OWNER = "team-a", "team-b"
VERSION = "1.33"
ACCOUNT = "shared"
HIDDEN_TAG = "tag-of-the-owner"


@dataclass
class Scene:
    """An account in which somebody made a cluster called `legacy`, open to two namespaces."""

    on: Environment
    account: Account
    others: Others
    attacker: Tenant
    owner: Tenant
    secrets: list[str] = field(default_factory=list)

    def allow(self, **adoption: object) -> None:
        """What the account's owner lets be adopted."""
        more = {"adoption": adoption} if adoption else {}
        self.on.apply(aws_account(ACCOUNT, self.account.id, allowedNamespaces=[ATTACKER, OWNER], **more))

    def spec(self, **more: object) -> dict:
        """What fits the cluster as it is."""
        return {
            "region": "eu-west-1",
            "version": VERSION,
            "clusterName": "legacy",
            "accountRef": {"name": ACCOUNT},
            "roleArn": self.others.cluster_role,
            "network": {"existing": {"subnetIds": self.others.subnets}},
            "addons": [],
            "oidcProvider": False,
            "deletionPolicy": "Retain",
            **more,
        }

    def writes(self, since: int) -> list[str]:
        return actions([call for call in self.on.writes(since, self.account.id) if call["status"] < 400])

    def told(self, item: dict) -> str:
        """Status and events of an object, and all that the operators logged."""
        told = [json.dumps(self.on.status(item)), json.dumps(self.on.events(item))]
        return "\n".join([*told, *(controller.log.read_text() for controller in self.on.cloud.controllers)])


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with environment(workload=False, git=False, durations=Durations(0.5, 0.3, 0.3, 0.3, 0.1, 0.2)) as on:
        account = on.account(fresh_account())
        others = Others(account)
        api, tags = {"authenticationMode": "API"}, {"secret": HIDDEN_TAG}
        others.cluster("legacy", version=VERSION, tags=tags, accessConfig=api, bootstrapSelfManagedAddons=False)
        described = account.eks.describe_cluster(name="legacy")["cluster"]
        made = Scene(on, account, others, tenant(on, ATTACKER), tenant(on, OWNER))
        vpc = described["resourcesVpcConfig"]
        made.secrets = [HIDDEN_TAG, described["endpoint"], described["roleArn"], vpc["vpcId"], *vpc["subnetIds"]]
        on.start("--drift-interval=2s", account=account.id, env={"KEELSON_ALLOW_AMBIENT_ACCOUNT": "false"})
        made.allow()
        on.await_condition(aws_account(ACCOUNT, ""), timeout=30)
        yield made


def test_adopt_is_refused_before_any_call_where_the_account_forbids_it(scene):
    """By the operator: no admission policy is installed yet."""
    item = scene.attacker.object("EksCluster", "thief", scene.spec(adoptionPolicy="Adopt"))
    mark = scene.on.mark()
    scene.attacker.api.apply(item)
    found = scene.on.await_condition(item, "Stalled", reason="AccessDenied", timeout=30)
    assert "spec.adoption" in conditions(found)["Ready"]["message"]
    about = [call for call in scene.on.calls(mark, scene.account.id) if call["service"] in ("eks", "ec2", "iam")]
    assert actions(about) == []
    scene.on.delete(item)


@pytest.mark.parametrize("change", ["Automatic", "Observe"])
def test_of_a_foreign_cluster_only_its_name_is_told(scene, change):
    """The spec fits nothing of it, so that whatever is told comes from AWS."""
    network = {"vpc": {"zoneCount": 2, "nat": "None", "publicSubnets": False}}
    spec = scene.spec(network=network, version="1.34", changePolicy=change)
    spec.pop("roleArn")
    item = scene.attacker.object("EksCluster", f"curious-{change.lower()}", spec)
    mark = scene.on.mark()
    scene.attacker.api.apply(item)
    found = scene.on.await_condition(item, "Stalled", reason="NotOwned", timeout=30)
    message = conditions(found)["Ready"]["message"]
    assert "cluster legacy" in message and scene.account.id in message and "already exists" in message
    told = scene.told(item)
    assert [secret for secret in scene.secrets if secret in told] == []
    # Not a part of a time.
    assert not re.search(rf"(?<![\d.]){re.escape(VERSION)}(?!\d)", told)
    assert {"arn", "version", "endpoint", "network", "support", "drift"} & scene.on.status(item).keys() == set()
    assert scene.writes(mark) == []
    scene.on.delete(item)


def test_what_was_shown_is_forgotten_when_the_permission_is_withdrawn(scene):
    on = scene.on
    scene.allow(policy="Allow", clusterNames=["legacy"])
    item = scene.attacker.object("EksCluster", "watcher", scene.spec(adoptionPolicy="Adopt", changePolicy="Observe"))
    scene.attacker.api.apply(item)
    until(lambda: on.status(item).get("version") == VERSION, 30, "the observed version")
    scene.allow()
    until(lambda: on.condition(item, "Stalled")["status"] == "True", 30, "the refusal")

    def forgotten() -> bool:
        shown = {"arn", "version", "platformVersion", "endpoint", "oidcIssuer", "support", "upgrade"}
        return not shown & on.status(item).keys()

    until(forgotten, 30, "the end of what was shown")
    assert HIDDEN_TAG not in scene.told(item)
    on.delete(item)


def test_retained_cluster_is_not_adopted_by_another_namespace(scene):
    on = scene.on
    scene.allow(policy="Allow")
    theirs = scene.owner.object("EksCluster", "kept", scene.spec(adoptionPolicy="Adopt"))
    scene.owner.api.apply(theirs)
    on.await_condition(theirs, "InSync", timeout=60)
    on.delete(theirs)
    assert set(tags_of_ours(picture(scene.account))) == {("keelson.dev/cluster", f"{OWNER}/kept")}

    thief = scene.attacker.object("EksCluster", "heir", scene.spec(adoptionPolicy="Adopt"))
    mark = on.mark()
    scene.attacker.api.apply(thief)
    on.await_condition(thief, "Stalled", reason="NotOwned", timeout=30)
    said = json.dumps([on.status(thief), on.events(thief)])
    assert scene.writes(mark) == [] and OWNER not in said
    # The namespace that retained it may take it up again; another one where the account names it.
    scene.owner.api.apply(theirs)
    on.await_condition(theirs, "InSync", timeout=60)
    on.delete(theirs)
    scene.allow(policy="Allow", namespaces=[ATTACKER])
    on.await_condition(thief, "InSync", timeout=60)
    on.delete(thief)


def test_adopt_is_refused_at_admission_where_the_account_forbids_it(scene):
    on = scene.on
    scene.allow()
    install_admission(on)
    item = scene.attacker.object("EksCluster", "late", scene.spec(adoptionPolicy="Adopt"))

    def refused() -> str | None:
        refusal = scene.attacker.refusal(item)
        if refusal is None:
            on.force_delete(item)
        return refusal

    said = until(refused, 30, "the refusal at admission")
    assert f'does not allow namespace "{ATTACKER}" to adopt a cluster called "legacy"' in said
