"""What `flux bootstrap` would commit for a cluster, and what of an object is still ours."""

from __future__ import annotations

import yaml

from keelson_harness.kubeapi import documents
from keelson_harness.paths import CHECKOUT

FLUX = "flux-system"
OURS = "keelson"
NEWER, OLDER = "v2.9.5", "v2.7.5"
SOURCE = ("source.toolkit.fluxcd.io/v1", "GitRepository")
KUSTOMIZATION = ("kustomize.toolkit.fluxcd.io/v1", "Kustomization")
PRUNE = "kustomize.toolkit.fluxcd.io/prune"
ADOPTED = "kustomize.toolkit.fluxcd.io/name"
# What stays ours of what Git has adopted: that nothing is wiped out when its file leaves Git.
KEPT = {f"metadata.annotations.{PRUNE}", "spec.deletionPolicy"}


def components(version: str = NEWER) -> list[dict]:
    """gotk-components.yaml: the agent itself, as the Flux authors ship it and without a word of ours."""
    folder = CHECKOUT / "deploy" / "flux" / version
    return [item for path in sorted(folder.glob("*.yaml")) for item in documents(path)]


def sync(url: str, path: str) -> list[dict]:
    """gotk-sync.yaml."""
    source = {
        "apiVersion": SOURCE[0],
        "kind": SOURCE[1],
        "metadata": {"name": FLUX, "namespace": FLUX},
        "spec": {
            "interval": "2s",
            "ref": {"branch": "main"},
            "secretRef": {"name": FLUX},
            "timeout": "30s",
            "url": url,
        },
    }
    root = {
        "apiVersion": KUSTOMIZATION[0],
        "kind": KUSTOMIZATION[1],
        "metadata": {"name": FLUX, "namespace": FLUX},
        "spec": {
            "interval": "10s",
            "path": f"./{path}",
            "prune": True,
            "sourceRef": {"kind": SOURCE[1], "name": FLUX},
        },
    }
    return [source, root]


def files(path: str, agent: list[dict], synced: list[dict]) -> dict[str, str]:
    """As they lie in the repository."""
    resources = {"gotk-components.yaml": agent, "gotk-sync.yaml": synced}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(resources),
    }
    texts = {name: yaml.safe_dump_all(items) for name, items in resources.items()}
    texts["kustomization.yaml"] = yaml.safe_dump(kustomization)
    return {f"{path}/{FLUX}/{name}": text for name, text in texts.items()}


def place(item: dict) -> tuple[str, str, str, str | None]:
    meta = item["metadata"]
    return item["apiVersion"], item["kind"], meta["name"], meta.get("namespace")


def ours(item: dict) -> set[str]:
    """The fields that are ours by managedFields, as dotted paths."""
    found: set[str] = set()
    for entry in item["metadata"].get("managedFields", []):
        if entry["manager"] == OURS:
            found |= _leaves(entry["fieldsV1"])
    return found


def _leaves(fields: dict, path: tuple[str, ...] = ()) -> set[str]:
    found = set()
    for key, below in fields.items():
        if key == ".":
            continue
        here = (*path, key.removeprefix("f:"))
        found |= _leaves(below, here) if below else {".".join(here)}
    return found
