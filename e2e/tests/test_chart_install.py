"""The chart on a real API server, with the real Helm and operators in its Pods: installed in an older version with 50 clusters, upgraded,
uninstalled, installed again. No cluster object is lost, and the CRDs are upgraded.

The older version is this chart with an earlier version number and a CRD that lacks a column: no chart was released before. Where the history
of Git is here, as in CI, the first chart that was committed is upgraded too.

Helm 3 only: building Helm 4 as well would take a clone another minute or two. v4.3.1 passed these tests on 2026-11-29; there, taking over
from kustomize also needs `--force-conflicts`, as Helm 4 applies on the server. docs/install.md says so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

import kustomize
from charts.cloud import ChartCloud
from charts.monitoring import monitoring_crds
from charts.rendering import CHART, NAMESPACE, merged, render
from charts.values import all_changed
from keelson_harness.helm import Helm
from keelson_harness.kubeapi import KubeApi, conditions
from keelson_harness.paths import CHECKOUT, DEPLOY

API = "keelson.dev/v1alpha1"
CLUSTERS = 50
BEFORE = "0.0.9"
# A printer column of EksCluster that the older CRD lacks.
NEW_COLUMN = "Version"
FLEET = "fleet"
# The first commit with a chart: 285 fields of three CRDs are younger.
FIRST_CHART = "e653a37ad31fe0831137a39e14a075eb1bc59377"
VALUES = {
    "secrets": {"namespaces": [FLEET]},
    "operator": {"log": {"level": "keelson=debug"}},
    "metrics": {"serviceMonitor": {"enabled": True}},
}


@pytest.fixture(scope="module")
def cloud() -> Iterator[ChartCloud]:
    with ChartCloud(aws=False, git=False, flux=False, management_pods=True) as started:
        started.management.api.apply_all([*monitoring_crds(), namespace(FLEET), *with_pod_security()])
        yield started


@pytest.fixture(scope="module")
def api(cloud: ChartCloud) -> KubeApi:
    return cloud.management.api


@pytest.fixture(scope="module")
def helm(cloud: ChartCloud) -> Helm:
    return Helm(cloud.directory, cloud.management.kubeconfig)


def namespace(name: str) -> dict:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def with_pod_security() -> list[dict]:
    return [item for item in kustomize.build(DEPLOY) if item["kind"] == "Namespace"]


def older_chart(directory: Path, helm: Helm) -> Path:
    """A package of this chart with an earlier version, and without one column of a CRD. (Without a field, its operator would not be ready.)"""
    folder = directory / "older" / "keelson"
    shutil.copytree(CHART, folder)
    description = folder / "Chart.yaml"
    description.write_text(re.sub(r"^(version|appVersion): .*$", rf"\1: {BEFORE}", description.read_text(), flags=re.MULTILINE))
    crd = folder / "templates" / "generated" / "crd-eksclusters.yaml"
    text, removed = re.subn(rf"^    - description: .*\n      jsonPath: .*\n      name: {NEW_COLUMN}\n      type: .*\n", "", crd.read_text(), flags=re.MULTILINE)
    assert removed == 1
    crd.write_text(text)
    helm.run("package", folder, "--destination", directory)
    return directory / f"keelson-{BEFORE}.tgz"


def cluster(number: int) -> dict:
    metadata = {"name": f"c{number:02}", "namespace": FLEET, "labels": {"number": str(number)}}
    spec = {"region": "eu-west-1", "version": "1.36", "tags": {"number": str(number)}}
    return {"apiVersion": API, "kind": "EksCluster", "metadata": metadata, "spec": spec}


@dataclass(frozen=True)
class State:
    """What is on the management cluster."""

    clusters: dict[str, tuple]
    crds: dict[str, str]
    columns: set[str]
    operator: dict[str, str]
    installation: str
    image: str

    @classmethod
    def read(cls, api: KubeApi) -> State:
        crds = [item for item in api.list("apiextensions.k8s.io/v1", "CustomResourceDefinition") if item["spec"]["group"] == "keelson.dev"]
        versions = [crd["spec"]["versions"][0] for crd in crds if crd["spec"]["names"]["kind"] == "EksCluster"]
        items = api.list(API, "EksCluster") if versions else []
        clusters = {item["metadata"]["name"]: (item["metadata"]["uid"], item["metadata"]["generation"], item["spec"]) for item in items}
        columns = {column["name"] for version in versions for column in version["additionalPrinterColumns"]}
        found = [api.find(item["apiVersion"], item["kind"], item["metadata"]["name"], item["metadata"].get("namespace")) for item in operator_objects()]
        deployment = api.find("apps/v1", "Deployment", "keelson", NAMESPACE)
        installation = api.find("v1", "ConfigMap", "keelson-installation", NAMESPACE)
        return cls(
            clusters,
            {crd["metadata"]["name"]: crd["metadata"]["uid"] for crd in crds},
            columns,
            {f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["uid"] for item in found if item},
            installation["data"]["id"] if installation else "",
            deployment["spec"]["template"]["spec"]["containers"][0]["image"] if deployment else "",
        )


def operator_objects() -> list[dict]:
    return [item for item in kustomize.build(DEPLOY) if item["kind"] != "Namespace"]


@dataclass(frozen=True)
class Story:
    """The states in order, and what Helm printed."""

    installed: State
    upgraded: State
    uninstalled: State
    again: State
    taken_over: State
    notes: str
    uninstall: str


@pytest.fixture(scope="module")
def story(cloud: ChartCloud, api: KubeApi, helm: Helm) -> Story:
    release = ("keelson", "--namespace", NAMESPACE)
    waiting = ("--wait", "--timeout", "90s")
    helm.run("install", release[0], older_chart(cloud.directory, helm), *release[1:], *waiting, values=VALUES)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(api.create, map(cluster, range(CLUSTERS))))
    # The operator works: without an AwsAccount it refuses each of them.
    for number in range(CLUSTERS):
        api.wait_condition(API, "EksCluster", f"c{number:02}", "Ready", FLEET, status="False", reason="AccessDenied")
    installed = State.read(api)
    notes = helm.run("upgrade", release[0], CHART, *release[1:], *waiting, values=VALUES)
    upgraded = State.read(api)
    uninstall = helm.run("uninstall", *release, "--wait", "--timeout", "60s")
    uninstalled = State.read(api)
    helm.run("install", release[0], CHART, *release[1:], *waiting)
    again = State.read(api)
    helm.run("uninstall", *release, "--wait", "--timeout", "60s")
    api.apply_all(operator_objects())
    helm.run("install", release[0], CHART, *release[1:], "--take-ownership", *waiting)
    return Story(installed, upgraded, uninstalled, again, State.read(api), notes, uninstall)


def test_install_starts_operators_that_reconcile(story: Story):
    """Helm waited for the readiness of both replicas, and the fixture for the conditions that they wrote."""
    assert len(story.installed.clusters) == CLUSTERS
    assert len(story.installed.operator) == len(operator_objects())
    assert story.installed.image == f"keelson:{BEFORE}" and story.installed.installation


def test_upgrade_changes_no_object(story: Story):
    assert story.upgraded.clusters == story.installed.clusters
    assert story.upgraded.operator == story.installed.operator, "nothing is deleted and created again"
    assert story.upgraded.installation == story.installed.installation
    assert story.upgraded.image == "keelson:0.1.0"


def test_upgrade_upgrades_the_crds(story: Story):
    assert story.upgraded.crds == story.installed.crds
    assert story.upgraded.columns - story.installed.columns == {NEW_COLUMN}


def test_uninstall_keeps_crds_objects_and_the_installation_id(story: Story):
    assert story.uninstalled.clusters == story.installed.clusters
    assert story.uninstalled.crds == story.installed.crds
    assert story.uninstalled.installation == story.installed.installation
    assert story.uninstalled.operator == {}
    assert "kept due to the resource policy" in story.uninstall


def test_new_installation_resumes_with_what_was_kept(story: Story):
    assert story.again.clusters == story.installed.clusters
    assert story.again.crds == story.installed.crds
    assert story.again.installation == story.installed.installation
    assert len(story.again.operator) == len(operator_objects())


def test_installation_by_kustomize_is_taken_over(story: Story):
    assert story.taken_over.clusters == story.installed.clusters
    assert story.taken_over.installation == story.installed.installation
    assert len(story.taken_over.operator) == len(operator_objects())


def test_notes_name_the_next_steps(api: KubeApi, story: Story):
    paths = set(re.findall(r"\b(?:deploy|examples)/[\w./-]+\w", story.notes))
    assert {"deploy/iam/keelson-role.cfn.yaml", "examples/minimal.yaml"} <= paths
    assert [path for path in paths if not (CHECKOUT / path).exists()] == []
    account = re.search(r"<<EOF\n(.*?)EOF", story.notes, re.DOTALL)[1].replace("YOUR-ACCOUNT-ID", "123456789012")
    assert api.apply(yaml.safe_load(account), dry_run=True)["kind"] == "AwsAccount"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"aws": {"roleArn": "arn:aws:iam::123456789012:role/keelson"}}, "uses the role arn:aws:iam::123456789012:role/keelson (IRSA)"),
        ({"extraEnvFrom": [{"secretRef": {"name": "aws"}}]}, "takes credentials from its environment"),
        ({"operator": {"allowAmbientAccount": True}}, "Every namespace may create clusters"),
        ({"admissionPolicies": {"requireAccountRef": True}}, "have to name their AwsAccount"),
        ({"secrets": {"namespaces": []}}, "may read no Secret"),
    ],
    ids=str,
)
def test_notes_follow_the_values(helm: Helm, story: Story, values, expected):
    given = merged(VALUES, values)
    notes = helm.run("upgrade", "keelson", CHART, "--namespace", NAMESPACE, "--dry-run=server", values=given).partition("NOTES:")[2]
    assert expected in " ".join(notes.split())
    assert expected not in " ".join(story.notes.split())


def test_notes_warn_of_an_image_that_no_registry_has(helm: Helm, story: Story):
    assert "Build and push your own image" in story.notes
    values = {"image": {"repository": "registry.example.com/keelson"}}
    notes = helm.run("upgrade", "keelson", CHART, "--namespace", NAMESPACE, "--dry-run=server", values=values)
    assert "Build and push your own image" not in notes


def strict_dry_run(api: KubeApi, item: dict) -> None:
    """Rejects fields that the server would drop."""
    params = {"fieldManager": "test", "force": "true", "dryRun": "All", "fieldValidation": "Strict"}
    headers = {"Content-Type": "application/apply-patch+yaml"}
    api.request("PATCH", api.path_of(item), params=params, data=json.dumps(item), headers=headers)


@pytest.mark.parametrize("values", [{}, all_changed()], ids=["defaults", "everything"])
def test_api_server_accepts_every_rendered_object(api: KubeApi, helm: Helm, story: Story, values):
    # In its own namespace, where no object of the release merges with them.
    for name in ("rendered", "team-a", "team-b", "argocd"):
        api.apply(namespace(name))
    items = render(helm, values, namespace="rendered")
    assert {"ServiceMonitor", "PodMonitor"} <= {item["kind"] for item in items} or not values
    for item in items:
        strict_dry_run(api, item)


# Values that the chart passes on, and the type of Kubernetes that each is (of its items, for a list).
KUBERNETES_TYPES = {
    "affinity": "io.k8s.api.core.v1.Affinity",
    "tolerations": "io.k8s.api.core.v1.Toleration",
    "topologySpreadConstraints": "io.k8s.api.core.v1.TopologySpreadConstraint",
    "imagePullSecrets": "io.k8s.api.core.v1.LocalObjectReference",
    "extraEnv": "io.k8s.api.core.v1.EnvVar",
    "extraEnvFrom": "io.k8s.api.core.v1.EnvFromSource",
    "extraVolumes": "io.k8s.api.core.v1.Volume",
    "extraVolumeMounts": "io.k8s.api.core.v1.VolumeMount",
    "networkPolicy.metricsFrom": "io.k8s.api.networking.v1.NetworkPolicyPeer",
    "networkPolicy.extraEgress": "io.k8s.api.networking.v1.NetworkPolicyEgressRule",
}


@pytest.fixture(scope="module")
def kubernetes_types(api: KubeApi) -> dict:
    return api.request("GET", "/openapi/v2").json()["definitions"]


@pytest.mark.parametrize("path", KUBERNETES_TYPES)
def test_fields_of_values_that_are_passed_on_exist_in_kubernetes(kubernetes_types, path):
    schema = json.loads((CHART / "values.schema.json").read_text())
    node = schema
    for key in path.split("."):
        node = node["properties"][key]
    names = fields(node, schema["definitions"])
    real = fields({"$ref": KUBERNETES_TYPES[path]}, kubernetes_types)
    assert names and names - real == set()


def fields(node: dict, definitions: dict, path: str = "") -> set[str]:
    """The paths of all fields below a schema."""
    while "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]]
    if "items" in node:
        return fields(node["items"], definitions, path)
    found = set()
    for name, child in node.get("properties", {}).items():
        found |= {f"{path}.{name}"} | fields(child, definitions, f"{path}.{name}")
    return found


def chart_of(commit: str, directory: Path) -> Path:
    """The chart of an earlier commit."""
    archive = subprocess.run(["git", "archive", commit, "deploy/charts/keelson"], cwd=CHECKOUT, capture_output=True, check=False)
    if archive.returncode:
        missing = f"the history of Git is not here, as in a shallow clone: {archive.stderr.decode().strip()}"
        if os.environ.get("CI"):
            pytest.fail(f"{missing}. The workflow has to fetch it: fetch-depth: 0")
        pytest.skip(missing)
    directory.mkdir()
    subprocess.run(["tar", "-x", "-C", directory], input=archive.stdout, check=True)
    return directory / "deploy" / "charts" / "keelson"


def crd_fields(api: KubeApi) -> dict[str, set[str]]:
    """The paths of all fields of each CRD."""
    crds = [item for item in api.list("apiextensions.k8s.io/v1", "CustomResourceDefinition") if item["spec"]["group"] == "keelson.dev"]
    return {crd["spec"]["names"]["kind"]: fields(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], {}) for crd in crds}


def test_chart_of_an_earlier_commit_is_upgraded_with_its_crds_and_loses_no_object(cloud: ChartCloud, api: KubeApi, helm: Helm, story: Story):
    earlier = chart_of(FIRST_CHART, cloud.directory / "first-chart")
    release = ("--namespace", NAMESPACE)
    helm.run("uninstall", "keelson", *release, "--wait", "--timeout", "60s")
    # Its Pods run the operator of today, which is not ready with older CRDs and roles: nothing waits for them.
    helm.run("install", "keelson", earlier, *release)
    fields_before, before = crd_fields(api), State.read(api)
    helm.run("upgrade", "keelson", CHART, *release, "--wait", "--timeout", "90s")
    fields_after, after = crd_fields(api), State.read(api)
    assert before.clusters == after.clusters == story.installed.clusters
    assert before.crds == after.crds == story.installed.crds
    assert after.installation == story.installed.installation
    assert before.operator.items() <= after.operator.items(), "nothing is deleted and created again"
    assert len(after.operator) == len(operator_objects())
    for kind in ("EksCluster", "NodeGroup", "AwsAccount"):
        assert fields_before[kind] < fields_after[kind], kind
    assert {kind: found for kind, found in fields_before.items() if not found <= fields_after[kind]} == {}
