"""The objects of Cluster API in a management cluster without its controllers."""

from __future__ import annotations

import yaml

from fleet.environment import Environment
from importing import capa_objects

from . import Reader


def cluster_api_objects(on: Environment, reader: Reader) -> list[tuple[str, str, str]]:
    """The objects of Cluster API for a cluster in AWS, without its controllers. Returns kind, apiVersion and name of each."""
    items = [*yaml.safe_load_all(capa_objects.of(reader.account, "payments", "general", "payments"))]
    infrastructure = {"apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2", "metadata": {"name": "payments", "namespace": "clusters"}, "spec": {}}
    items.append({**infrastructure, "kind": "AWSManagedCluster"})
    kinds = {(item["apiVersion"], item["kind"]) for item in items} | {(infrastructure["apiVersion"], "AWSFargateProfile")}
    on.api.apply_all([open_crd(*version.split("/"), kind) for version, kind in sorted(kinds)])
    for item in items:
        on.api.create({**item, "metadata": {**item["metadata"], "finalizers": ["cluster.x-k8s.io/finalizer"]}})
    return [(item["kind"], item["apiVersion"], item["metadata"]["name"]) for item in items]


def open_crd(group: str, version: str, kind: str) -> dict:
    """A CRD whose objects may have any field."""
    plural, anything = f"{kind.lower()}s", {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        # Of an API that belongs to Kubernetes.
        "metadata": {"name": f"{plural}.{group}", "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}],
        },
    }
