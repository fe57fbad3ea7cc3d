"""Walks the CRDs' schema along a spec: every field, with its value in the spec. Pure, except for reading crds/."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from keelson_harness.kubeapi import documents
from keelson_harness.paths import CRDS

# The value of a field that a spec does not set; None is YAML's null.
ABSENT = object()
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Field:
    """A field, an item of a list or a value of a map, at a path in one spec."""

    path: Path
    # The path without indexes and map keys: `addons[].version`, `tags{}`.
    name: str
    schema: dict
    value: object

    @property
    def is_set(self) -> bool:
        return self.value is not ABSENT

    @property
    def type(self) -> str:
        return self.schema.get("type", "any")

    @property
    def is_map(self) -> bool:
        return isinstance(self.schema.get("additionalProperties"), dict)


@functools.cache
def spec_schema(kind: str) -> dict:
    for path in sorted(CRDS.glob("*.yaml")):
        for crd in documents(path):
            if crd["spec"]["names"]["kind"] == kind:
                (version,) = crd["spec"]["versions"]
                return version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    raise LookupError(f"no CRD of kind {kind}")


def fields(schema: dict, value: object, path: Path = (), name: str = "") -> Iterator[Field]:
    """Every field below `value`, parents first; only the first item of a list and the first key of a map."""
    if isinstance(value, dict) and "properties" in schema:
        for key, child in schema["properties"].items():
            inner = f"{name}.{key}".lstrip(".")
            yield from _field(child, value.get(key, ABSENT), (*path, key), inner)
    elif isinstance(value, dict) and value and isinstance(schema.get("additionalProperties"), dict):
        key = next(iter(value))
        yield from _field(schema["additionalProperties"], value[key], (*path, key), name + "{}")
    elif isinstance(value, list) and value:
        yield from _field(schema["items"], value[0], (*path, 0), name + "[]")


def _field(schema: dict, value: object, path: Path, name: str) -> Iterator[Field]:
    yield Field(path, name, schema, value)
    if value is not ABSENT:
        yield from fields(schema, value, path, name)


def names(schema: dict, name: str = "") -> set[str]:
    """Names of all fields in the schema."""
    found: set[str] = set()
    for key, child in schema.get("properties", {}).items():
        inner = f"{name}.{key}".lstrip(".")
        found |= {inner} | names(child, inner)
    if isinstance(schema.get("additionalProperties"), dict):
        found |= {name + "{}"} | names(schema["additionalProperties"], name + "{}")
    if "items" in schema:
        found |= {name + "[]"} | names(schema["items"], name + "[]")
    return found


def dotted(path: Path) -> str:
    """`spec.addons[0].version`, as the API server names it."""
    return "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
