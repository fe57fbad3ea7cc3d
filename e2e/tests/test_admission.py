"""What the real API server says to manifests: which it takes, with which defaults, and what it refuses.

No operator runs: all of this is said by the CRDs, before anything is stored.
"""

import json
from collections.abc import Iterator

import pytest

from admission import API, Refused, account, cluster, gitops, merged, node_group, plan_approval
from keelson_harness.cloud import LocalCloud
from keelson_harness.kubeapi import ApiError, KubeApi, documents
from keelson_harness.paths import CRDS, EXAMPLES

TABLES = {
    "EksCluster": [(table, table.BASE) for table in (cluster, gitops)],
    "NodeGroup": [(node_group, node_group.BASE)],
    "AwsAccount": [(account, account.BASE)],
    "PlanApproval": [(plan_approval, plan_approval.BASE)],
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
    with LocalCloud(aws=False, git=False) as cloud:
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
    """Writes what the operator writes about what runs."""
    if status:
        api.patch(API, kind, "demo", {"status": status}, subresource="status")


def refusal(call) -> str:
    with pytest.raises(ApiError) as refused:
        call()
    assert refused.value.code == 422, refused.value
    return refused.value.message


def assert_says(message: str, case: Refused) -> None:
    # A missing field is named by its parent's path and its own name.
    assert case.where in message, message
    assert case.advice in message, message


@pytest.mark.parametrize(("kind", "base", "case"), cases("WRONG"))
def test_a_wrong_value_is_refused_with_what_to_write(api, kind, base, case):
    item = manifest(kind, merged(base, case.change), case.name)
    assert_says(refusal(lambda: post(api, item, dry_run=True)), case)


@pytest.fixture
def made(api) -> Iterator:
    """Makes an object for one test."""
    names: list[tuple[str, str]] = []

    def make(kind: str, spec: dict, name: str = "demo") -> dict:
        names.append((kind, name))
        return post(api, manifest(kind, spec, name))

    yield make
    for kind, name in names:
        api.delete(API, kind, name)
        api.wait_gone(API, kind, name)


@pytest.mark.parametrize(("kind", "base", "case"), cases("IMMUTABLE"))
def test_an_edit_of_what_cannot_change_is_refused_with_what_to_do(api, made, kind, base, case):
    before = made(kind, merged(base, case.start))
    write_status(api, kind, case.status)
    message = refusal(lambda: api.patch(API, kind, "demo", {"spec": case.change}))
    assert_says(message, case)
    assert api.get(API, kind, "demo")["spec"] == before["spec"]


@pytest.mark.parametrize(("kind", "base", "case"), cases("CHANGEABLE"))
def test_an_edit_of_what_can_change_is_taken(api, made, kind, base, case):
    made(kind, merged(base, case.start))
    write_status(api, kind, case.status)
    api.patch(API, kind, "demo", {"spec": case.change})


def test_every_rule_of_the_crds_has_a_case_that_it_refuses():
    advice = [
        case.advice
        for tables in TABLES.values()
        for table, _ in tables
        for case in (*table.WRONG, *table.IMMUTABLE)
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
    assert [rule for rule in sorted(rules) if not any(words in rule for words in advice)] == []


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_examples_are_taken_as_they_are(api, example):
    for item in documents(example):
        namespace = item["metadata"].get("namespace", "default")
        api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        post(api, item, dry_run=True)


def test_defaults_stand_in_the_object(api, made):
    assert made("EksCluster", gitops.BASE)["spec"] == {
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
    assert made("NodeGroup", node_group.BASE)["spec"] == {
        "clusterRef": {"name": "demo"},
        "scaling": {"min": 2, "max": 4, "desiredPolicy": "Initial"},
        "releaseVersion": "Latest",
        "instanceTypes": ["m7i.large"],
        "capacityType": "OnDemand",
        "subnets": {"tier": "Private"},
        "deletionPolicy": "Delete",
        "suspend": False,
    }


def test_a_list_that_git_narrows_loses_what_stood_in_it_by_default(api):
    """Server-side apply merges sets and maps: 0.0.0.0/0 would have stayed beside the range that was meant to replace it."""
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
    fewer = ["source-controller", "kustomize-controller"]
    item["spec"]["gitops"]["flux"]["components"] = fewer
    after = api.apply(item, field_manager="flux")["spec"]
    assert after["endpointAccess"]["publicCidrs"] == ["203.0.113.0/24"]
    assert [addon["name"] for addon in after["addons"]] == ["vpc-cni"]
    assert after["gitops"]["flux"]["components"] == fewer


def test_no_list_with_a_default_is_merged():
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


def test_a_default_does_not_contradict_the_other_choice(api, made):
    existing = {"existing": {"subnetIds": ["subnet-1", "subnet-2"]}}
    assert made("EksCluster", {**cluster.BASE, "network": existing})["spec"]["network"] == existing
    by_id = {"ids": ["subnet-1"]}
    assert made("NodeGroup", {**node_group.BASE, "subnets": by_id})["spec"]["subnets"] == by_id


CONDITION = {"message": "", "observedGeneration": 1, "lastTransitionTime": "2026-11-21T10:00:00Z"}


def test_columns_of_clusters_are_those_of_the_contract(api, made):
    made("EksCluster", cluster.BASE)
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


def test_columns_of_node_groups_are_those_of_the_contract(api, made):
    made("NodeGroup", {**node_group.BASE, "instanceTypes": ["m7i.large", "m7a.large"]})
    status = {
        "conditions": [{"type": "Ready", "status": "True", "reason": "Available", **CONDITION}],
        "version": "1.33",
        "releaseVersion": "1.33.4-20261101",
        "replicas": 3,
    }
    api.patch(API, "NodeGroup", "demo", {"status": status}, subresource="status")
    header, row = api.table(API, "NodeGroup", name="demo", wide=True).splitlines()
    narrow = ["NAME", "CLUSTER", "READY", "STATUS", "VERSION", "DESIRED", "MIN", "MAX", "AGE"]
    assert header.split() == [*narrow, "TYPES", "CAPACITY", "RELEASE"]
    assert row.split()[:8] == ["demo", "demo", "True", "Available", "1.33", "3", "2", "4"]
    assert row.split()[9:] == ['["m7i.large","m7a.large"]', "OnDemand", "1.33.4-20261101"]
    assert api.table(API, "NodeGroup", name="demo").splitlines()[0].split() == narrow


def test_short_names_are_those_of_the_contract(api):
    resources = api.request("GET", f"/apis/{API}").json()["resources"]
    short = {item["kind"]: item.get("shortNames") for item in resources if "/" not in item["name"]}
    assert short == {"EksCluster": ["ekc"], "NodeGroup": ["ng"], "AwsAccount": None, "PlanApproval": ["pa"]}


def test_scale_reads_what_aws_has_and_writes_desired(api, made):
    made("NodeGroup", node_group.BASE)
    api.patch(API, "NodeGroup", "demo", {"status": {"replicas": 2}}, subresource="status")
    scaled = api.patch(API, "NodeGroup", "demo", {"spec": {"replicas": 3}}, subresource="scale")
    assert (scaled["spec"]["replicas"], scaled["status"]["replicas"]) == (3, 2)
    assert api.get(API, "NodeGroup", "demo")["spec"]["scaling"]["desired"] == 3
    too_many = {"spec": {"replicas": 5}}
    message = refusal(lambda: api.patch(API, "NodeGroup", "demo", too_many, subresource="scale"))
    assert "spec.scaling.desired" in message and "from min to max" in message


def test_node_groups_are_found_by_their_cluster(api, made):
    made("NodeGroup", node_group.BASE, "one")
    made("NodeGroup", {**node_group.BASE, "clusterRef": {"name": "other"}}, "two")
    params = {"fieldSelector": "spec.clusterRef.name=other"}
    found = api.request("GET", api.path(API, "NodeGroup"), params=params).json()["items"]
    assert [item["metadata"]["name"] for item in found] == ["two"]


def test_status_is_its_own_subresource(api, made):
    """Status cannot be forged through the object, nor a spec changed through its status."""
    made("EksCluster", cluster.BASE)
    api.patch(API, "EksCluster", "demo", {"status": {"arn": "forged"}})
    assert "arn" not in api.get(API, "EksCluster", "demo")["status"]
    api.patch(API, "EksCluster", "demo", {"spec": {"suspend": True}}, subresource="status")
    assert api.get(API, "EksCluster", "demo")["spec"]["suspend"] is False


def test_null_is_a_field_left_out(api):
    """Templates leave them behind."""
    nulls = {"roleArn": None, "gitops": None, "logging": None, "addons": None, "changePolicy": None}
    made = post(api, manifest("EksCluster", {**cluster.BASE, **nulls}), dry_run=True)["spec"]
    assert made["changePolicy"] == "Automatic" and len(made["addons"]) == 4
    assert all(made.get(name) is None for name in ("roleArn", "gitops", "logging"))


def test_a_misspelt_field_is_refused_by_strict_clients(api):
    with pytest.raises(ApiError) as refused:
        post(api, manifest("EksCluster", {**cluster.BASE, "versoin": "1.34"}), dry_run=True)
    assert 'unknown field "spec.versoin"' in refused.value.message
