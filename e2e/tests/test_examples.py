"""Every manifest in examples/ works: `keelson plan` accepts it, the API server admits it, and it becomes Ready on the emulator.

The files are found, so a new example is tested by itself. All are applied to one management cluster, concurrently. What they name and Keelson
does not create is made first (`examples/`); ids that AWS chooses are replaced by those that it chose. Each EKS cluster has an API server of its
own, into which Keelson installs the agent; what the agent's controllers would report is played (`examples/played_agents.py`), as the
repositories of the examples do not exist.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from examples.existing import Existing, roles, secrets
from examples.played_agents import played_agents
from fleet import API
from fleet.environment import Environment, environment, until
from fleet.manifests import key_of, namespace
from keelson_harness.kubeapi import ApiError, conditions, documents
from keelson_harness.paths import DEPLOY, EXAMPLES, keelson_binary
from test_admission import post

FILES = [path for path in sorted(EXAMPLES.rglob("*.yaml")) if any(item.get("apiVersion") == API for item in documents(path))]
CLUSTERS = [path for path in FILES if any(item["kind"] == "EksCluster" for item in documents(path))]
# Creates the clusters with their nodes, on two processors beside other tests.
SECONDS = 400


def name(path: Path) -> str:
    return str(path.relative_to(EXAMPLES))


def test_examples_are_found():
    assert {"minimal.yaml", "full.yaml", "fleet/management/clusters/staging/cluster.yaml"} <= {name(path) for path in CLUSTERS}


def user_of(path: Path) -> Path:
    """A file with a cluster that may use the AwsAccount of that file; any, if it has none."""
    (account,) = documents(path)
    if account["kind"] != "AwsAccount":
        return EXAMPLES / "minimal.yaml"
    spaces = account["spec"]["allowedNamespaces"]
    return next(other for other in CLUSTERS if {item["metadata"].get("namespace") for item in documents(other)} <= set(spaces))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_plan_accepts_example(path):
    # An account, or a rollout, alone has nothing to plan.
    files = [path] if path in CLUSTERS else [path, user_of(path)]
    command = [keelson_binary(), "plan", *(argument for file in files for argument in ("-f", str(file)))]
    result = subprocess.run(command, env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "control plane" in result.stdout


@dataclass
class Applied:
    """All examples on one management cluster."""

    on: Environment
    items: dict[Path, list[dict]] = field(default_factory=dict)
    # By file: what the API server said against it.
    refusals: dict[Path, str] = field(default_factory=dict)
    # By file: the objects whose security groups must be in the VPC that Keelson creates, so they come later.
    without_groups: dict[Path, list[Groups]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Reads the files, and makes what they name."""
        taken: set[str] = set()
        account = self.on.account()
        for path in FILES:
            made = Existing(account, path.stem)
            items = list(yaml.safe_load_all(made.replaced(path.read_text())))
            for item in items:
                # Two examples create a cluster of one name.
                if item["kind"] == "EksCluster" and item["metadata"]["name"] in taken:
                    rename(items, item["metadata"]["name"], f"{item['metadata']['name']}-{path.stem}")
            taken |= {item["metadata"]["name"] for item in items if item["kind"] == "EksCluster"}
            for item in items:
                # The example fleet has a management cluster of its own, where its rollout selects all.
                if item["kind"] == "FleetRollout" and item["spec"]["clusterSelector"] == {}:
                    rings = [{"key": "ring", "operator": "In", "values": ["canary", "early", "everybody"]}]
                    item["spec"]["clusterSelector"] = {"matchExpressions": rings}
            self.items[path] = items
            self.without_groups[path] = list(without_groups(items))
        spaces = {item["metadata"]["namespace"] for items in self.items.values() for item in items if "namespace" in item["metadata"]}
        self.on.apply(*(namespace(space) for space in sorted(spaces)))
        wanted = [found for items in self.items.values() for item in items for found in secrets(item)]
        self.on.apply(*{key_of(secret): secret for secret in wanted}.values())
        self.on.apply(*(role for items in self.items.values() for item in items for role in roles(item)))
        self.on.apply(namespace("argocd"), *documents(DEPLOY / "argocd-registration" / "rbac.yaml"))

    def apply(self) -> None:
        """Asks the API server about each file, accounts first, as it holds clusters against them."""
        for is_account in (True, False):
            chosen = {path: [item for item in items if (item["kind"] == "AwsAccount") == is_account] for path, items in self.items.items()}
            for path, items in chosen.items():
                for item in items:
                    try:
                        post(self.on.api, item, dry_run=True)
                    except ApiError as error:
                        self.refusals[path] = str(error)
            accepted = [item for path, items in chosen.items() if path not in self.refusals for item in items]
            self.on.apply(*(merged_accounts(accepted) if is_account else accepted))

    def approve(self, item: dict) -> None:
        """Approves the plan that waits, as a person would."""
        found = self.on.api.get(*key_of(item))
        pending = conditions(found).get("Ready", {}).get("reason") == "WaitingForApproval"
        if pending and (hash_ := found.get("status", {}).get("plan", {}).get("hash")):
            version, kind, called, space = key_of(item)
            self.on.api.patch(version, kind, called, {"metadata": {"annotations": {"keelson.dev/approve": hash_}}}, space)

    def add_groups(self, path: Path) -> None:
        """Does what docs/networks.md says: creates the security groups in the VPC, allows them, and then lists them."""
        for groups in self.without_groups[path]:
            status = self.on.api.get(*key_of(groups.cluster))["status"]
            made = [self.on.account().security_group(status["network"]["vpcId"]) for _ in range(groups.count)]
            name = groups.cluster["spec"].get("accountRef", {}).get("name", "default")
            spec = self.on.api.get(API, "AwsAccount", name, None)["spec"]
            allowed = {"spec": {"allowedSecurityGroupIds": [*spec.get("allowedSecurityGroupIds", []), *made]}}
            self.on.api.patch(API, "AwsAccount", name, allowed, None)
            groups.parent["securityGroupIds"] = made
            self.on.apply(groups.item)

    def ready(self, path: Path) -> None:
        for item in self.items[path]:

            def is_ready(item: dict = item) -> bool:
                # A cluster waits for the nodes of its groups.
                for other in self.items[path]:
                    self.approve(other)
                return self.on.condition(item).get("status") == "True"

            try:
                until(is_ready, SECONDS)
            except AssertionError:
                raise AssertionError(self.on.describe(item)) from None


@dataclass
class Groups:
    """Security groups that an example lists in `parent`, a part of `item`."""

    item: dict
    parent: dict
    count: int
    cluster: dict


def without_groups(items: list[dict]) -> Iterator[Groups]:
    """Removes the security groups of objects whose VPC does not exist yet."""
    clusters = {item["metadata"]["name"]: item for item in items if item["kind"] == "EksCluster"}
    for item in items:
        cluster = clusters.get(item["spec"].get("clusterRef", {}).get("name", item["metadata"]["name"]))
        own_vpc = cluster["spec"].get("network", {}).get("vpc") if cluster else None
        parent = own_vpc if item is cluster else item["spec"].get("node")
        if own_vpc is not None and parent and "securityGroupIds" in parent:
            yield Groups(item, parent, len(parent.pop("securityGroupIds")), cluster)


def rename(items: list[dict], old: str, new: str) -> None:
    """The cluster, its node groups, and their references."""
    for item in items:
        item["metadata"]["name"] = re.sub(rf"^{re.escape(old)}(?=$|-)", new, item["metadata"]["name"])
        if item["kind"] == "NodeGroup":
            item["spec"]["clusterRef"]["name"] = new


def merged_accounts(items: list[dict]) -> list[dict]:
    """One account for each name: a user has one `default`, which allows what each example needs of it."""
    found: dict[str, dict] = {}
    for item in items:
        spec = found.setdefault(item["metadata"]["name"], item)["spec"]
        for key, value in item["spec"].items():
            listed = isinstance(value, list) and isinstance(spec.get(key), list)
            spec[key] = list(dict.fromkeys([*spec[key], *value])) if listed else value
    return list(found.values())


@pytest.fixture(scope="module")
def applied() -> Iterator[Applied]:
    with environment(workload_each=True, flux=False, git=False) as on, played_agents(on.cloud):
        on.cloud.install_policies()
        examples = Applied(on)
        examples.prepare()
        on.start("--argocd-namespace=argocd", "--argocd-cluster-labels=team", env={"KEELSON_ALLOW_AMBIENT_ACCOUNT": "false"})
        examples.apply()
        yield examples


@pytest.mark.parametrize("path", FILES, ids=name)
def test_admission_admits_example(applied, path):
    assert path not in applied.refusals, applied.refusals[path]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_example_becomes_ready(applied, path):
    applied.ready(path)
    if applied.without_groups[path]:
        applied.add_groups(path)
        applied.ready(path)
