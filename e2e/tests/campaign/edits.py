"""Edits of a spec, generated from the schema: toggle, delete, add, remove, reorder, boundary and invalid values of every field. Pure."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

from .manifests import Base
from .schema import ABSENT, Field, Path, dotted, fields, spec_schema

# A string as templates and attackers produce it.
INJECTION = "$(id) ; {{x}}\n"
# Lists and maps are filled with at most one more than this.
MAX_ITEMS = 210
DELETED = object()


@dataclass(frozen=True)
class Edit:
    """One change of one field of a spec, with the resulting spec."""

    kind: str
    base: str
    path: Path
    name: str
    description: str
    spec: dict
    # The new value of the field; None if it is removed.
    value: object

    def __str__(self) -> str:
        return f"{self.kind} ({self.base}) {dotted(self.path)}: {self.description}"


def edits(base: Base) -> list[Edit]:
    """All edits of a base, in the order of the schema."""
    return [
        Edit(
            base.kind,
            base.name,
            field.path,
            field.name,
            description,
            changed(base.spec, field.path, value),
            None if value is DELETED else value,
        )
        for field in fields(spec_schema(base.kind), base.spec)
        if base.edits(field.name)
        for description, value in changes(field, base.samples)
    ]


def changed(spec: dict, path: Path, value: object) -> dict:
    """The spec with another value at the path."""
    result = copy.deepcopy(spec)
    parent = result
    for part in path[:-1]:
        parent = parent[part]
    if value is DELETED:
        del parent[path[-1]]
    else:
        parent[path[-1]] = copy.deepcopy(value)
    return result


def changes(field: Field, samples: dict[str, list]) -> Iterator[tuple[str, object]]:
    """(what, new value) of each change of one field."""
    others = [sample for sample in samples.get(field.name, []) if sample != field.value]
    if not field.is_set:
        yield from (("set", sample) for sample in others)
        yield "null", None
        return
    yield "deleted", DELETED
    yield "null", None
    yield from ((f"replaced by sample {number}", sample) for number, sample in enumerate(others, 1))
    yield from _by_type(field, others)


def _by_type(field: Field, others: list) -> Iterator[tuple[str, object]]:
    schema, value = field.schema, field.value
    match field.type:
        case "boolean":
            yield "toggled", not value
            yield "a string", "yes"
        case "integer":
            yield "a string", "seven"
            yield "a fraction", 1.5
            low, high = schema.get("minimum", 0), schema.get("maximum", 2**31 - 1)
            for description, number in (("minimum", low), ("below the minimum", low - 1), ("maximum", high), ("above the maximum", high + 1)):
                yield description, int(number)
            yield "one more", value + 1
        case "string" if "enum" in schema:
            yield from ((f"{other}", other) for other in schema["enum"] if other != value)
            yield "an unknown value", "Sideways"
            yield "in lower case", value.lower()
        case "string":
            yield "empty", ""
            yield "a number", 7
            yield "an injection", INJECTION
            yield "with a trailing space", f"{value} "
            yield "too long", value + "x" * (schema["maxLength"] + 1 - len(value))
            yield "the longest", value + "x" * (schema["maxLength"] - len(value))
        case "array":
            yield "a string", "x"
            yield "empty", []
            yield "first removed", value[1:]
            yield "last removed", value[:-1]
            yield "reversed", value[::-1]
            yield "first duplicated", [*value, *value[:1]]
            yield "a number added", [*value, 7]
            yield "too many", [*value, *_several(value, schema["maxItems"] + 1 - len(value))]
            for other in others:
                yield "one added", [*value, *[item for item in other if item not in value][:1]]
        case "object" if field.is_map:
            yield "a string", "x"
            yield "empty", {}
            yield "first removed", dict(list(value.items())[1:])
            yield "one added", {**value, "added": next(iter(value.values()), "x")}
            yield "a key with an injection", {**value, INJECTION: "x"}
            yield "a number as value", {**value, "number": 7}
            limit = schema.get("maxProperties", MAX_ITEMS)
            yield "too many", {**value, **{f"more-{n}": "x" for n in range(limit + 1 - len(value))}}
        case "object":
            yield "a string", "x"
            yield "empty", {}
            yield "an unknown field", {**value, "noSuchField": True}


def _several(value: list, times: int) -> list:
    """Distinct items, similar to the first."""
    first = value[0] if value else "x"
    if isinstance(first, dict):
        # The first string of an item identifies it.
        key = next(k for k, v in first.items() if isinstance(v, str))
        return [{**first, key: f"{first[key]}{n}"} for n in range(min(times, MAX_ITEMS))]
    return [f"{first}{n}" for n in range(times)]


__all__ = ["ABSENT", "Edit", "changed", "edits"]
