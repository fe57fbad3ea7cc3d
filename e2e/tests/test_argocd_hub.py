"""The Argo CD of the management cluster uses what `registerWith: ArgoCd` writes.

Its application controller, repo-server and ApplicationSet controller are the real ones, with Argo CD's own plugin for AWS authentication, whose
token the emulator checks as EKS does. argocd-server does not run.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import pytest
import yaml

from fleet.environment import Environment, environment, stays, until
from fleet.manifests import cluster, namespace
from keelson_harness.aws import ACCOUNT, REGION
from keelson_harness.git import Repository
from keelson_harness.kubeapi import conditions, documents
from keelson_harness.paths import DEPLOY

ARGO, ARGOCD = "argoproj.io/v1alpha1", "argocd"
CLUSTER_WIDE = ("CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding")
FINALIZER = "resources-finalizer.argocd.argoproj.io"
ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
TEAM = "shop"


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(flux=False, argocd=True, management_pods=True) as started:
        started.apply(namespace(TEAM), namespace(ARGOCD), *documents(DEPLOY / "argocd-registration" / "rbac.yaml"))
        started.start("--argocd-namespace=argocd")
        yield started


@pytest.fixture(scope="module")
def role(on) -> str:
    """The IAM role of Argo CD's Pods."""
    return on.account().role("argocd", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"})


@pytest.fixture(scope="module")
def hub(on, role) -> None:
    """Argo CD on the management cluster, with credentials of its role."""
    session = on.account().client("sts").assume_role(RoleArn=role, RoleSessionName="argocd")["Credentials"]
    identity = {
        "AWS_ACCESS_KEY_ID": session["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
        "AWS_SESSION_TOKEN": session["SessionToken"], "AWS_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true",
    }
    items = [json.loads(line) for line in gzip.decompress((DEPLOY / "argocd" / "install.jsonl.gz").read_bytes()).splitlines()]
    for item in items:
        if item["kind"] not in CLUSTER_WIDE:
            item["metadata"]["namespace"] = ARGOCD
        if item["kind"] == "StatefulSet":
            [container] = item["spec"]["template"]["spec"]["containers"]
            container["env"] = [*container.get("env", []), *({"name": name, "value": value} for name, value in identity.items())]
    on.apply(*items)
    # By the name of clusters, as docs/tenancy.md says.
    project = {"sourceRepos": ["*"], "destinations": [{"name": f"{TEAM}.*", "namespace": "*"}], "clusterResourceWhitelist": [{"group": "*", "kind": "*"}]}
    on.apply({"apiVersion": ARGO, "kind": "AppProject", "metadata": {"name": TEAM, "namespace": ARGOCD}, "spec": project})


@pytest.fixture(scope="module")
def repository(on) -> Repository:
    found = on.cloud.git.repository("platform")
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app", "namespace": "default"}, "data": {"of": "platform"}}
    found.commit({"app/app.yaml": yaml.safe_dump(item)})
    return found


def application_set(name: str, url: str, **labels: str) -> dict:
    template = {
        "metadata": {"name": f"{name}-{{{{.nameNormalized}}}}", "finalizers": [FINALIZER]},
        "spec": {
            "project": TEAM,
            "source": {"repoURL": url, "path": "app", "targetRevision": "main"},
            "destination": {"name": "{{.name}}", "namespace": "default"},
            "info": [{"name": "vpc", "value": "{{.metadata.annotations.vpc_id}}"}],
            "syncPolicy": {"automated": {}},
        },
    }
    spec = {"goTemplate": True, "generators": [{"clusters": {"selector": {"matchLabels": labels}}}], "template": template}
    return {"apiVersion": ARGO, "kind": "ApplicationSet", "metadata": {"name": name, "namespace": ARGOCD}, "spec": spec}


def applications(on: Environment) -> dict[str, dict]:
    return {item["metadata"]["name"]: item for item in on.api.list(ARGO, "Application", ARGOCD)}


@pytest.fixture(scope="module")
def payments(on, role, hub, repository) -> dict:
    """A registered cluster that lets Argo CD in, and ApplicationSets of its team and of another."""
    on.apply(
        application_set("ours", repository.url, **{"keelson.dev/namespace": TEAM}),
        application_set("theirs", repository.url, **{"keelson.dev/namespace": "platform"}),
    )
    access = {"entries": [{"principalArn": role, "policies": [{"policyArn": ADMIN}]}]}
    item = cluster("payments", TEAM, addons=[], registerWith="ArgoCd", access=access)
    on.apply(item)
    on.ready(item, timeout=120)
    return item


def deployed(on: Environment) -> dict | None:
    return on.cloud.workload.api.find("v1", "ConfigMap", "app")


def test_application_set_deploys_to_the_cluster_with_argo_cds_own_identity(on, payments):
    until(lambda: deployed(on), 120, "the object of the Application")
    until(lambda: applications(on)["ours-shop.payments"].get("status", {}).get("sync", {}).get("status") == "Synced", 60, "Synced")
    found = applications(on)["ours-shop.payments"]
    assert found["spec"]["destination"]["name"] == "shop.payments"
    assert found["spec"]["info"] == [{"name": "vpc", "value": on.status(payments)["network"]["vpcId"]}]


def test_application_set_of_another_team_does_not_select_it(on, payments):
    until(lambda: "ours-shop.payments" in applications(on), 60, "the Application")
    until(lambda: "theirs" in {item["metadata"]["name"] for item in on.api.list(ARGO, "ApplicationSet", ARGOCD)}, 10)
    stays(lambda: applications(on).keys() == {"ours-shop.payments"}, 3, "one Application")


def test_application_with_a_finalizer_does_not_outlive_the_cluster(on, payments):
    until(lambda: FINALIZER in applications(on)["ours-shop.payments"]["metadata"].get("finalizers", []), 60, "its finalizer")
    assert conditions(on.api.get(ARGO, "ApplicationSet", "ours", ARGOCD)).get("ErrorOccurred", {}).get("status") == "False"
    on.delete(payments, timeout=120)
    until(lambda: not applications(on), 60, "the end of the Application")
