"""Bad input gets a clear answer and touches nothing: each mistake end to end, and not one write in the call log."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bad_input import Mistake
from bad_input.admission import REFUSED
from bad_input.conditions import mistakes
from fleet.manifests import key_of, secret
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import ACCOUNT
from keelson_harness.kubeapi import ApiError, conditions

# The subnets' ids are known once they are made; the names of the cases before.
NAMES = [mistake.what for mistake in mistakes(["subnet-a"], ["subnet-b"], [])]


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False) as started:
        yield started


@dataclass
class Made:
    cases: dict[str, Mistake]
    # The place in the call log where they began.
    mark: int
    # What others have in the account.
    before: dict[str, list[str]]


@pytest.fixture(scope="module")
def made(on: Environment) -> Made:
    """All of them at once, under one operator."""
    theirs = on.account()
    theirs.role("guarded", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, external_id="the-right-one")
    one_zone = theirs.network("aa", "10.8.0.0/16")
    full = fill(theirs, theirs.network("ab", "10.7.0.0/16", bits=28))
    subnets = theirs.network("ab", "10.6.0.0/16")
    theirs.eks.create_cluster(
        name="taken",
        roleArn=theirs.cluster_role("theirs"),
        resourcesVpcConfig={"subnetIds": subnets},
    )
    until(lambda: theirs.eks.describe_cluster(name="taken")["cluster"]["status"] == "ACTIVE")
    before, mark = theirs.inventory(), on.mark()
    cases = {mistake.what: mistake for mistake in mistakes(one_zone, full, subnets)}
    on.start(env={"KEELSON_ALLOW_HTTP_GIT": "false"})
    for mistake in cases.values():
        on.apply(*mistake.needs, mistake.item)
    return Made(cases, mark, before)


def fill(owner, subnets: list[str]) -> list[str]:
    """Takes addresses of /28 subnets until fewer than five are left."""
    for subnet in subnets:
        for _ in range(8):
            owner.ec2.create_network_interface(SubnetId=subnet)
    return subnets


@pytest.mark.parametrize("mistake", REFUSED, ids=str)
def test_refused_at_admission_with_the_field_and_what_to_do(on, mistake):
    with pytest.raises(ApiError) as refused:
        on.api.create(mistake.item)
    assert refused.value.code == 422
    for words in mistake.says:
        assert words in refused.value.message


@pytest.mark.parametrize("what", NAMES)
def test_refused_by_a_condition_with_the_field_or_resource_and_what_to_do(on, made, what):
    mistake = made.cases[what]
    ready = on.await_condition(mistake.item, status="False", reason=mistake.reason, timeout=30)
    found = conditions(ready)
    message = found["Ready"]["message"]
    for words in mistake.says:
        assert words in message, f"{words!r} is not in {message!r}"
    stalled = found.get("Stalled", {}).get("status") == "True"
    assert stalled == mistake.stalled, found


@pytest.mark.parametrize("what", ["role that cannot be assumed", "wrong external id"])
def test_the_account_itself_says_that_it_cannot_be_reached(on, made, what):
    item = made.cases[what].needs[0]
    found = conditions(on.await_condition(item, status="False", timeout=30))
    assert found["Ready"]["reason"] == "AccessDenied" and "AssumeRole" in found["Ready"]["message"]


def test_none_of_it_wrote_to_aws(on, made):
    for mistake in made.cases.values():
        on.await_condition(mistake.item, status="False", reason=mistake.reason, timeout=30)
    assert actions(on.writes(made.mark)) == []
    assert [call for call in on.calls(made.mark) if call["account"] == ACCOUNT], "it did not even look"


def test_a_mistake_that_is_corrected_is_forgotten(on, made):
    """By a Secret that comes later: nobody has to touch the cluster."""
    item = made.cases["missing Secret"].item
    mark = on.mark()
    on.apply(secret("missing", username="keelson", password="x"))
    on.await_condition(item, "Stalled", "False", timeout=40)
    assert conditions(on.api.get(*key_of(item)))["Ready"]["reason"] != "SyncFailed"
    on.delete(item, timeout=60)
    assert on.writes(mark), "it went on"


def test_a_mistake_that_is_edited_away_is_forgotten_at_once(on, made):
    """Although it was to be looked at again only in a while."""
    item = made.cases["unknown version"].item
    version, kind, name, _ = key_of(item)
    on.api.patch(version, kind, name, {"spec": {"version": "1.34"}})
    on.await_condition(item, "Stalled", "False", timeout=10)
    on.delete(item, timeout=60)


def test_each_of_them_can_be_deleted_and_nothing_of_others_goes(on, made):
    mistakes = made.cases.values()
    on.delete(*(mistake.item for mistake in mistakes), timeout=30)
    on.delete(*(need for mistake in mistakes for need in mistake.needs), timeout=10)
    assert on.account().inventory() == made.before
