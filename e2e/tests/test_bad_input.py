"""Bad input gets a clear error and causes no AWS write: each mistake end to end, checked against the call log."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bad_input import Mistake
from bad_input.admission import REJECTED
from bad_input.conditions import mistakes
from fleet.manifests import key_of, secret
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import ACCOUNT
from keelson_harness.kubeapi import ApiError, conditions

# pytest needs the names before the subnets exist, so these ids are placeholders.
NAMES = [mistake.what for mistake in mistakes(["subnet-a"], ["subnet-b"], [])]


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False) as started:
        yield started


@dataclass
class Scenario:
    cases: dict[str, Mistake]
    # Position in the call log before the cases are applied.
    mark: int
    # The account's inventory before that.
    before: dict[str, list[str]]


@pytest.fixture(scope="module")
def scenario(on: Environment) -> Scenario:
    """Applies all cases at once, under one operator."""
    foreign = on.account()
    foreign.role("guarded", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, external_id="the-right-one")
    one_zone = foreign.network("aa", "10.8.0.0/16")
    full = fill(foreign, foreign.network("ab", "10.7.0.0/16", bits=28))
    subnets = foreign.network("ab", "10.6.0.0/16")
    foreign.eks.create_cluster(
        name="taken",
        roleArn=foreign.cluster_role("theirs"),
        resourcesVpcConfig={"subnetIds": subnets},
    )
    until(lambda: foreign.eks.describe_cluster(name="taken")["cluster"]["status"] == "ACTIVE")
    before, mark = foreign.inventory(), on.mark()
    cases = {mistake.what: mistake for mistake in mistakes(one_zone, full, subnets)}
    on.start(env={"KEELSON_ALLOW_HTTP_GIT": "false"})
    for mistake in cases.values():
        on.apply(*mistake.needs, mistake.item)
    return Scenario(cases, mark, before)


def fill(owner, subnets: list[str]) -> list[str]:
    """Takes addresses of /28 subnets until fewer than five are left."""
    for subnet in subnets:
        for _ in range(8):
            owner.ec2.create_network_interface(SubnetId=subnet)
    return subnets


@pytest.mark.parametrize("mistake", REJECTED, ids=str)
def test_mistake_is_rejected_at_admission_with_field_and_advice(on, mistake):
    with pytest.raises(ApiError) as rejected:
        on.api.create(mistake.item)
    assert rejected.value.code == 422
    for words in mistake.texts:
        assert words in rejected.value.message


@pytest.mark.parametrize("name", NAMES)
def test_mistake_is_reported_in_a_condition_with_field_or_resource_and_advice(on, scenario, name):
    mistake = scenario.cases[name]
    ready = on.await_condition(mistake.item, status="False", reason=mistake.reason, timeout=30)
    found = conditions(ready)
    message = found["Ready"]["message"]
    for words in mistake.texts:
        assert words in message, f"{words!r} is not in {message!r}"
    stalled = found.get("Stalled", {}).get("status") == "True"
    assert stalled == mistake.stalled, found


@pytest.mark.parametrize("name", ["role that cannot be assumed", "wrong external id"])
def test_awsaccount_reports_that_its_role_cannot_be_assumed(on, scenario, name):
    item = scenario.cases[name].needs[0]
    found = conditions(on.await_condition(item, status="False", timeout=30))
    assert found["Ready"]["reason"] == "AccessDenied" and "AssumeRole" in found["Ready"]["message"]


def test_mistakes_cause_no_aws_writes(on, scenario):
    for mistake in scenario.cases.values():
        on.await_condition(mistake.item, status="False", reason=mistake.reason, timeout=30)
    assert actions(on.writes(scenario.mark)) == []
    assert [call for call in on.calls(scenario.mark) if call["account"] == ACCOUNT], "no AWS call at all"


def test_mistake_fixed_by_another_object_is_cleared(on, scenario):
    """A Secret created later clears it, without an edit of the cluster."""
    item = scenario.cases["missing Secret"].item
    mark = on.mark()
    on.apply(secret("missing", username="keelson", password="x"))
    on.await_condition(item, "Stalled", "False", timeout=40)
    assert conditions(on.api.get(*key_of(item)))["Ready"]["reason"] != "SyncFailed"
    on.delete(item, timeout=60)
    assert on.writes(mark), "the cluster was reconciled"


def test_mistake_fixed_by_an_edit_is_cleared_immediately(on, scenario):
    """Without waiting for the requeue interval."""
    item = scenario.cases["unknown version"].item
    version, kind, name, _ = key_of(item)
    on.api.patch(version, kind, name, {"spec": {"version": "1.34"}})
    on.await_condition(item, "Stalled", "False", timeout=10)
    on.delete(item, timeout=60)


def test_objects_with_mistakes_can_be_deleted_without_touching_foreign_resources(on, scenario):
    mistakes = scenario.cases.values()
    on.delete(*(mistake.item for mistake in mistakes), timeout=30)
    on.delete(*(need for mistake in mistakes for need in mistake.needs), timeout=10)
    assert on.account().inventory() == scenario.before
