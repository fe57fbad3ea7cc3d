"""A tenant leaves `accountRef` out, to work with the operator's own credentials past every AwsAccount."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import yaml

from attacks.tenant import Tenant, install_admission, tenant
from fleet.manifests import account as aws_account
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import ACCOUNT, Durations
from keelson_harness.kubeapi import conditions, documents
from keelson_harness.paths import CHECKOUT

MINE, OTHERS = "team-a", "team-b"
NETWORK = {"vpc": {"zoneCount": 2, "nat": "None", "publicSubnets": False}}
SPEC = {"region": "eu-west-1", "version": "1.34", "network": NETWORK, "addons": []}
DEFAULT = aws_account("default", ACCOUNT, allowedNamespaces=[OTHERS], allowedRegions=["eu-west-1"])


@dataclass
class Scene:
    on: Environment
    tenant: Tenant
    # The place in the call log before the first attempt.
    mark: int


@pytest.fixture(scope="module")
def scene():
    with environment(workload=False, git=False, durations=Durations(0.5, 0.3, 0.3, 0.3, 0.1, 0.2)) as on:
        install_admission(on)
        attacker = tenant(on, MINE)
        on.start(env={"KEELSON_ALLOW_AMBIENT_ACCOUNT": "false"})
        yield Scene(on, attacker, on.mark())


def test_without_an_account_nothing_is_called_in_aws(scene):
    """No AwsAccount at all: any namespace could use the operator's credentials."""
    item = scene.tenant.object("EksCluster", "ambient", SPEC)
    scene.tenant.api.apply(item)
    found = scene.on.await_condition(item, "Stalled", reason="AccessDenied", timeout=30)
    message = conditions(found)["Ready"]["message"]
    assert "spec.accountRef is not set" in message and 'AwsAccount "default"' in message
    assert actions(scene.on.calls(scene.mark)) == []
    # Nothing was made, so nothing holds the object.
    scene.on.delete(item)


def test_on_request_an_object_that_names_no_account_is_refused_at_admission(scene):
    component = CHECKOUT / "deploy" / "require-account-ref"
    listed = yaml.safe_load((component / "kustomization.yaml").read_text())
    assert (listed["kind"], listed["resources"]) == ("Component", ["admission-policy.yaml"])
    policy = documents(component / "admission-policy.yaml")
    scene.on.apply(*policy)
    item = scene.tenant.object("EksCluster", "required", SPEC)

    def refusal() -> str | None:
        said = scene.tenant.refusal(item)
        if said is None:
            scene.on.force_delete(item)
        return said if said and "is required here" in said else None

    said = until(refusal, 30, "the refusal at admission")
    assert "spec.accountRef is required here" in said
    named = {**SPEC, "accountRef": {"name": "not-there-yet"}}
    assert scene.tenant.refusal(scene.tenant.object("EksCluster", "named", named)) is None
    scene.on.delete(scene.tenant.object("EksCluster", "named", named))
    for one in policy:
        scene.on.api.delete(one["apiVersion"], one["kind"], one["metadata"]["name"])
    # As before, the operator alone refuses it.
    until(lambda: scene.tenant.refusal(item) is None, 30, "the end of the policy")
    scene.on.delete(item)


def test_the_default_account_is_open_to_those_it_names(scene):
    """At admission, and where that is missing, by the operator."""
    on = scene.on
    before = scene.tenant.object("EksCluster", "before", SPEC)
    scene.tenant.api.apply(before)
    on.await_condition(before, "Stalled", reason="AccessDenied", timeout=30)
    on.apply(DEFAULT)
    on.await_condition(DEFAULT, timeout=30)
    mark = on.mark()

    # The object that refers to no account hears of the default one.
    def refused() -> bool:
        return "allowedNamespaces" in on.condition(before)["message"]

    until(refused, 30, "the refusal by the default account")
    after = scene.tenant.object("EksCluster", "after", SPEC)

    def refusal_at_admission() -> str | None:
        refusal = scene.tenant.refusal(after)
        if refusal is None:
            on.force_delete(after)
        return refusal

    said = until(refusal_at_admission, 30, "the refusal at admission")
    assert f'spec.accountRef is not set: AwsAccount "default" may not be used from namespace "{MINE}"' in said
    assert actions(on.calls(mark)) == []
    on.delete(before)


def test_once_the_default_account_allows_the_namespace_it_is_used_within_its_limits(scene):
    on = scene.on
    item = scene.tenant.object("EksCluster", "allowed", SPEC)
    on.apply({**DEFAULT, "spec": {**DEFAULT["spec"], "allowedNamespaces": [MINE]}})
    until(lambda: scene.tenant.refusal(item) is None, 30, "admission")
    on.await_condition(item, "ControlPlaneReady", timeout=60)
    elsewhere = scene.tenant.object("EksCluster", "elsewhere", {**SPEC, "region": "us-east-1"})
    refusal = scene.tenant.refusal(elsewhere)
    assert refusal and 'may not be used in region "us-east-1"' in refusal
    on.delete(item)
    assert on.account().inventory() == {}
