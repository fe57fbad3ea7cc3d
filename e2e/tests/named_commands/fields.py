"""The fields of objects that commands of kubectl name: jsonpath expressions and columns, looked up in the CRDs. Pure, but for reading these."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from keelson_harness.paths import CRDS

TEMPLATE = re.compile(r"\{([^{}]*)\}")
COLUMNS, JSONPATH = "custom-columns=", "jsonpath="
METADATA = ("name", "namespace", "creationTimestamp", "deletionTimestamp", "generation", "uid")


def crd_schemas() -> dict[str, dict]:
    """The schema of each kind, by all of its names."""
    found = {}
    for path in CRDS.glob("*.yaml"):
        spec = yaml.safe_load(path.read_text())["spec"]
        (version,) = spec["versions"]
        metadata = {"properties": {name: {} for name in (*METADATA, "labels", "annotations", "finalizers")}}
        schema = version["schema"]["openAPIV3Schema"]
        schema = {**schema, "properties": {**schema["properties"], "kind": {}, "apiVersion": {}, "metadata": metadata}}
        names = spec["names"]
        found |= dict.fromkeys((names["plural"], names["singular"], *names.get("shortNames", [])), schema)
    return found


def named_fields(words: tuple[str, ...]) -> Iterator[str]:
    """The paths that a command of kubectl names, each from the object on."""
    for word in words:
        before, jsonpath, expression = word.partition(JSONPATH)
        if jsonpath and before in ("", "--for=", "--output="):
            yield from of_jsonpath(expression)
        elif word.startswith(COLUMNS):
            yield from (column.partition(":")[2] for column in word.removeprefix(COLUMNS).split(","))


def of_jsonpath(expression: str) -> Iterator[str]:
    """Those within a `range` follow its own."""
    bases = [""]
    for part in TEMPLATE.findall(expression):
        if part == "end":
            bases.pop()
        elif part.startswith("range "):
            bases.append(bases[-1] + part.removeprefix("range "))
            yield bases[-1]
        elif not part.startswith('"'):
            yield bases[-1] + part


def has_field(schema: dict, path: str) -> bool:
    """Whether a path exists. The items of a list are taken by brackets, also those with a filter."""
    for name, brackets in re.findall(r"\.([\w-]+)((?:\[[^\]]*\])*)", path):
        if "x-kubernetes-preserve-unknown-fields" in schema:
            return True
        if name in schema.get("properties", {}):
            schema = schema["properties"][name]
        elif isinstance(schema.get("additionalProperties"), dict):
            schema = schema["additionalProperties"]
        else:
            return False
        if brackets:
            schema = schema.get("items", {})
            filtered = re.findall(r"@\.(\w+)", brackets)
            if not schema or not set(filtered) <= set(schema.get("properties", {})):
                return False
    return True
