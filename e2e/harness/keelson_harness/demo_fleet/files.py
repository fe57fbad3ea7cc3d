"""The files of the fleet's repository. Pure."""

from __future__ import annotations

import yaml

from ..aws import REGION

API = "keelson.dev/v1alpha1"
ROLLOUT = "fleet"
BEFORE, AFTER = "1.35", "1.36"
# By ring, which is also the name of its wave.
RINGS = {"canary": ("canary",), "early": ("early-1", "early-2"), "everybody": ("prod-1", "prod-2", "prod-3")}
CLUSTERS = [name for names in RINGS.values() for name in names]
# These have nodes, an API server, and Flux in it.
WITH_WORKLOAD = ("canary", "early-2")
# The one that a mistake is committed for.
BAD = "early-2"
SHOP = "shop"
# The namespace of the smoke test in those clusters.
CHECKS = "checks"
IMAGE = "registry.example.com/shop/web:"
# A letter instead of the last digit.
GOOD, NEXT, TYPO = "1.0.0", "1.1.0", "1.1.O"
SOAK = "5s"
GIT_INTERVAL = "2s"


def cluster_path(name: str) -> str:
    return f"management/clusters/{name}.yaml"


def shop_path(name: str) -> str:
    return f"clusters/{name}/shop.yaml"


def smoke_path(name: str) -> str:
    return f"clusters/{name}/smoke.yaml"


def ring_of(name: str) -> str:
    return next(ring for ring, names in RINGS.items() if name in names)


def text(*items: dict) -> str:
    return yaml.safe_dump_all(items, sort_keys=False)


def cluster(name: str, version: str, url: str) -> str:
    """A cluster; with its nodes and Flux, if it has an API server."""
    spec: dict = {"region": REGION, "version": version}
    item = {
        "apiVersion": API,
        "kind": "EksCluster",
        "metadata": {"name": name, "namespace": "default", "labels": {"ring": ring_of(name)}},
        "spec": spec,
    }
    if name not in WITH_WORKLOAD:
        # No nodes could be read, and no add-on could run.
        spec |= {"network": {"vpc": {"zoneCount": 2, "nat": "None"}}, "addons": []}
        spec["upgrade"] = {"rollout": ROLLOUT, "unreadableNodes": "Ignore"}
        return text(item)
    spec["upgrade"] = {"rollout": ROLLOUT}
    source = {"git": {"url": url, "ref": {"branch": "main"}, "interval": GIT_INTERVAL}}
    spec["gitops"] = {"flux": {"source": source, "path": f"clusters/{name}"}}
    # The Job of the CronJob that Flux applies there.
    smoke = {"name": "smoke", "at": ["AfterControlPlane"], "in": "Workload", "namespace": CHECKS, "job": {"cronJob": {"name": "smoke"}}}
    spec["hooks"] = [smoke]
    nodes = {
        "apiVersion": API,
        "kind": "NodeGroup",
        "metadata": {"name": f"{name}-default", "namespace": "default"},
        "spec": {"clusterRef": {"name": name}, "scaling": {"min": 2, "max": 4}},
    }
    return text(item, nodes)


def rollout(retry: str = "") -> str:
    annotations = {"annotations": {"keelson.dev/retry": retry}} if retry else {}
    check = {"name": "synthetic", "job": {"cronJob": {"namespace": "default", "name": "synthetic"}}}
    # The last wave takes every cluster that no earlier one has.
    waves = [
        {"name": "canary", "selector": {"matchLabels": {"ring": "canary"}}, "soak": SOAK, "checks": [check]},
        {"name": "early", "selector": {"matchLabels": {"ring": "early"}}, "maxConcurrent": 2, "soak": SOAK},
        {"name": "everybody", "selector": {}, "maxConcurrent": 2},
    ]
    return text(
        {
            "apiVersion": API,
            "kind": "FleetRollout",
            "metadata": {"name": ROLLOUT, **annotations},
            "spec": {"clusterSelector": {}, "waves": waves},
        }
    )


def cron_job(name: str, namespace: str, command: str) -> dict:
    """One that never runs by itself: its template is for Jobs of hooks and checks."""
    container = {"name": name, "image": "registry.example.com/tools/curl:8", "command": ["sh", "-c", command]}
    template = {"spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"suspend": True, "schedule": "0 0 1 1 *", "jobTemplate": template},
    }


def smoke() -> str:
    """In a cluster: whether its API server is ready."""
    command = 'curl --fail --silent --show-error --insecure "$CLUSTER_ENDPOINT/readyz"'
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CHECKS}}
    return text(namespace, cron_job("smoke", CHECKS, command))


def checks() -> str:
    """In the management cluster: the test of a wave, which asks the clusters from outside, and the permission to run it."""
    rbac = "rbac.authorization.k8s.io"
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "keelson-jobs", "namespace": "default"},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "keelson-jobs"},
        "subjects": [{"kind": "ServiceAccount", "name": "keelson", "namespace": "keelson-system"}],
    }
    command = 'test -n "$KEELSON_CLUSTERS" && echo "orders went through $KEELSON_CLUSTERS with Kubernetes $KEELSON_TARGET"'
    return text(binding, cron_job("synthetic", "default", command))


def shop(tag: str) -> str:
    """A web server of three Pods, of which two must run at any time."""
    labels = {"app": "web"}
    container = {"name": "web", "image": f"{IMAGE}{tag}"}
    return text(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": SHOP},
            "spec": {
                "replicas": 3,
                # A new Pod takes the place of an old one.
                "strategy": {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "web", "namespace": SHOP},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": labels}},
        },
    )
