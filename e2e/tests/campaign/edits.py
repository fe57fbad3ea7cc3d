"""Edits of a spec, made from the schema: toggle, delete, push, pop, reorder, boundary and wrong values of every field. Pure."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

from .manifests import Base
from .schema import ABSENT, Field, Path, dotted, fields, spec_schema

# What templates and attackers leave in a string.
INJECTION = "$(id) ; {{x}}\n"
# Lists and maps are filled up to one more than this at most.
MANY = 210
DELETED = object()


@dataclass(frozen=True)
class Edit:
    """One change of one field of a spec, and what the spec is then."""

    kind: str
    base: str
    path: Path
    name: str
    what: str
    spec: dict
    # What the field is now; None where it is gone.
    value: object

    def __str__(self) -> str:
        return f"{self.kind} ({self.base}) {dotted(self.path)}: {self.what}"


def edits(base: Base) -> list[Edit]:
    """All edits of a base, in the order of the schema."""
    return [
        Edit(
            base.kind,
            base.name,
            field.path,
            field.name,
            what,
            changed(base.spec, field.path, value),
            None if value is DELETED else value,
        )
        for field in fields(spec_schema(base.kind), base.spec)
        if base.edits(field.name)
        for what, value in changes(field, base.samples)
    ]


def changed(spec: dict, path: Path, value: object) -> dict:
    """The spec with another value at the path."""
    made = copy.deepcopy(spec)
    place = made
    for part in path[:-1]:
        place = place[part]
    if value is DELETED:
        del place[path[-1]]
    else:
        place[path[-1]] = copy.deepcopy(value)
    return made


def changes(field: Field, samples: dict[str, list]) -> Iterator[tuple[str, object]]:
    """(what, new value) of each change of one field."""
    others = [sample for sample in samples.get(field.name, []) if sample != field.value]
    if not field.there:
        yield from (("set", sample) for sample in others)
        yield "null", None
        return
    yield "deleted", DELETED
    yield "null", None
    yield from ((f"exchanged for sample {number}", sample) for number, sample in enumerate(others, 1))
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
            for what, number in (("least", low), ("below the least", low - 1), ("most", high), ("above the most", high + 1)):
                yield what, int(number)
            yield "one more", value + 1
        case "string" if "enum" in schema:
            yield from ((f"{other}", other) for other in schema["enum"] if other != value)
            yield "a word that is none of them", "Sideways"
            yield "in lower case", value.lower()
        case "string":
            yield "empty", ""
            yield "a number", 7
            yield "an injection", INJECTION
            yield "with a space behind", f"{value} "
            yield "too long", value + "x" * (schema["maxLength"] + 1 - len(value))
            yield "the longest", value + "x" * (schema["maxLength"] - len(value))
        case "array":
            yield "a string", "x"
            yield "empty", []
            yield "first popped", value[1:]
            yield "last popped", value[:-1]
            yield "reversed", value[::-1]
            yield "first pushed once more", [*value, *value[:1]]
            yield "a number pushed", [*value, 7]
            yield "too many", [*value, *_several(value, schema["maxItems"] + 1 - len(value))]
            for other in others:
                yield "one pushed", [*value, *[item for item in other if item not in value][:1]]
        case "object" if field.is_map:
            yield "a string", "x"
            yield "empty", {}
            yield "first popped", dict(list(value.items())[1:])
            yield "one pushed", {**value, "pushed": next(iter(value.values()), "x")}
            yield "a key with an injection", {**value, INJECTION: "x"}
            yield "a number as value", {**value, "number": 7}
            limit = schema.get("maxProperties", MANY)
            yield "too many", {**value, **{f"more-{n}": "x" for n in range(limit + 1 - len(value))}}
        case "object":
            yield "a string", "x"
            yield "empty", {}
            yield "a field that there is not", {**value, "noSuchField": True}


def _several(value: list, times: int) -> list:
    """Items like the first that differ from each other."""
    first = value[0] if value else "x"
    if isinstance(first, dict):
        # The first string of an item is what tells it from others.
        key = next(k for k, v in first.items() if isinstance(v, str))
        return [{**first, key: f"{first[key]}{n}"} for n in range(min(times, MANY))]
    return [f"{first}{n}" for n in range(times)]


__all__ = ["ABSENT", "Edit", "changed", "edits"]
