"""The subset of kustomize that deploy/ uses (resources of files and folders, labels), so that its test needs no kubectl."""

from pathlib import Path

import yaml

from keelson_harness.kubeapi import documents

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
UNDERSTOOD = {"apiVersion", "kind", "resources", "labels"}


def build(folder: Path) -> list[dict]:
    """The objects of a kustomization."""
    path = next(folder / name for name in NAMES if (folder / name).exists())
    kustomization = yaml.safe_load(path.read_text())
    if unknown := kustomization.keys() - UNDERSTOOD:
        raise NotImplementedError(f"{path}: this reader knows no {', '.join(sorted(unknown))}")
    items: list[dict] = []
    for resource in kustomization["resources"]:
        target = (folder / resource).resolve()
        items += build(target) if target.is_dir() else documents(target)
    for label in kustomization.get("labels", []):
        if label.get("includeSelectors"):
            raise NotImplementedError(f"{path}: this reader leaves selectors alone")
        for item in items:
            item["metadata"].setdefault("labels", {}).update(label["pairs"])
    return items
