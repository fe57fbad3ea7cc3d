"""A tenant omits `accountRef` to use the operator's own credentials without the limits of any AwsAccount."""

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

ATTACKER, OTHER_TEAM = "team-a", "team-b"
NETWORK = {"vpc": {"zoneCount": 2, "nat": "None", "publicSubnets": False}}
SPEC = {"region": "eu-west-1", "version": "1.34", "network": NETWORK, "addons": []}
DEFAULT = aws_account("default", ACCOUNT, allowedNamespaces=[OTHER_TEAM], allowedRegions=["eu-west-1"])


@dataclass
class Scenario:
    on: Environment
    tenant: Tenant
    # Position in the call log before the first attempt.
    mark: int


@pytest.fixture(scope="module")
def scenario():
    with environment(workload=False, git=False, durations=Durations(0.5, 0.3, 0.3, 0.3, 0.1, 0.2)) as on:
        install_admission(on)
        attacker = tenant(on, ATTACKER)
        on.start(env={"KEELSON_ALLOW_AMBIENT_ACCOUNT": "false"})
        yield Scenario(on, attacker, on.mark())


def test_without_an_account_no_aws_call_is_made(scenario):
    """Without any AwsAccount, every namespace could otherwise use the operator's credentials."""
    item = scenario.tenant.object("EksCluster", "ambient", SPEC)
    scenario.tenant.api.apply(item)
    found = scenario.on.await_condition(item, "Stalled", reason="AccessDenied", timeout=30)
    message = conditions(found)["Ready"]["message"]
    assert "spec.accountRef is not set" in message and 'AwsAccount "default"' in message
    assert actions(scenario.on.calls(scenario.mark)) == []
    # Nothing was created, so no finalizer keeps the object.
    scenario.on.delete(item)


def test_require_account_ref_component_rejects_objects_without_an_account(scenario):
    component = CHECKOUT / "deploy" / "require-account-ref"
    kustomization = yaml.safe_load((component / "kustomization.yaml").read_text())
    assert (kustomization["kind"], kustomization["resources"]) == ("Component", ["admission-policy.yaml"])
    policy = documents(component / "admission-policy.yaml")
    scenario.on.apply(*policy)
    item = scenario.tenant.object("EksCluster", "required", SPEC)

    def rejection() -> str | None:
        error = scenario.tenant.apply_error(item)
        if error is None:
            scenario.on.force_delete(item)
        return error if error and "is required here" in error else None

    error = until(rejection, 30, "the rejection at admission")
    assert "spec.accountRef is required here" in error
    named = {**SPEC, "accountRef": {"name": "not-there-yet"}}
    assert scenario.tenant.apply_error(scenario.tenant.object("EksCluster", "named", named)) is None
    scenario.on.delete(scenario.tenant.object("EksCluster", "named", named))
    for one in policy:
        scenario.on.api.delete(one["apiVersion"], one["kind"], one["metadata"]["name"])
    # As before, only the operator refuses it.
    until(lambda: scenario.tenant.apply_error(item) is None, 30, "removal of the policy")
    scenario.on.delete(item)


def test_default_account_is_limited_to_its_allowed_namespaces(scenario):
    """Enforced at admission, and by the operator where admission does not run."""
    on = scenario.on
    before = scenario.tenant.object("EksCluster", "before", SPEC)
    scenario.tenant.api.apply(before)
    on.await_condition(before, "Stalled", reason="AccessDenied", timeout=30)
    on.apply(DEFAULT)
    on.await_condition(DEFAULT, timeout=30)
    mark = on.mark()

    # The object without accountRef is reconciled when the default account appears.
    def refused() -> bool:
        return "allowedNamespaces" in on.condition(before)["message"]

    until(refused, 30, "the refusal by the default account")
    after = scenario.tenant.object("EksCluster", "after", SPEC)

    def rejection_at_admission() -> str | None:
        error = scenario.tenant.apply_error(after)
        if error is None:
            on.force_delete(after)
        return error

    error = until(rejection_at_admission, 30, "the rejection at admission")
    assert f'spec.accountRef is not set: AwsAccount "default" may not be used from namespace "{ATTACKER}"' in error
    assert actions(on.calls(mark)) == []
    on.delete(before)


def test_default_account_is_used_within_its_limits(scenario):
    on = scenario.on
    item = scenario.tenant.object("EksCluster", "allowed", SPEC)
    on.apply({**DEFAULT, "spec": {**DEFAULT["spec"], "allowedNamespaces": [ATTACKER]}})
    until(lambda: scenario.tenant.apply_error(item) is None, 30, "admission")
    on.await_condition(item, "ControlPlaneReady", timeout=60)
    elsewhere = scenario.tenant.object("EksCluster", "elsewhere", {**SPEC, "region": "us-east-1"})
    error = scenario.tenant.apply_error(elsewhere)
    assert error and 'may not be used in region "us-east-1"' in error
    on.delete(item)
    assert on.account().inventory() == {}
