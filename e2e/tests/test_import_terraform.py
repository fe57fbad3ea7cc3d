"""`keelson import --terraform`: the manifests from a state only adopt, and Terraform forgets exactly what Keelson owns then.

The snapshots of src/cli/import/terraform/tests.rs show how states of other kinds are converted.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml

from fleet.account import OWNER, Account, fresh_account
from fleet.environment import Environment, environment
from fleet.existing_clusters import Others, adopting, assert_only_adopts, keelson, live_plan, picture, reference
from importing import clusters, terraform_state
from keelson_harness.aws import Durations

NAME = "payments"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 1, 1, 0.5, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def account(on) -> Account:
    account = on.account(fresh_account())
    clusters.create(Others(account), NAME, "general", {"terraform-aws-modules": "eks"})
    return account


@pytest.fixture(scope="module")
def state(account) -> terraform_state.State:
    return terraform_state.of(account, NAME)


@pytest.fixture
def file(state, tmp_path) -> Path:
    path = tmp_path / "state.json"
    path.write_text(state.shown())
    return path


def run(on: Environment, account: Account, file: Path, *arguments: str) -> tuple[list[dict], str]:
    """The objects, and standard error."""
    placed = ("--namespace=default", f"--account-ref={reference(account)['name']}")
    result = keelson(on, account, "import", "--terraform", str(file), *placed, *arguments)
    assert result.returncode == 0, result.stderr
    return list(yaml.safe_load_all(result.stdout)), result.stderr


def forgotten(stderr: str) -> list[str]:
    """The addresses of the command, as the shell passes them."""
    command = stderr.split("\n  terraform state rm", 1)[1].split("\n4. ", 1)[0]
    return [word for word in shlex.split(command) if word.strip()]


def tags(account: Account, arn: str) -> dict[str, str]:
    match arn.split(":")[2]:
        case "iam":
            provider = account.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
            return {tag["Key"]: tag["Value"] for tag in provider["Tags"]}
        case service:
            return account.client(service).list_tags_for_resource(resourceArn=arn)["tags"]


def test_manifests_of_a_state_only_adopt_and_terraform_forgets_what_keelson_owns(on, account, state, file, tmp_path):
    on.apply(adopting(account))
    before, start = picture(account), on.mark()
    items, stderr = run(on, account, file)
    assert [item["kind"] for item in items] == ["EksCluster", "NodeGroup"]
    plan = live_plan(on, account, tmp_path, items)
    assert plan.count("0 to create, 0 to update, 0 to delete") == len(items) and "!" not in plan, plan
    assert on.writes(start, account.id) == []
    try:
        with on.operator("--drift-interval=2s", account=account.id):
            assert_only_adopts(on, account, items, before, start)
            owned = {address for address, arn in state.arns.items() if OWNER in tags(account, arn)}
            policies = {address for address in forgotten(stderr) if "aws_eks_access_policy_association" in address}
            assert set(forgotten(stderr)) - policies == owned
            assert len(policies) == 2
            on.delete(*reversed(items))
    finally:
        on.force_delete(*items)


def test_state_file_of_a_directory_is_read_and_nothing_is_executed(on, account, state, file, tmp_path):
    shown = json.loads(state.shown())
    resources = []
    for module in shown["values"]["root_module"]["child_modules"]:
        for one in module["resources"]:
            instance = {"attributes": one["values"], "index_key": one["index"], "sensitive_attributes": []}
            place = {"module": module["address"], "mode": "managed", "type": one["type"], "name": one["name"]}
            resources.append({**place, "instances": [instance]})
    directory = tmp_path / "configuration"
    directory.mkdir()
    for name in ("terraform", "tofu"):
        program = directory / name
        program.write_text(f"#!/bin/sh\ntouch {directory}/executed\n")
        program.chmod(0o755)
    result = keelson(on, account, "import", "--terraform", str(directory))
    assert result.returncode == 1 and "show -json > state.json" in result.stderr
    content = {"version": 4, "serial": 1, "lineage": "a", "resources": resources}
    (directory / "terraform.tfstate").write_text(json.dumps(content))
    assert run(on, account, directory) == run(on, account, file)
    assert not (directory / "executed").exists()


def test_printed_account_settings_are_a_spec(on, account, file):
    _, stderr = run(on, account, file)
    allowed = yaml.safe_load(stderr.partition("must allow it:\n")[2])
    assert allowed["adoption"]["clusterNames"] == [NAME]
    assert {"allowedNamespaces", "allowedVpcIds", "allowedRoleArns", "allowedLaunchTemplateIds"} <= allowed.keys()


@pytest.mark.parametrize("flags", [("--all",), ("--eksctl=x.yaml",), ("--capa=x.yaml",)])
def test_sources_exclude_each_other(on, account, file, flags):
    result = keelson(on, account, "import", "--terraform", str(file), *flags)
    assert result.returncode == 1 and "cannot be used with" in result.stderr
