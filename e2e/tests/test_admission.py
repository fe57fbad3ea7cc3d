"""How the real API server validates manifests: what it accepts and rejects, and which defaults it sets.

No operator runs: the CRDs enforce all of this at admission.
"""

import json
import re
from collections.abc import Iterator

import pytest
import yaml

from admission import API, Rejected, account, cluster, fleet_rollout, gitops, merged, node_group, plan_approval
from keelson_harness.cloud import LocalCloud
from keelson_harness.kubeapi import ApiError, KubeApi, documents
from keelson_harness.paths import CHECKOUT, CRDS, EXAMPLES

# Pages whose manifests a reader copies.
GUIDES = [CHECKOUT / "docs" / "tutorial.md", *sorted((CHECKOUT / "docs" / "how-to").glob("*.md"))]
TABLES = {
    "EksCluster": [(table, table.BASE) for table in (cluster, gitops)],
    "NodeGroup": [(node_group, node_group.BASE)],
    "AwsAccount": [(account, account.BASE)],
    "PlanApproval": [(plan_approval, plan_approval.BASE)],
    "FleetRollout": [(fleet_rollout, fleet_rollout.BASE)],
}


def cases(column: str) -> list:
    return [
        pytest.param(kind, base, case, id=f"{kind}-{case}")
        for kind, tables in TABLES.items()
        for table, base in tables
        for case in getattr(table, column)
    ]


@pytest.fixture(scope="module")
def api() -> Iterator[KubeApi]:
    with LocalCloud(aws=False, git=False, pooled=True) as cloud:
        cloud.install_crds()
        yield cloud.management.api


def manifest(kind: str, spec: dict, name: str = "demo") -> dict:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}


def post(api: KubeApi, item: dict, dry_run: bool = False) -> dict:
    """Creates as `kubectl create` does; strict, so that a misspelt field of a case fails it."""
    path = api.path(
        item["apiVersion"], item["kind"], "", item["metadata"].get("namespace", "default")
    )
    params = {"fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
    return api.request("POST", path, params=params, json=item).json()


def write_status(api: KubeApi, kind: str, status: dict) -> None:
    """Writes status as the operator would."""
    if status:
        api.patch(API, kind, "demo", {"status": status}, subresource="status")


def rejection_message(call) -> str:
    with pytest.raises(ApiError) as rejected:
        call()
    assert rejected.value.code == 422, rejected.value
    return rejected.value.message


def assert_names_field_and_advice(message: str, case: Rejected) -> None:
    # A missing field is named by its parent's path and its own name.
    assert case.where in message, message
    assert case.advice in message, message


@pytest.mark.parametrize(("kind", "base", "case"), cases("INVALID"))
def test_invalid_value_is_rejected_with_advice(api, kind, base, case):
    item = manifest(kind, merged(base, case.change), case.name)
    assert_names_field_and_advice(rejection_message(lambda: post(api, item, dry_run=True)), case)


@pytest.fixture
def create(api) -> Iterator:
    """Creates objects for one test."""
    names: list[tuple[str, str]] = []

    def create_object(kind: str, spec: dict, name: str = "demo") -> dict:
        names.append((kind, name))
        return post(api, manifest(kind, spec, name))

    yield create_object
    for kind, name in names:
        api.delete(API, kind, name)
        api.wait_gone(API, kind, name)


@pytest.mark.parametrize(("kind", "base", "case"), cases("IMMUTABLE"))
def test_edit_of_immutable_field_is_rejected_with_advice(api, create, kind, base, case):
    before = create(kind, merged(base, case.start))
    write_status(api, kind, case.status)
    message = rejection_message(lambda: api.patch(API, kind, "demo", {"spec": case.change}))
    assert_names_field_and_advice(message, case)
    assert api.get(API, kind, "demo")["spec"] == before["spec"]


@pytest.mark.parametrize(("kind", "base", "case"), cases("CHANGEABLE"))
def test_edit_of_mutable_field_is_accepted(api, create, kind, base, case):
    create(kind, merged(base, case.start))
    write_status(api, kind, case.status)
    api.patch(API, kind, "demo", {"spec": case.change})


def test_every_crd_validation_rule_has_a_rejected_case():
    advice = [
        case.advice
        for tables in TABLES.values()
        for table, _ in tables
        for case in (*table.INVALID, *table.IMMUTABLE)
    ]

    def messages(schema: object) -> Iterator[str]:
        if isinstance(schema, dict):
            for rule in schema.get("x-kubernetes-validations", []):
                yield rule["message"]
            for value in schema.values():
                yield from messages(value)
        elif isinstance(schema, list):
            for value in schema:
                yield from messages(value)

    rules = {
        message
        for path in CRDS.glob("*.yaml")
        for crd in documents(path)
        for message in messages(crd)
    }
    assert len(rules) > 80
    assert [rule for rule in sorted(rules) if not any(text in rule for text in advice)] == []


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_examples_are_accepted_unchanged(api, example):
    for item in documents(example):
        namespace = item["metadata"].get("namespace", "default")
        api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        post(api, item, dry_run=True)


@pytest.mark.parametrize("page", GUIDES, ids=lambda path: path.name)
def test_manifests_in_the_guides_are_complete_and_accepted(api, page):
    for block in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        for item in yaml.safe_load_all(block):
            assert {"apiVersion", "kind", "metadata"} <= item.keys(), f"not a complete object:\n{block}"
            if item["apiVersion"] == API:
                namespace = item["metadata"].get("namespace", "default")
                api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
                post(api, item, dry_run=True)


def test_defaults_are_written_into_the_spec(api, create):
    assert create("EksCluster", gitops.BASE)["spec"] == {
        **gitops.BASE,
        "changePolicy": "Automatic",
        "driftPolicy": "Correct",
        "deletionPolicy": "Delete",
        "adoptionPolicy": "Refuse",
        "suspend": False,
        "network": {
            "vpc": {"cidr": "10.0.0.0/16", "zoneCount": 3, "nat": "Single", "publicSubnets": True}
        },
        "kubernetesNetwork": {"ipFamily": "IPv4"},
        "endpointAccess": {"public": True, "publicCidrs": ["0.0.0.0/0"], "private": True},
        "access": {"authenticationMode": "Api", "prune": False},
        "oidcProvider": True,
        "addons": [
            {"name": name, "version": "Default", "conflicts": "Preserve"}
            for name in ("vpc-cni", "kube-proxy", "coredns", "eks-pod-identity-agent")
        ],
        "pruneAddons": False,
        "pruneCoreAddons": "Keep",
        "persistentVolumes": {"deletionPolicy": "Retain"},
        "upgrade": {
            "insights": "Block",
            "soak": "0s",
            "nodeGroups": "Follow",
            "addons": "Follow",
            "allowRollback": False,
            "unreadableNodes": "Block",
        },
        "gitops": {
            "flux": {
                "registry": "ghcr.io/fluxcd",
                "components": [
                    "source-controller",
                    "kustomize-controller",
                    "helm-controller",
                    "notification-controller",
                ],
                "source": {
                    "git": {
                        "url": "https://github.com/acme/fleet",
                        "ref": {"branch": "main"},
                        "interval": "1m",
                    }
                },
                "path": "clusters/demo",
                "interval": "10m",
                "prune": True,
                "facts": True,
            }
        },
    }
    assert create("NodeGroup", node_group.BASE)["spec"] == {
        "clusterRef": {"name": "demo"},
        "scaling": {"min": 2, "max": 4, "desiredPolicy": "Initial"},
        "releaseVersion": "Latest",
        "instanceTypes": ["m7i.large"],
        "capacityType": "OnDemand",
        "subnets": {"tier": "Private"},
        "replacementPolicy": "Refuse",
        "deletionPolicy": "Delete",
        "suspend": False,
    }


def test_list_narrowed_in_git_loses_its_default_items(api):
    """Server-side apply merges set and map lists: 0.0.0.0/0 would remain next to the range that replaces it."""
    item = {
        "apiVersion": "keelson.dev/v1alpha1",
        "kind": "EksCluster",
        "metadata": {"name": "narrowed", "namespace": "default"},
        "spec": json.loads(json.dumps(gitops.BASE)),
    }
    before = api.apply(item, field_manager="flux")["spec"]
    assert before["endpointAccess"]["publicCidrs"] == ["0.0.0.0/0"] and len(before["addons"]) == 4
    item["spec"]["endpointAccess"] = {"publicCidrs": ["203.0.113.0/24"]}
    item["spec"]["addons"] = [{"name": "vpc-cni"}]
    components = ["source-controller", "kustomize-controller"]
    item["spec"]["gitops"]["flux"]["components"] = components
    after = api.apply(item, field_manager="flux")["spec"]
    assert after["endpointAccess"]["publicCidrs"] == ["203.0.113.0/24"]
    assert [addon["name"] for addon in after["addons"]] == ["vpc-cni"]
    assert after["gitops"]["flux"]["components"] == components


def test_lists_with_defaults_are_atomic():
    def lists(schema: dict, path: str) -> Iterator[tuple[str, dict]]:
        if schema.get("type") == "array" and schema.get("default"):
            yield path, schema
        for name, inner in schema.get("properties", {}).items():
            yield from lists(inner, f"{path}.{name}")
        if "items" in schema:
            yield from lists(schema["items"], f"{path}[]")

    found = {
        path: schema.get("x-kubernetes-list-type")
        for crd in (crd for path in CRDS.glob("*.yaml") for crd in documents(path))
        for version in crd["spec"]["versions"]
        for path, schema in lists(version["schema"]["openAPIV3Schema"], crd["spec"]["names"]["kind"])
    }
    assert len(found) >= 4
    assert set(found.values()) == {"atomic"}, found


def test_default_does_not_conflict_with_the_alternative_field(api, create):
    existing = {"existing": {"subnetIds": ["subnet-1", "subnet-2"]}}
    assert create("EksCluster", {**cluster.BASE, "network": existing})["spec"]["network"] == existing
    by_id = {"ids": ["subnet-1"]}
    assert create("NodeGroup", {**node_group.BASE, "subnets": by_id})["spec"]["subnets"] == by_id


CONDITION = {"message": "", "observedGeneration": 1, "lastTransitionTime": "2026-11-21T10:00:00Z"}


def test_ekscluster_columns_match_the_contract(api, create):
    create("EksCluster", cluster.BASE)
    status = {
        "conditions": [{"type": "Ready", "status": "False", "reason": "Upgrading", **CONDITION}],
        "version": "1.33",
        "accountId": "123456789012",
        "endpoint": "https://ABC.gr7.eu-west-1.eks.amazonaws.com",
        "gitops": {"revision": "main@76087da"},
    }
    api.patch(API, "EksCluster", "demo", {"status": status}, subresource="status")
    header, row = api.table(API, "EksCluster", name="demo").splitlines()
    assert header.split() == ["NAME", "READY", "STATUS", "VERSION", "TARGET", "GITOPS", "AGE"]
    assert row.split()[:-1] == ["demo", "False", "Upgrading", "1.33", "1.34", "main@76087da"]
    header, row = api.table(API, "EksCluster", name="demo", wide=True).splitlines()
    assert header.split()[7:] == ["REGION", "ACCOUNT", "ENDPOINT"]
    assert row.split()[7:] == ["eu-west-1", "123456789012", status["endpoint"]]


def test_nodegroup_columns_match_the_contract(api, create):
    create("NodeGroup", {**node_group.BASE, "instanceTypes": ["m7i.large", "m7a.large"]})
    status = {
        "conditions": [{"type": "Ready", "status": "True", "reason": "Available", **CONDITION}],
        "version": "1.33",
        "releaseVersion": "1.33.4-20261101",
        "replicas": 3,
    }
    api.patch(API, "NodeGroup", "demo", {"status": status}, subresource="status")
    header, row = api.table(API, "NodeGroup", name="demo", wide=True).splitlines()
    narrow = ["NAME", "CLUSTER", "READY", "STATUS", "VERSION", "DESIRED", "MIN", "MAX", "AGE"]
    assert header.split() == [*narrow, "TYPE", "CAPACITY", "RELEASE"]
    assert row.split()[:8] == ["demo", "demo", "True", "Available", "1.33", "3", "2", "4"]
    assert row.split()[9:] == ["m7i.large", "OnDemand", "1.33.4-20261101"]
    assert api.table(API, "NodeGroup", name="demo").splitlines()[0].split() == narrow


def test_short_names_match_the_contract(api):
    resources = api.request("GET", f"/apis/{API}").json()["resources"]
    short = {item["kind"]: item.get("shortNames") for item in resources if "/" not in item["name"]}
    assert short == {"EksCluster": ["ekc"], "NodeGroup": ["ng"], "AwsAccount": None, "PlanApproval": ["pa"], "FleetRollout": ["fr"]}


def test_scale_subresource_reads_status_replicas_and_writes_desired(api, create):
    create("NodeGroup", node_group.BASE)
    api.patch(API, "NodeGroup", "demo", {"status": {"replicas": 2}}, subresource="status")
    scaled = api.patch(API, "NodeGroup", "demo", {"spec": {"replicas": 3}}, subresource="scale")
    assert (scaled["spec"]["replicas"], scaled["status"]["replicas"]) == (3, 2)
    assert api.get(API, "NodeGroup", "demo")["spec"]["scaling"]["desired"] == 3
    too_many = {"spec": {"replicas": 5}}
    message = rejection_message(lambda: api.patch(API, "NodeGroup", "demo", too_many, subresource="scale"))
    assert "spec.scaling.desired" in message and "between min and max" in message


def test_node_groups_are_selectable_by_cluster(api, create):
    create("NodeGroup", node_group.BASE, "one")
    create("NodeGroup", {**node_group.BASE, "clusterRef": {"name": "other"}}, "two")
    params = {"fieldSelector": "spec.clusterRef.name=other"}
    found = api.request("GET", api.path(API, "NodeGroup"), params=params).json()["items"]
    assert [item["metadata"]["name"] for item in found] == ["two"]


def test_status_is_a_separate_subresource(api, create):
    """Status cannot be forged through the object, nor a spec changed through its status."""
    create("EksCluster", cluster.BASE)
    api.patch(API, "EksCluster", "demo", {"status": {"arn": "forged"}})
    assert "arn" not in api.get(API, "EksCluster", "demo")["status"]
    api.patch(API, "EksCluster", "demo", {"spec": {"suspend": True}}, subresource="status")
    assert api.get(API, "EksCluster", "demo")["spec"]["suspend"] is False


def test_null_field_equals_an_omitted_field(api):
    """Templates render nulls."""
    nulls = {"roleArn": None, "gitops": None, "logging": None, "addons": None, "changePolicy": None}
    spec = post(api, manifest("EksCluster", {**cluster.BASE, **nulls}), dry_run=True)["spec"]
    assert spec["changePolicy"] == "Automatic" and len(spec["addons"]) == 4
    assert all(spec.get(name) is None for name in ("roleArn", "gitops", "logging"))


def test_misspelt_field_is_rejected_by_strict_validation(api):
    with pytest.raises(ApiError) as rejected:
        post(api, manifest("EksCluster", {**cluster.BASE, "versoin": "1.34"}), dry_run=True)
    assert 'unknown field "spec.versoin"' in rejected.value.message
