"""examples/fleet, as people copy it: Git alone makes a cluster, runs in it what its path says, upgrades it and takes it away.

Flux's real controllers run on both sides. What a person does here is to commit, and once to bootstrap Flux. The operator comes
from Git too: its pods are processes. One cluster at a time, as all share the one workload API server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from fleet import API
from fleet.manifests import key_of, secret
from fleet.environment import READ_AFTER_WRITE_WINDOW, Environment, environment, until
from keelson_harness.aws import ACCOUNT, REGION
from keelson_harness.git import Repository
from keelson_harness.kubeapi import conditions
from keelson_harness.paths import CRDS, DEPLOY, EXAMPLES

FLEET = EXAMPLES / "fleet"
FLUX = "flux-system"
KUSTOMIZATION = ("kustomize.toolkit.fluxcd.io/v1", "Kustomization")
NEWEST, BEFORE = 'version: "1.36"', 'version: "1.35"'
MANIFEST = "management/clusters/staging/cluster.yaml"
LIST = "management/kustomization.yaml"
GIT_INTERVAL = "1s"
KEELSON_TAG = "v0.1.0"
TOKEN = "token-of-the-fleet-repository-77aa"
# All that any part can say: test_no_secrets_told.py searches it.
MOST = "trace,aws_config=trace,aws_runtime=trace,aws_sdk_eks=trace,aws_sdk_sts=trace,aws_smithy_runtime=trace,h2=trace,hyper=trace,\
hyper_util=trace,kube_client=trace,kube_runtime=trace,rustls=trace,tower=trace"
# Deletion of a cluster whose nodes and add-ons go first, and Flux's own waiting.
SECONDS = 90


@dataclass
class Fleet:
    """The repository, and what is seen of it on the management cluster."""

    on: Environment
    repository: Repository

    def text(self, path: str) -> str:
        """A file of the example, its repository here and asked more often."""
        text = (FLEET / path).read_text()
        asked = f"interval: {GIT_INTERVAL}"
        text = text.replace("https://github.com/acme/fleet", self.repository.url).replace("retryInterval: 1m", "retryInterval: 2s")
        return text.replace("ref: {branch: main}\n", f"ref: {{branch: main}}\n          {asked}\n")

    def without(self, *clusters: str) -> dict[str, str]:
        """All of the example but those clusters."""
        skipped = [f"{top}{name}" for name in clusters for top in ("management/clusters/", "clusters/", "apps/")]
        paths = [str(path.relative_to(FLEET)) for path in sorted(FLEET.rglob("*.yaml"))]
        files = {path: self.text(path) for path in paths if not path.startswith(tuple(skipped))}
        files[LIST] = self.listing(*clusters)
        return files

    def listing(self, *left_out: str) -> str:
        lines = self.text(LIST).splitlines(keepends=True)
        kept = [line for line in lines if not any(f"clusters/{name}.yaml" in line for name in left_out)]
        return "".join(kept)

    def of(self, cluster: str) -> dict[str, str]:
        """What a commit adds for one cluster, but for its line in the list."""
        mine = (f"management/clusters/{cluster}", f"clusters/{cluster}", f"apps/{cluster}")
        paths = [str(path.relative_to(FLEET)) for path in sorted(FLEET.rglob("*.yaml"))]
        return {path: self.begun(path) if path == MANIFEST else self.text(path) for path in paths if path.startswith(mine)}

    def begun(self, path: str) -> str:
        """A manifest a minor behind the example, to be upgraded to that."""
        return self.text(path).replace(NEWEST, BEFORE)

    def kustomization(self, name: str) -> dict:
        return self.on.api.find(*KUSTOMIZATION, name, FLUX) or {}

    def ready(self, name: str, commit: str = "", timeout: float = SECONDS) -> dict:
        """Waits until that Kustomization of the management cluster is Ready, of that commit."""

        def holds(item: dict) -> bool:
            ready = conditions(item).get("Ready", {})
            seen = item.get("status", {})
            return (
                ready.get("status") == "True"
                and seen.get("observedGeneration") == item["metadata"]["generation"]
                and commit in seen.get("lastAppliedRevision", "")
            )

        return self.on.api.wait(*KUSTOMIZATION, name, holds, FLUX, timeout, f"Ready {commit}")

    def web(self, replicas: int) -> dict:
        """Waits until the workload cluster runs the app of its path. Its container."""
        api = self.on.cloud.workload.api

        def runs() -> dict | None:
            found = api.find("apps/v1", "Deployment", "web", "shop") or {}
            return found if found.get("status", {}).get("availableReplicas") == replicas else None

        try:
            found = until(runs, SECONDS, "the app")
        except AssertionError as error:
            said = {item["metadata"]["name"]: conditions(item).get("Ready") for item in api.list(*KUSTOMIZATION)}
            raise AssertionError(f"{error}: {said}") from None
        return found["spec"]["template"]["spec"]["containers"][0]


def with_gates(on: Environment) -> bool:
    """Whether the Flux that runs is the one that takes up a commit while the one before it waits."""
    found = on.api.get("apps/v1", "Deployment", "kustomize-controller", FLUX)
    status = found["status"]
    newest = status.get("observedGeneration") == found["metadata"]["generation"] and status.get("replicas") == 1
    args = found["spec"]["template"]["spec"]["containers"][0]["args"]
    return newest and status.get("availableReplicas") == 1 and any("CancelHealthCheckOnNewRevision" in arg for arg in args)


def one(kind: str, name: str) -> dict:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "namespace": "fleet"}}


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(crds=False, management_pods=True) as started:
        started.cloud.operator_flags = (READ_AFTER_WRITE_WINDOW, "--drift-interval=2s", f"--log-level={MOST}")
        started.cloud.kubelet.namespaces.add("shop")
        yield started


@pytest.fixture(scope="module")
def fleet(on: Environment) -> Fleet:
    """The example without any cluster, bootstrapped; and the operator that it asks for."""
    operator = on.cloud.git.repository("keelson")
    operator.commit_directory(CRDS, "crds")
    operator.commit_directory(DEPLOY, "deploy")
    operator.commit(tag=KEELSON_TAG)
    made = Fleet(on, on.cloud.git.repository("fleet"))
    files = made.without("staging", "production")
    files["management/keelson.yaml"] = files["management/keelson.yaml"].replace(
        "https://github.com/acme/keelson", operator.url
    )
    made.repository.commit(files)
    on.cloud.bootstrap(made.repository, "management", GIT_INTERVAL)
    # It is started anew once, by what the repository says of it.
    until(lambda: with_gates(on), SECONDS, "Flux as the repository has it")
    made.ready("keelson")
    on.apply(secret("fleet-git", "fleet", username="git", password=TOKEN))
    return made


@pytest.fixture(scope="module")
def forgotten(on: Environment, fleet: Fleet) -> dict:
    """A commit that adds staging and forgets its nodes, for which the cluster then waits, and its Kustomization with it."""
    files = fleet.of("staging")
    only_cluster, _ = files[MANIFEST].split("---\n")
    files[MANIFEST] = only_cluster
    fleet.repository.commit({**files, LIST: fleet.listing("production")}, message="Add staging")
    cluster = one("EksCluster", "staging")
    until(lambda: on.api.find(API, "EksCluster", "staging", "fleet"), SECONDS, "the cluster's object")
    on.await_condition(cluster, status="False", reason="WaitingForNodes", timeout=SECONDS)
    return fleet.kustomization("cluster-staging")


@pytest.fixture(scope="module")
def staging(fleet: Fleet, forgotten: dict) -> dict:
    """Its Kustomization, Ready: the next commit brought the nodes."""
    commit = fleet.repository.commit({MANIFEST: fleet.begun(MANIFEST)}, message="And its nodes")
    return fleet.ready("cluster-staging", commit)


def test_the_operator_comes_from_git_with_what_the_fleet_says_of_it(on, fleet):
    found = on.api.get("apps/v1", "Deployment", "keelson", "keelson-system")
    image = found["spec"]["template"]["spec"]["containers"][0]["image"]
    assert (image, found["status"]["availableReplicas"]) == ("registry.example.com/keelson:0.1.0", 2)
    account = on.api.get("v1", "ServiceAccount", "keelson", "keelson-system")
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].endswith(":role/keelson")
    holders = {controller.env["POD_NAME"] for controller in on.cloud.controllers}
    lease = on.api.get("coordination.k8s.io/v1", "Lease", "keelson", "keelson-system")["spec"]
    assert len(holders) == 2 and any(name in lease["holderIdentity"] for name in holders)


def test_the_kinds_would_outlive_a_mistake_in_the_operators_file(on, fleet):
    """The kinds are apart from the operator, and neither is taken away with its Kustomization."""
    kinds, operator = fleet.kustomization("keelson-crds"), fleet.kustomization("keelson")
    definitions = "apiextensions.k8s.io_CustomResourceDefinition"
    assert len([one for one in kinds["status"]["inventory"]["entries"] if definitions in one["id"]]) >= 3
    assert not [one for one in operator["status"]["inventory"]["entries"] if definitions in one["id"]]
    assert kinds["spec"]["prune"] is False
    assert kinds["spec"]["deletionPolicy"] == operator["spec"]["deletionPolicy"] == "Orphan"


def test_a_commit_makes_the_cluster_that_runs_what_its_path_says(on, fleet, staging):
    assert on.account().eks.describe_cluster(name="staging")["cluster"]["status"] == "ACTIVE"
    workload = on.cloud.workload.api
    assert fleet.web(replicas=1)["image"].endswith("/shop/web:1.1.0")
    account = workload.get("v1", "ServiceAccount", "web", "shop")
    role = account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert role == f"arn:aws:iam::{ACCOUNT}:role/staging-web"
    facts = workload.get("v1", "ConfigMap", "cluster", "shop")["data"]
    assert facts == {"name": "staging", "region": REGION, "version": "v1.35"}


def test_a_commit_that_mends_another_need_not_wait_for_it(forgotten, staging):
    """Without the feature gate it would, for all of the timeout: 40 minutes."""
    assert conditions(forgotten)["Ready"]["status"] == "Unknown"
    assert "lastAppliedRevision" not in forgotten["status"]
    assert len(staging["status"]["inventory"]["entries"]) == 2


def test_its_kustomization_is_ready_no_sooner_than_the_cluster_and_its_nodes(on, staging):
    passed = conditions(staging)["Ready"]
    assert passed["reason"] == "ReconciliationSucceeded"
    for item in (one("EksCluster", "staging"), one("NodeGroup", "staging-default")):
        ready = on.condition(item)
        assert ready["status"] == "True" and ready["lastTransitionTime"] <= passed["lastTransitionTime"]


def test_what_no_operator_has_looked_at_is_not_healthy(on, staging):
    """kstatus takes a kind without a status for one that is as asked; so there is one from the first moment."""
    for kind, name in (("EksCluster", "staging"), ("NodeGroup", "staging-default")):
        item = on.api.get(API, kind, name, "fleet")
        fresh = {**item, "metadata": {"name": "fresh", "namespace": "fleet"}}
        del fresh["status"]
        path = on.api.path(API, kind, "", "fleet")
        made = on.api.request("POST", path, params={"dryRun": "All"}, json=fresh).json()
        assert made["status"]["observedGeneration"] == -1


def test_a_commit_upgrades_it(on, fleet, staging):
    text = fleet.text(MANIFEST)
    assert NEWEST in text
    commit = fleet.repository.commit({MANIFEST: text}, message="Upgrade staging")
    fleet.ready("cluster-staging", commit)
    for item in (one("EksCluster", "staging"), one("NodeGroup", "staging-default")):
        assert on.status(item)["version"] == "1.36"
    assert on.account().eks.describe_cluster(name="staging")["cluster"]["version"] == "1.36"


def test_a_commit_takes_it_away_and_the_kustomization_stays_until_aws_is_empty(on, fleet, staging):
    files = fleet.of("staging")
    gone = tuple(path for path in files if path.startswith(("management/", "clusters/")))
    fleet.repository.commit({LIST: fleet.listing("staging", "production")}, gone, message="Remove staging")
    until(lambda: not fleet.kustomization("cluster-staging"), SECONDS, "the end of cluster-staging")
    assert on.api.find(API, "EksCluster", "staging", "fleet") is None
    assert on.account().inventory() == {}
    assert conditions(fleet.ready(FLUX))["Ready"]["status"] == "True"


@pytest.fixture(scope="module")
def production(on: Environment, fleet: Fleet) -> Iterator[list[dict]]:
    """After staging has gone."""
    fleet.repository.commit({**fleet.of("production"), LIST: fleet.listing("staging")}, message="Add production")
    items = [one("EksCluster", "production"), one("NodeGroup", "production-default")]
    for item in items:
        until(lambda item=item: on.api.find(API, item["kind"], item["metadata"]["name"], "fleet"), SECONDS, str(item))
    return items


def test_production_waits_for_a_commit_that_approves_its_plan(on, fleet, production):
    mark = on.mark()
    cluster = production[0]
    on.await_condition(cluster, status="False", reason="WaitingForApproval", timeout=SECONDS)
    assert on.writes(mark) == []
    waits = fleet.kustomization("cluster-production")
    assert conditions(waits)["Ready"]["status"] != "True"
    path = "management/clusters/production/cluster.yaml"
    documents = list(yaml.safe_load_all(fleet.text(path)))
    # The plan of the node group comes once its cluster is there.
    for item, document in zip(production, documents, strict=True):
        on.await_condition(item, status="False", reason="WaitingForApproval", timeout=SECONDS)
        document["metadata"]["annotations"] = {"keelson.dev/approve": on.status(item)["plan"]["hash"]}
        commit = fleet.repository.commit({path: yaml.safe_dump_all(documents)}, message=f"Approve {item['kind']}")
    fleet.ready("cluster-production", commit)
    assert fleet.web(replicas=3)["image"].endswith("/shop/web:1.0.0")


def test_every_path_that_the_example_names_is_there():
    """Without any cloud: what people copy hangs together."""
    for path in sorted(FLEET.rglob("*.yaml")):
        for item in yaml.safe_load_all(path.read_text()):
            for named in paths_of(item, path.parent):
                assert named.exists() or named.name.startswith("gotk-"), f"{path.relative_to(FLEET)} names {named}"


def paths_of(item: dict, folder: Path) -> list[Path]:
    kind, spec = item["kind"], item.get("spec", {})
    if kind == "EksCluster":
        return [FLEET / spec["gitops"]["flux"]["path"]]
    if item["apiVersion"].startswith("kustomize.config.k8s.io"):
        return [folder / resource for resource in item["resources"]]
    if kind == "Kustomization" and spec["sourceRef"]["name"] == FLUX:
        return [FLEET / spec["path"]]
    return []
