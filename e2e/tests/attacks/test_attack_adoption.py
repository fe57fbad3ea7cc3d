"""A tenant names a foreign cluster, or one that another namespace retained in AWS, to adopt it or to read its data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from attacks.tenant import Tenant, install_admission, tenant
from fleet.account import Account, fresh_account
from fleet.manifests import account as aws_account
from fleet.existing_clusters import Others, picture, tags_of_ours
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

ATTACKER, OWNER = "team-a", "team-b"
VERSION = "1.33"
ACCOUNT = "shared"
HIDDEN_TAG = "tag-of-the-owner"


@dataclass
class Scenario:
    """An account with a foreign cluster called `legacy`, open to two namespaces."""

    on: Environment
    account: Account
    others: Others
    attacker: Tenant
    owner: Tenant
    secrets: list[str] = field(default_factory=list)

    def allow(self, **adoption: object) -> None:
        """Sets what the account's owner allows to be adopted."""
        fields = {"adoption": adoption} if adoption else {}
        self.on.apply(aws_account(ACCOUNT, self.account.id, allowedNamespaces=[ATTACKER, OWNER], **fields))

    def spec(self, **fields: object) -> dict:
        """A spec that matches the existing cluster."""
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
            **fields,
        }

    def writes(self, since: int) -> list[str]:
        return actions([call for call in self.on.writes(since, self.account.id) if call["status"] < 400])

    def visible_output(self, item: dict) -> str:
        """Status and events of an object, and all logs of the operators."""
        output = [json.dumps(self.on.status(item)), json.dumps(self.on.events(item))]
        return "\n".join([*output, *(controller.log.read_text() for controller in self.on.cloud.controllers)])


@pytest.fixture(scope="module")
def scenario() -> Iterator[Scenario]:
    with environment(workload=False, git=False, durations=Durations(0.5, 0.3, 0.3, 0.3, 0.1, 0.2)) as on:
        account = on.account(fresh_account())
        others = Others(account)
        api, tags = {"authenticationMode": "API"}, {"secret": HIDDEN_TAG}
        others.cluster("legacy", version=VERSION, tags=tags, accessConfig=api, bootstrapSelfManagedAddons=False)
        described = account.eks.describe_cluster(name="legacy")["cluster"]
        created = Scenario(on, account, others, tenant(on, ATTACKER), tenant(on, OWNER))
        vpc = described["resourcesVpcConfig"]
        created.secrets = [HIDDEN_TAG, described["endpoint"], described["roleArn"], vpc["vpcId"], *vpc["subnetIds"]]
        on.start("--drift-interval=2s", account=account.id, env={"KEELSON_ALLOW_AMBIENT_ACCOUNT": "false"})
        created.allow()
        on.await_condition(aws_account(ACCOUNT, ""), timeout=30)
        yield created


def test_adoption_forbidden_by_the_account_is_refused_before_any_call(scenario):
    """Refused by the operator: no admission policy is installed yet."""
    item = scenario.attacker.object("EksCluster", "thief", scenario.spec(adoptionPolicy="Adopt"))
    mark = scenario.on.mark()
    scenario.attacker.api.apply(item)
    found = scenario.on.await_condition(item, "Stalled", reason="AccessDenied", timeout=30)
    assert "spec.adoption" in conditions(found)["Ready"]["message"]
    aws_calls = [call for call in scenario.on.calls(mark, scenario.account.id) if call["service"] in ("eks", "ec2", "iam")]
    assert actions(aws_calls) == []
    scenario.on.delete(item)


@pytest.mark.parametrize("change", ["Automatic", "Observe"])
def test_foreign_cluster_reveals_only_its_name(scenario, change):
    """The spec matches nothing of the cluster, so any value in the output would come from AWS."""
    network = {"vpc": {"zoneCount": 2, "nat": "None", "publicSubnets": False}}
    spec = scenario.spec(network=network, version="1.34", changePolicy=change)
    spec.pop("roleArn")
    item = scenario.attacker.object("EksCluster", f"curious-{change.lower()}", spec)
    mark = scenario.on.mark()
    scenario.attacker.api.apply(item)
    found = scenario.on.await_condition(item, "Stalled", reason="NotOwned", timeout=30)
    message = conditions(found)["Ready"]["message"]
    assert "cluster legacy" in message and scenario.account.id in message and "already exists" in message
    output = scenario.visible_output(item)
    assert [secret for secret in scenario.secrets if secret in output] == []
    # The pattern excludes parts of a timestamp.
    assert not re.search(rf"(?<![\d.]){re.escape(VERSION)}(?!\d)", output)
    assert {"arn", "version", "endpoint", "network", "support", "drift"} & scenario.on.status(item).keys() == set()
    assert scenario.writes(mark) == []
    scenario.on.delete(item)


def test_observed_data_is_removed_when_the_permission_is_withdrawn(scenario):
    on = scenario.on
    scenario.allow(policy="Allow", clusterNames=["legacy"])
    item = scenario.attacker.object("EksCluster", "watcher", scenario.spec(adoptionPolicy="Adopt", changePolicy="Observe"))
    scenario.attacker.api.apply(item)
    until(lambda: on.status(item).get("version") == VERSION, 30, "the observed version")
    scenario.allow()
    until(lambda: on.condition(item, "Stalled")["status"] == "True", 30, "the refusal")

    def removed() -> bool:
        fields = {"arn", "version", "platformVersion", "endpoint", "oidcIssuer", "support", "upgrade"}
        return not fields & on.status(item).keys()

    until(removed, 30, "removal of the observed data")
    assert HIDDEN_TAG not in scenario.visible_output(item)
    on.delete(item)


def test_retained_cluster_is_not_adopted_by_another_namespace(scenario):
    on = scenario.on
    scenario.allow(policy="Allow")
    retained = scenario.owner.object("EksCluster", "kept", scenario.spec(adoptionPolicy="Adopt"))
    scenario.owner.api.apply(retained)
    on.await_condition(retained, "InSync", timeout=60)
    on.delete(retained)
    assert set(tags_of_ours(picture(scenario.account))) == {("keelson.dev/cluster", f"{OWNER}/kept")}

    thief = scenario.attacker.object("EksCluster", "heir", scenario.spec(adoptionPolicy="Adopt"))
    mark = on.mark()
    scenario.attacker.api.apply(thief)
    on.await_condition(thief, "Stalled", reason="NotOwned", timeout=30)
    output = json.dumps([on.status(thief), on.events(thief)])
    assert scenario.writes(mark) == [] and OWNER not in output
    # The namespace that retained it may adopt it again; another one only if the account allows that namespace.
    scenario.owner.api.apply(retained)
    on.await_condition(retained, "InSync", timeout=60)
    on.delete(retained)
    scenario.allow(policy="Allow", namespaces=[ATTACKER])
    on.await_condition(thief, "InSync", timeout=60)
    on.delete(thief)


def test_adoption_forbidden_by_the_account_is_rejected_at_admission(scenario):
    on = scenario.on
    scenario.allow()
    install_admission(on)
    item = scenario.attacker.object("EksCluster", "late", scenario.spec(adoptionPolicy="Adopt"))

    def rejected() -> str | None:
        error = scenario.attacker.apply_error(item)
        if error is None:
            on.force_delete(item)
        return error

    output = until(rejected, 30, "the rejection at admission")
    assert f'does not allow namespace "{ATTACKER}" to adopt a cluster called "legacy"' in output
