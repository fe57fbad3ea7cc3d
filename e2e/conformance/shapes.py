"""Walks an answer's tree with AWS's model beside it: what contradicts the model, which members there are, and an example
without what belongs to the account. Pure.

botocore ships AWS's service models, so this check has AWS as its source even where nothing was ever recorded from AWS.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from . import scrub
from .fixtures import CONTAINERS, Fixture
from .wire import Answer, service_model, wire_names

JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "character": (str,), "blob": (str,), "boolean": (bool,), "integer": (int,), "long": (int,),
    "timestamp": (int, float, str), "double": (int, float), "float": (int, float),
}
LEXICAL = {
    "boolean": re.compile("true|false"),
    "integer": re.compile(r"-?\d+"),
    "long": re.compile(r"-?\d+"),
    "double": re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?"),
    "float": re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?"),
    "timestamp": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)"),
}
# Lists of values that are incomplete or in another case, and where the model's own text has what AWS returns: structure and member. EC2 writes the
# state of an internet gateway's attachment and of an endpoint, and the type of a NAT gateway's interface, as in these texts.
DOCUMENTED = {
    ("ec2", "AttachmentStatus"): ("InternetGatewayAttachment", "State"),
    ("ec2", "NetworkInterfaceType"): ("DescribeNetworkInterfacesRequest", "Filters"),
    ("ec2", "State"): ("DescribeVpcEndpointsRequest", "Filters"),
}
# Of a number that is a time only the type is kept.
SOME_TIME = 1767225600


@dataclass
class Members:
    """The members of all answers of one kind: path and type, how many structures had each, and how many could have had it."""

    types: dict[str, str] = field(default_factory=dict)
    present: Counter[str] = field(default_factory=Counter)
    parents: Counter[str] = field(default_factory=Counter)
    problems: set[str] = field(default_factory=set)
    _service: str = ""

    def add(self, answer: Answer, where: str) -> Any:
        """Adds an answer; returns it as an example without what belongs to the account."""
        self._service = answer.service
        return self._walk(answer.shape, answer.tree, "", where, answer.lexical)

    def sometimes(self) -> list[str]:
        """Members that some structures lack."""
        return sorted(path for path in self.types if self.present[path] < self.parents[path.rpartition(".")[0]])

    def _walk(self, shape: Shape | None, value: Any, path: str, where: str, lexical: bool, name: str = "") -> Any:
        if isinstance(value, dict) and not isinstance(shape, MapShape):
            return self._structure(shape, value, path, where, lexical)
        if isinstance(shape, StructureShape):
            return self._wrong(shape, value, path, where)
        if isinstance(shape, MapShape):
            if not isinstance(value, dict):
                return self._wrong(shape, value, path, where)
            walked = {scrub.scrub_key(k): self._walk(shape.value, v, f"{path}{{}}", where, lexical) for k, v in sorted(value.items())}
            return walked
        if isinstance(shape, ListShape) or isinstance(value, list):
            if not isinstance(value, list):
                return self._wrong(shape, value, path, where)
            member = shape.member if isinstance(shape, ListShape) else None
            items = [self._walk(member, item, f"{path}[]", where, lexical) for item in value]
            # All items count; one shows what they look like.
            return items[:1]
        return self._scalar(shape, value, path, where, lexical, name)

    def _structure(self, shape: Shape | None, value: dict[str, Any], path: str, where: str, lexical: bool) -> Any:
        if shape is not None and not isinstance(shape, StructureShape):
            return self._wrong(shape, value, path, where)
        names = wire_names(shape) if isinstance(shape, StructureShape) else {}
        self.parents[path] += 1
        example = {}
        for wire, item in value.items():
            if item is None:
                continue
            if isinstance(shape, StructureShape) and wire not in names:
                known = next((n for n in names if n.lower() == wire.lower()), "")
                self.problems.add(f"{where}: {_dotted(path, wire)} is no member of {shape.name}" + (f": it is {known}" if known else ""))
            member = names[wire][1] if wire in names else None
            below = _dotted(path, wire)
            self.types[below] = member.type_name if member is not None else _type_of(item)
            self.present[below] += 1
            example[wire] = self._walk(member, item, below, where, lexical, wire)
        if isinstance(shape, StructureShape):
            by_member = {member: wire for wire, (member, _) in names.items()}
            for required in shape.required_members:
                if required in by_member and value.get(by_member[required]) is None:
                    self.problems.add(f"{where}: {_dotted(path, by_member[required])} is required and missing")
        return example

    def _scalar(self, shape: Shape | None, value: Any, path: str, where: str, lexical: bool, name: str) -> Any:
        kind = shape.type_name if shape is not None else ""
        if lexical and kind in LEXICAL and not LEXICAL[kind].fullmatch(value):
            self.problems.add(f"{where}: {path} is no {kind}")
        elif not lexical and kind in JSON_TYPES:
            right = isinstance(value, JSON_TYPES[kind]) and isinstance(value, bool) == (kind == "boolean")
            if not right:
                return self._wrong(shape, value, path, where)
        enum = shape.metadata.get("enum") if shape is not None else None
        if enum and value not in enum and not self._is_documented(shape, value):
            self.problems.add(f"{where}: {path} is {value!r}, which is not one of {', '.join(map(str, enum))}")
        if kind == "timestamp":
            return SOME_TIME if not isinstance(value, str) else "<timestamp>"
        if shape is not None and enum and isinstance(value, str) and self._is_documented(shape, value):
            return value
        return scrub.scrub_text(shape, name, value) if isinstance(value, str) and not (lexical and kind in LEXICAL) else value

    def wrong_words(self, shape: Shape | None, example: Any, path: str) -> list[str]:
        """Values of an example that are not in the model's lists; a list says that a value is no placeholder."""
        if isinstance(shape, StructureShape) and isinstance(example, dict):
            names = wire_names(shape)
            return [p for n, v in example.items() if n in names for p in self.wrong_words(names[n][1], v, _dotted(path, n))]
        if isinstance(shape, ListShape) and isinstance(example, list):
            return [p for item in example for p in self.wrong_words(shape.member, item, f"{path}[]")]
        enum = shape.metadata.get("enum") if shape is not None else None
        if enum and isinstance(example, str) and example not in enum and not self._is_documented(shape, example):
            return [f"{path} is {example!r}, which is not one of {', '.join(map(str, enum))}"]
        return []

    def _is_documented(self, shape: Shape, value: Any) -> bool:
        place = DOCUMENTED.get((self._service, shape.name))
        model = service_model(self._service) if place else None
        if place is None or model is None:
            return False
        documented = model.shape_for(place[0])
        assert isinstance(documented, StructureShape)
        return f"<code>{value}</code>" in documented.members[place[1]].documentation

    def _wrong(self, shape: Shape | None, value: Any, path: str, where: str) -> str:
        self.problems.add(f"{where}: {path} is a {_type_of(value)}, and a {shape.type_name if shape else 'scalar'} in AWS's model")
        return "<wrong type>"


def contradictions(fixture: Fixture) -> list[str]:
    """Where a fixture's answers contradict AWS's model: a member that the model does not have, or with another type or value."""
    model = service_model(fixture.service)
    if model is None or fixture.operation not in model.operation_names:
        return [f"{fixture.service} {fixture.operation}: unknown to botocore"]
    operation = model.operation_model(fixture.operation)
    found = []
    for reply in fixture.answers:
        name = f"{fixture.service} {fixture.operation}: {reply}"
        errors = {code: shape for shape in operation.error_shapes for code in (shape.name, shape.metadata.get("error", {}).get("code"))}
        shape = errors.get(reply.error) if reply.error else operation.output_shape
        if shape is None or (reply.error and model.resolved_protocol in ("query", "ec2")):
            # Errors of these protocols are an envelope without a shape.
            continue
        members = Members(_service=fixture.service)
        for path, kind in reply.members.items():
            member = _resolve(shape, path)
            if member is None:
                found.append(f"{name}: {path} is not in AWS's model")
            elif member.type_name != kind:
                found.append(f"{name}: {path} is a {kind}, and a {member.type_name} in AWS's model")
        found += [f"{name}: {problem}" for problem in members.wrong_words(shape, reply.example, "")]
    return found


def _resolve(shape: Shape | None, path: str) -> Shape | None:
    """The shape of a member: `a.b[].c`."""
    for part in path.split("."):
        name = CONTAINERS.sub("", part)
        found = wire_names(shape).get(name) if isinstance(shape, StructureShape) else None
        if found is None:
            return None
        shape = found[1]
        for container in re.findall(r"\[\]|\{\}", part):
            if isinstance(shape, ListShape) and container == "[]":
                shape = shape.member
            elif isinstance(shape, MapShape) and container == "{}":
                shape = shape.value
            else:
                return None
    return shape


def _dotted(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _type_of(value: Any) -> str:
    kinds = ((bool, "boolean"), (int, "integer"), (float, "double"), (str, "string"), (list, "list"), (dict, "structure"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")
