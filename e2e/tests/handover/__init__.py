"""What `flux bootstrap` would commit for a cluster, and which fields of an object Keelson still owns."""

from __future__ import annotations

import yaml

from keelson_harness.kubeapi import documents
from keelson_harness.paths import CHECKOUT

FLUX = "flux-system"
FIELD_MANAGER = "keelson"
NEWER, OLDER = "v2.9.5", "v2.7.5"
SOURCE = ("source.toolkit.fluxcd.io/v1", "GitRepository")
KUSTOMIZATION = ("kustomize.toolkit.fluxcd.io/v1", "Kustomization")
PRUNE_ANNOTATION = "kustomize.toolkit.fluxcd.io/prune"
ADOPTION_LABEL = "kustomize.toolkit.fluxcd.io/name"
# The fields that Keelson keeps of objects that Git has adopted: they prevent deletion when the file leaves Git.
RETAINED_FIELDS = {f"metadata.annotations.{PRUNE_ANNOTATION}", "spec.deletionPolicy"}


def components(version: str = NEWER) -> list[dict]:
    """gotk-components.yaml: the agent as the Flux authors ship it, without Keelson's changes."""
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


def repository_files(path: str, agent: list[dict], synced: list[dict]) -> dict[str, str]:
    """The files as they are in the repository."""
    resources = {"gotk-components.yaml": agent, "gotk-sync.yaml": synced}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(resources),
    }
    texts = {name: yaml.safe_dump_all(items) for name, items in resources.items()}
    texts["kustomization.yaml"] = yaml.safe_dump(kustomization)
    return {f"{path}/{FLUX}/{name}": text for name, text in texts.items()}


def object_key(item: dict) -> tuple[str, str, str, str | None]:
    meta = item["metadata"]
    return item["apiVersion"], item["kind"], meta["name"], meta.get("namespace")


def owned_fields(item: dict) -> set[str]:
    """The fields that Keelson owns according to managedFields, as dotted paths."""
    found: set[str] = set()
    for entry in item["metadata"].get("managedFields", []):
        if entry["manager"] == FIELD_MANAGER:
            found |= _leaves(entry["fieldsV1"])
    return found


def _leaves(fields: dict, path: tuple[str, ...] = ()) -> set[str]:
    found = set()
    for key, below in fields.items():
        if key == ".":
            continue
        key_path = (*path, key.removeprefix("f:"))
        found |= _leaves(below, key_path) if below else {".".join(key_path)}
    return found
