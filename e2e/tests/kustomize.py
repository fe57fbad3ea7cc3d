"""The subset of kustomize that deploy/ uses (resources of files and folders, labels, ConfigMaps of files), so that its test needs no kubectl."""

from pathlib import Path

import yaml

from keelson_harness.kubeapi import documents

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
UNDERSTOOD = {"apiVersion", "kind", "resources", "labels", "configMapGenerator"}


def build(folder: Path) -> list[dict]:
    """The objects of a kustomization, or those that a component adds."""
    path = next(folder / name for name in NAMES if (folder / name).exists())
    kustomization = yaml.safe_load(path.read_text())
    if unknown := kustomization.keys() - UNDERSTOOD:
        raise NotImplementedError(f"{path}: this reader knows no {', '.join(sorted(unknown))}")
    items: list[dict] = []
    for resource in kustomization["resources"]:
        target = (folder / resource).resolve()
        items += build(target) if target.is_dir() else documents(target)
    items += [config_map(folder, generator) for generator in kustomization.get("configMapGenerator", [])]
    for label in kustomization.get("labels", []):
        if label.get("includeSelectors"):
            raise NotImplementedError(f"{path}: this reader leaves selectors alone")
        for item in items:
            item["metadata"].setdefault("labels", {}).update(label["pairs"])
    return items


def config_map(folder: Path, generator: dict) -> dict:
    """The ConfigMap of an entry of `configMapGenerator`."""
    options = generator["options"]
    if generator.keys() != {"name", "namespace", "files", "options"} or options.keys() != {"disableNameSuffixHash", "labels"}:
        raise NotImplementedError(f"{folder}: this reader knows ConfigMaps of files, with labels and without a hash")
    metadata = {"name": generator["name"], "namespace": generator["namespace"], "labels": dict(options["labels"])}
    data = {Path(name).name: (folder / name).read_text() for name in generator["files"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
