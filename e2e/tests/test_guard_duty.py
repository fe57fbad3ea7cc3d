"""GuardDuty's automated agent: its add-on comes back after each pruning, and its endpoint holds the VPC. It is named, never fought over."""

from __future__ import annotations

import pytest

from fleet.account import Account, fresh_account
from fleet.environment import environment, stays, until
from fleet.manifests import cluster, key_of
from keelson_harness.aws import Durations

AGENT = "aws-guardduty-agent"
BY_TAG = [{"Name": "tag:GuardDutyManaged", "Values": ["true"]}]


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 0.5, 0.5, 0.2, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def account(on) -> Account:
    found = on.account(fresh_account())
    on.aws.control("POST", "settings", json={"GUARD_DUTY_ACCOUNTS": found.id})
    return found


@pytest.fixture(scope="module")
def guarded(on, account) -> dict:
    on.start("--max-deletions=100", "--drift-interval=1s", account=account.id)
    network = {"vpc": {"zoneCount": 2, "nat": "None"}}
    item = cluster("guarded", network=network, oidcProvider=False, addons=[{"name": "kube-proxy"}], pruneAddons=True)
    on.apply(item)
    on.ready(item)
    return item


def deletions(on, account: Account) -> list[str]:
    return [call["resource"] for call in on.writes(0, account.id) if call["action"] == "DeleteAddon"]


def test_addon_that_comes_back_after_each_deletion_is_left_and_reported(on, account, guarded):
    def note() -> str:
        return next((e["note"] for e in on.events(guarded) if e["reason"] == "LeftAlone"), "")

    shown = until(note, 60, "the event")
    assert shown.startswith(f"addons[{AGENT}] was deleted 3 times, exists again, and stays: GuardDuty installs it: disable the automated agent")
    assert deletions(on, account) == [f"guarded/{AGENT}"] * 3
    stays(lambda: len(deletions(on, account)) == 3, 4, "no further deletion")
    on.ready(guarded)
    assert account.eks.list_addons(clusterName="guarded")["addons"] == [AGENT, "kube-proxy"]
    on.api.patch(*key_of(guarded)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": "again"}}})
    until(lambda: len(deletions(on, account)) > 3, 30, "a deletion that somebody requested")


def test_endpoint_of_guard_duty_is_named_with_what_to_do_and_not_deleted(on, account, guarded):
    on.api.delete(*key_of(guarded))
    (endpoint,) = account.ec2.describe_vpc_endpoints(Filters=BY_TAG)["VpcEndpoints"]
    (group,) = account.ec2.describe_security_groups(Filters=BY_TAG)["SecurityGroups"]
    blocked = rf"VPC endpoint {endpoint['VpcEndpointId']} (Interface, {endpoint['ServiceName']}, of GuardDuty, owner"

    def message() -> str:
        found = on.condition(guarded)
        return found["message"] if found.get("reason") == "DeletionBlocked" and blocked in found["message"] else ""

    shown = until(message, 60, "DeletionBlocked")
    assert "disable its automated agent configuration, then delete both by hand" in shown
    touched = [call for call in on.writes(0, account.id) if call["resource"] in (endpoint["VpcEndpointId"], group["GroupId"])]
    assert touched == []
    account.ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint["VpcEndpointId"]])

    def group_is_named() -> bool:
        return group["GroupId"] in on.condition(guarded).get("message", "")

    until(group_is_named, 60, "the security group in the message")
    account.ec2.delete_security_group(GroupId=group["GroupId"])
    on.api.wait_gone(*key_of(guarded), 60)
