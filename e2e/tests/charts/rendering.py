"""Renders the chart and compares objects. No cluster."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import yaml

from keelson_harness.helm import Helm
from keelson_harness.kubeapi import YAML_LOADER
from keelson_harness.paths import DEPLOY

CHART = DEPLOY / "charts" / "keelson"
NAMESPACE = "keelson-system"
# Labels and annotations that Helm's objects have in addition.
HELM_LABELS = ("app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart")
KEEP = "helm.sh/resource-policy"
PART_OF = "app.kubernetes.io/part-of"
CRDS_OFF = {"crds": {"install": False}}


def default_values() -> dict:
    return yaml.safe_load((CHART / "values.yaml").read_text())


def render(helm: Helm, values: dict | None = None, *flags: str, namespace: str = NAMESPACE) -> list[dict]:
    """The objects of `helm template`."""
    text = helm.run("template", "keelson", CHART, "--namespace", namespace, *flags, values=values or {})
    return [item for item in yaml.load_all(text, YAML_LOADER) if item]  # noqa: S506


def nested(path: tuple[str, ...], value: object) -> dict:
    """Values with only that one."""
    for key in reversed(path):
        value = {key: value}
    return value


def merged(below: dict, above: dict) -> dict:
    """As Helm merges values: maps by key, `above` wins."""
    result = copy.deepcopy(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


def canonical(items: list[dict]) -> dict[tuple, dict]:
    """The objects by kind and name, without what only Helm's have, and `part-of`, which components of kustomize do not set."""
    found = {}
    for item in copy.deepcopy(items):
        meta = item["metadata"]
        for key in (*HELM_LABELS, PART_OF):
            meta.get("labels", {}).pop(key, None)
        meta.get("annotations", {}).pop(KEEP, None)
        for empty in [key for key in ("labels", "annotations") if not meta.get(key)]:
            meta.pop(empty, None)
        key = (item["kind"], meta.get("namespace", ""), meta["name"])
        assert key not in found, f"{key} twice"
        found[key] = item
    return found


def facts(items: list[dict]) -> set[str]:
    """`Kind/name path=value` of each scalar."""

    def walk(node: object, path: str) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in node.items():
                yield from walk(value, f"{path}.{key}" if path else str(key))
        elif isinstance(node, list):
            for position, value in enumerate(node):
                yield from walk(value, f"{path}[{position}]")
        else:
            yield f"{path}={node}"

    return {f"{item['kind']}/{item['metadata']['name']} {fact}" for item in items for fact in walk(item, "")}
