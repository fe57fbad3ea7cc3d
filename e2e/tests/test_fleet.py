"""examples/fleet, as users copy it: commits alone create a cluster, deploy what is in its path, upgrade it and delete it.

Flux's real controllers run on both sides. The only actions of a user are commits, and bootstrapping Flux once. Flux also deploys
the operator from Git: its Pods are processes. One cluster at a time, as all share one workload API server.
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
from keelson_harness.kubeapi import KubeApi, conditions
from keelson_harness.paths import CRDS, DEPLOY, EXAMPLES

FLEET = EXAMPLES / "fleet"
FLUX = "flux-system"
KUSTOMIZATION = ("kustomize.toolkit.fluxcd.io/v1", "Kustomization")
CLUSTERS = ("staging", "pilot", "production")
NEWEST, BEFORE = 'version: "1.36"', 'version: "1.35"'
MANIFEST = "management/clusters/staging/cluster.yaml"
LIST = "management/kustomization.yaml"
GIT_INTERVAL = "1s"
KEELSON_TAG = "v0.1.0"
TOKEN = "token-of-the-fleet-repository-77aa"
# The most verbose log level of every module: test_no_secrets_in_output.py searches the log.
MOST_VERBOSE = "trace,aws_config=trace,aws_runtime=trace,aws_sdk_eks=trace,aws_sdk_sts=trace,aws_smithy_runtime=trace,h2=trace,hyper=trace,\
hyper_util=trace,kube_client=trace,kube_runtime=trace,rustls=trace,tower=trace"
# Enough to delete a cluster with its nodes and add-ons, plus Flux's own intervals.
SECONDS = 90


@dataclass
class Fleet:
    """The repository, and its effects on the management cluster."""

    on: Environment
    repository: Repository

    def text(self, path: str) -> str:
        """A file of the example, with the test's repository and shorter intervals. Its tests ask a file instead of the shop."""
        text = (FLEET / path).read_text()
        for address in ("http://web.shop/", "https://staging.shop.example.com/"):
            text = text.replace(address, "file:///dev/null")
        interval = f"interval: {GIT_INTERVAL}"
        text = text.replace("https://github.com/acme/fleet", self.repository.url).replace("retryInterval: 1m", "retryInterval: 2s")
        return text.replace("ref: {branch: main}\n", f"ref: {{branch: main}}\n          {interval}\n")

    def without(self, *clusters: str) -> dict[str, str]:
        """All files of the example, except those clusters."""
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
        """The files that a commit adds for one cluster, without its line in the list."""
        own_folders = (f"management/clusters/{cluster}", f"clusters/{cluster}", f"apps/{cluster}")
        paths = [str(path.relative_to(FLEET)) for path in sorted(FLEET.rglob("*.yaml"))]
        return {path: self.one_minor_behind(path) if path == MANIFEST else self.text(path) for path in paths if path.startswith(own_folders)}

    def one_minor_behind(self, path: str) -> str:
        """A manifest one minor behind the example, to be upgraded."""
        return self.text(path).replace(NEWEST, BEFORE)

    def kustomization(self, name: str) -> dict:
        return self.on.api.find(*KUSTOMIZATION, name, FLUX) or {}

    def ready(self, name: str, commit: str = "", timeout: float = SECONDS) -> dict:
        """Waits until that Kustomization of the management cluster is Ready at that commit."""

        def holds(item: dict) -> bool:
            ready = conditions(item).get("Ready", {})
            status = item.get("status", {})
            return (
                ready.get("status") == "True"
                and status.get("observedGeneration") == item["metadata"]["generation"]
                and commit in status.get("lastAppliedRevision", "")
            )

        return self.on.api.wait(*KUSTOMIZATION, name, holds, FLUX, timeout, f"Ready {commit}")

    def web(self, replicas: int) -> dict:
        """Waits until the workload cluster runs the app of its path. Returns its container."""
        api = self.on.cloud.workload.api

        def runs() -> dict | None:
            found = api.find("apps/v1", "Deployment", "web", "shop") or {}
            return found if found.get("status", {}).get("availableReplicas") == replicas else None

        try:
            found = until(runs, SECONDS, "the app")
        except AssertionError as error:
            ready_conditions = {item["metadata"]["name"]: conditions(item).get("Ready") for item in api.list(*KUSTOMIZATION)}
            raise AssertionError(f"{error}: {ready_conditions}") from None
        return found["spec"]["template"]["spec"]["containers"][0]


def has_feature_gate(on: Environment) -> bool:
    """Whether the running Flux has the feature gate that applies a commit while the previous one still waits."""
    found = on.api.get("apps/v1", "Deployment", "kustomize-controller", FLUX)
    status = found["status"]
    newest = status.get("observedGeneration") == found["metadata"]["generation"] and status.get("replicas") == 1
    args = found["spec"]["template"]["spec"]["containers"][0]["args"]
    return newest and status.get("availableReplicas") == 1 and any("CancelHealthCheckOnNewRevision" in arg for arg in args)


def object_reference(kind: str, name: str) -> dict:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "namespace": "fleet"}}


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(crds=False, management_pods=True) as started:
        started.cloud.operator_flags = (READ_AFTER_WRITE_WINDOW, "--drift-interval=2s", f"--log-level={MOST_VERBOSE}")
        started.cloud.kubelet.namespaces.add("shop")
        # The check of the first ring.
        started.cloud.management_kubelet.namespaces.add("fleet")
        yield started


@pytest.fixture(scope="module")
def fleet(on: Environment) -> Fleet:
    """The example without any cluster, bootstrapped, with its operator."""
    operator = on.cloud.git.repository("keelson")
    operator.commit_directory(CRDS, "crds")
    operator.commit_directory(DEPLOY, "deploy")
    operator.commit(tag=KEELSON_TAG)
    created = Fleet(on, on.cloud.git.repository("fleet"))
    files = created.without(*CLUSTERS)
    files["management/keelson.yaml"] = files["management/keelson.yaml"].replace(
        "https://github.com/acme/keelson", operator.url
    )
    created.repository.commit(files)
    on.cloud.bootstrap(created.repository, "management", GIT_INTERVAL)
    # Flux restarts once with its configuration from the repository.
    until(lambda: has_feature_gate(on), SECONDS, "Flux with the configuration of the repository")
    created.ready("keelson")
    on.apply(secret("fleet-git", "fleet", username="git", password=TOKEN))
    return created


@pytest.fixture(scope="module")
def staging_without_nodes(on: Environment, fleet: Fleet) -> dict:
    """A commit that adds staging without its nodes: the cluster waits for them, and its Kustomization too."""
    files = fleet.of("staging")
    only_cluster, _ = files[MANIFEST].split("---\n")
    files[MANIFEST] = only_cluster
    fleet.repository.commit({**files, LIST: fleet.listing("pilot", "production")}, message="Add staging")
    cluster = object_reference("EksCluster", "staging")
    until(lambda: on.api.find(API, "EksCluster", "staging", "fleet"), SECONDS, "the cluster's object")
    on.await_condition(cluster, status="False", reason="WaitingForNodes", timeout=SECONDS)
    return fleet.kustomization("cluster-staging")


@pytest.fixture(scope="module")
def staging(fleet: Fleet, staging_without_nodes: dict) -> dict:
    """The Ready Kustomization of staging, after the next commit added the nodes."""
    commit = fleet.repository.commit({MANIFEST: fleet.one_minor_behind(MANIFEST)}, message="And its nodes")
    return fleet.ready("cluster-staging", commit)


def test_flux_deploys_operator_with_settings_of_the_fleet_repository(on, fleet):
    found = on.api.get("apps/v1", "Deployment", "keelson", "keelson-system")
    image = found["spec"]["template"]["spec"]["containers"][0]["image"]
    assert (image, found["status"]["availableReplicas"]) == ("registry.example.com/keelson:0.1.0", 2)
    account = on.api.get("v1", "ServiceAccount", "keelson", "keelson-system")
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].endswith(":role/keelson")
    holders = {controller.env["POD_NAME"] for controller in on.cloud.controllers}
    lease = on.api.get("coordination.k8s.io/v1", "Lease", "keelson", "keelson-system")["spec"]
    assert len(holders) == 2 and any(name in lease["holderIdentity"] for name in holders)


def test_crds_are_kept_when_the_operator_manifest_is_wrong(on, fleet):
    """The CRDs have their own Kustomization, and neither CRDs nor operator are deleted with theirs."""
    kinds, operator = fleet.kustomization("keelson-crds"), fleet.kustomization("keelson")
    definitions = "apiextensions.k8s.io_CustomResourceDefinition"
    assert len([one for one in kinds["status"]["inventory"]["entries"] if definitions in one["id"]]) >= 3
    assert not [one for one in operator["status"]["inventory"]["entries"] if definitions in one["id"]]
    assert kinds["spec"]["prune"] is False
    assert kinds["spec"]["deletionPolicy"] == operator["spec"]["deletionPolicy"] == "Orphan"


def test_commit_creates_cluster_that_runs_the_apps_of_its_path(on, fleet, staging):
    assert on.account().eks.describe_cluster(name="staging")["cluster"]["status"] == "ACTIVE"
    workload = on.cloud.workload.api
    assert fleet.web(replicas=1)["image"].endswith("/shop/web:1.1.0")
    account = workload.get("v1", "ServiceAccount", "web", "shop")
    role = account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert role == f"arn:aws:iam::{ACCOUNT}:role/staging-web"
    facts = workload.get("v1", "ConfigMap", "cluster", "shop")["data"]
    assert facts == {"name": "staging", "region": REGION, "version": "v1.35"}


def test_commit_that_fixes_a_waiting_commit_is_applied_at_once(staging_without_nodes, staging):
    """Without the feature gate it would wait for the whole timeout of 40 minutes."""
    assert conditions(staging_without_nodes)["Ready"]["status"] == "Unknown"
    assert "lastAppliedRevision" not in staging_without_nodes["status"]
    assert len(staging["status"]["inventory"]["entries"]) == 2


def test_kustomization_is_ready_only_after_cluster_and_nodes(on, staging):
    passed = conditions(staging)["Ready"]
    assert passed["reason"] == "ReconciliationSucceeded"
    for item in (object_reference("EksCluster", "staging"), object_reference("NodeGroup", "staging-default")):
        ready = on.condition(item)
        assert ready["status"] == "True" and ready["lastTransitionTime"] <= passed["lastTransitionTime"]


def test_object_not_yet_observed_by_an_operator_is_not_healthy(on, staging):
    """kstatus treats an object without a status as current; so there is a status from creation on."""
    for kind, name in (("EksCluster", "staging"), ("NodeGroup", "staging-default")):
        item = on.api.get(API, kind, name, "fleet")
        fresh = {**item, "metadata": {"name": "fresh", "namespace": "fleet"}}
        del fresh["status"]
        path = on.api.path(API, kind, "", "fleet")
        created = on.api.request("POST", path, params={"dryRun": "All"}, json=fresh).json()
        assert created["status"]["observedGeneration"] == -1


def test_stalled_object_makes_its_kustomization_unhealthy_until_a_commit_corrects_it(on, fleet, staging):
    """kstatus counts what is Stalled as failed, so Flux says so at once instead of after the timeout of 40 minutes."""
    text, tags = fleet.one_minor_behind(MANIFEST), "  tags: {stage: staging}\n"
    assert tags in text
    unknown = "  addons: [{name: vpc-cnj}]\n"
    mistake = fleet.repository.commit({MANIFEST: text.replace(tags, tags + unknown)}, message="List an add-on that does not exist")
    on.await_condition(object_reference("EksCluster", "staging"), "Stalled", reason="InvalidSpec", timeout=SECONDS)

    def is_unhealthy(item: dict) -> bool:
        attempted = item.get("status", {}).get("lastAttemptedRevision", "")
        return mistake in attempted and conditions(item).get("Ready", {}).get("status") == "False"

    unhealthy = on.api.wait(*KUSTOMIZATION, "cluster-staging", is_unhealthy, FLUX, SECONDS, "an unhealthy Kustomization")
    ready = conditions(unhealthy)["Ready"]
    assert ready["reason"] == "HealthCheckFailed", ready
    assert "EksCluster/fleet/staging" in ready["message"] and "Failed" in ready["message"], ready
    commit = fleet.repository.commit({MANIFEST: text}, message="Without the add-on")
    fleet.ready("cluster-staging", commit)


def test_commit_upgrades_cluster(on, fleet, staging):
    text = fleet.text(MANIFEST)
    assert NEWEST in text
    commit = fleet.repository.commit({MANIFEST: text}, message="Upgrade staging")
    fleet.ready("cluster-staging", commit)
    for item in (object_reference("EksCluster", "staging"), object_reference("NodeGroup", "staging-default")):
        assert on.status(item)["version"] == "1.36"
    assert on.account().eks.describe_cluster(name="staging")["cluster"]["version"] == "1.36"
    # Its smoke test ran in the cluster, after the control plane and at the end, and nowhere else.
    assert jobs(on.cloud.workload.api, "shop", "hook", "smoke") == [True, True] and jobs(on.api, "fleet", "hook", "smoke") == []
    # The check of its ring runs on the management cluster.
    until(lambda: True in jobs(on.api, "fleet", "check", "shop"), SECONDS, "the check of the ring")
    # It was the turn of its ring, whose soak lasts a day.
    releases = on.api.get(API, "FleetRollout", "fleet")["status"]["releases"]
    assert {(release["state"], release["wave"]) for release in releases} == {("Soaking", "canary")}


def jobs(api: KubeApi, namespace: str, label: str, value: str) -> list[bool]:
    """Of the Jobs with that label of Keelson's: whether each is complete."""
    found = [job for job in api.list("batch/v1", "Job", namespace) if job["metadata"].get("labels", {}).get(f"keelson.dev/{label}") == value]
    return [job.get("status", {}).get("succeeded") == 1 for job in found]


def test_commit_deletes_cluster_and_kustomization_stays_until_aws_is_empty(on, fleet, staging):
    files = fleet.of("staging")
    gone = tuple(path for path in files if path.startswith(("management/", "clusters/")))
    fleet.repository.commit({LIST: fleet.listing(*CLUSTERS)}, gone, message="Remove staging")
    until(lambda: not fleet.kustomization("cluster-staging"), SECONDS, "the deletion of cluster-staging")
    assert on.api.find(API, "EksCluster", "staging", "fleet") is None
    assert on.account().inventory() == {}
    assert conditions(fleet.ready(FLUX))["Ready"]["status"] == "True"


@pytest.fixture(scope="module")
def production(on: Environment, fleet: Fleet) -> Iterator[list[dict]]:
    """Added after staging is deleted."""
    fleet.repository.commit({**fleet.of("production"), LIST: fleet.listing("staging", "pilot")}, message="Add production")
    items = [object_reference("EksCluster", "production"), object_reference("NodeGroup", "production-default")]
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
    # The node group has a plan once its cluster exists.
    for item, document in zip(production, documents, strict=True):
        on.await_condition(item, status="False", reason="WaitingForApproval", timeout=SECONDS)
        document["metadata"]["annotations"] = {"keelson.dev/approve": on.status(item)["plan"]["hash"]}
        commit = fleet.repository.commit({path: yaml.safe_dump_all(documents)}, message=f"Approve {item['kind']}")
    fleet.ready("cluster-production", commit)
    assert fleet.web(replicas=3)["image"].endswith("/shop/web:1.0.0")


def test_every_path_in_the_example_exists():
    """Needs no cloud: the files that users copy are consistent."""
    for path in sorted(FLEET.rglob("*.yaml")):
        for item in yaml.safe_load_all(path.read_text()):
            for path_in_file in paths_of(item, path.parent):
                assert path_in_file.exists() or path_in_file.name.startswith("gotk-"), f"{path.relative_to(FLEET)} names {path_in_file}"


def paths_of(item: dict, folder: Path) -> list[Path]:
    kind, spec = item["kind"], item.get("spec", {})
    if kind == "EksCluster":
        return [FLEET / spec["gitops"]["flux"]["path"]]
    if item["apiVersion"].startswith("kustomize.config.k8s.io"):
        return [folder / resource for resource in item["resources"]]
    if kind == "Kustomization" and spec["sourceRef"]["name"] == FLUX:
        return [FLEET / spec["path"]]
    return []
