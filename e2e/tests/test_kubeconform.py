"""kubeconform accepts what people apply: deploy/ with its components, the chart, the CRDs, the monitoring objects and the examples."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import kustomize
from charts.kubeconform import Kubeconform
from charts.monitoring import monitoring_crds
from charts.rendering import render
from charts.values import all_changed
from fleet.environment import environment
from keelson_harness.helm import Helm
from keelson_harness.kubeapi import documents
from keelson_harness.paths import CHECKOUT, DEPLOY, EXAMPLES

# Not Kubernetes objects: kustomize's own files, CloudFormation, and what tools of other kinds read.
NOT_APPLIED = ("kustomization.yaml", "github/", "charts/", "iam/", "k9s/", "krew/", "rules.yaml", "rules_test.yaml", "scrape-config.yaml", "kube-state-metrics.yaml")
# The templates of CloudFormation, Flux's own manifests, which its kinds come from, and objects of Karpenter, whose kinds its chart installs.
NOT_OURS = ("examples/backstage/", "event-queue/", "flux/v", "karpenter/nodes/")


@pytest.fixture(scope="module")
def kubeconform(tmp_path_factory) -> Iterator[Kubeconform]:
    with environment(git=False, workload=False) as on:
        yield Kubeconform(tmp_path_factory.mktemp("kubeconform"), on.cloud.management.api, [*monitoring_crds(), *agents_crds()])


@pytest.fixture(scope="module")
def helm(tmp_path_factory) -> Helm:
    return Helm(tmp_path_factory.mktemp("helm"))


def agents_crds() -> list[dict]:
    """Of Flux and Argo CD, as the operator installs them."""
    newest = max(DEPLOY.glob("flux/v*"))
    flux = [item for path in newest.glob("*.yaml") for item in documents(path)]
    argocd = [json.loads(line) for line in gzip.decompress((DEPLOY / "argocd" / "install.jsonl.gz").read_bytes()).splitlines()]
    return [item for item in (*flux, *argocd) if item["kind"] == "CustomResourceDefinition"]


def applied() -> list[Path]:
    """The files with objects, also those that no kustomization names."""
    found = [path for folder in (DEPLOY, EXAMPLES, CHECKOUT / "crds") for path in folder.rglob("*.yaml")]
    names = {path: path.relative_to(CHECKOUT).as_posix() for path in found}
    return sorted(path for path, name in names.items() if not any(part in name for part in (*NOT_APPLIED, *NOT_OURS)))


def assert_valid(items: list[dict], kubeconform: Kubeconform) -> None:
    report = kubeconform.check(items)
    assert [f"{one['kind']} {one['name']}: {one['msg']}" for one in report["resources"]] == []
    assert report["summary"] == {"valid": len(items), "invalid": 0, "errors": 0, "skipped": 0}


def test_every_file_with_objects_is_accepted(kubeconform):
    paths = applied()
    assert len(paths) > 30
    assert_valid([item for path in paths for item in documents(path)], kubeconform)


@pytest.mark.parametrize("values", [{}, all_changed()], ids=["defaults", "everything"])
def test_rendered_chart_is_accepted(kubeconform, helm, values):
    assert_valid(render(helm, values), kubeconform)


def test_unknown_fields_wrong_types_and_missing_fields_are_found(kubeconform):
    deployment = next(item for item in kustomize.build(DEPLOY) if item["kind"] == "Deployment")
    cluster = yaml.safe_load((EXAMPLES / "minimal.yaml").read_text().split("\n---\n")[0])
    assert cluster["kind"] == "EksCluster"

    def changed(item: dict, path: str, value: object) -> dict:
        item = copy.deepcopy(item)
        *parents, last = path.split(".")
        parent = item
        for name in parents:
            parent = parent[int(name)] if isinstance(parent, list) else parent[name]
        parent.pop(last) if value is None else parent.update({last: value})
        return item

    broken = [
        changed(deployment, "spec.template.spec.containers.0.resource", {}),
        changed(deployment, "spec.replicas", "two"),
        changed(deployment, "spec.selector", None),
        changed(cluster, "spec.regoin", "eu-west-1"),
        changed(cluster, "spec.version", 1.34),
    ]
    for item in broken:
        summary = kubeconform.check([item])["summary"]
        assert summary["invalid"] == 1, item
