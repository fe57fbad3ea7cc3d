"""A fast XML writer for the EC2 describe calls that clients poll, directly from moto's objects.

moto finds each member of each object by trying a list of names on it, then builds dicts, then text; with a few hundred
subnets that takes a tenth of a second. This writer tries the names once per class and caches the result. The names follow
moto's rules (moto.core.serialize): a test compares the output of both writers.
"""

from __future__ import annotations

import datetime
from typing import Any
from xml.sax.saxutils import escape

from botocore import xform_name
from botocore.model import ListShape, OperationModel, Shape, StructureShape

MISSING = object()
FAST_PATH = {
    "DescribeVpcs", "DescribeSubnets", "DescribeNatGateways", "DescribeAddresses", "DescribeRouteTables", "DescribeTags",
    "DescribeInternetGateways", "DescribeVpcEndpoints", "DescribeSecurityGroups", "DescribeNetworkInterfaces",
}


class Member:
    """One member of a structure: its wire name, and the attribute names that an object may have for it."""

    def __init__(self, name: str, shape: Shape, parent: StructureShape) -> None:
        self.name = name
        self.shape = shape
        self.parent = parent
        self.wire = shape.serialization.get("name", name)
        self.write = writer(shape)
        self.found: dict[type, str] = {}
        self.known_names: dict[type, list[str]] = {}

    def names(self, kind: type) -> list[str]:
        if kind in self.known_names:
            return self.known_names[kind]
        names = []
        if self.shape.type_name in ("list", "structure") and self.shape.name != self.name and self.shape.name not in self.parent.members:
            names.append(self.shape.name)
        names.append(self.name)
        if self.name.lower().startswith(self.parent.name.lower()):
            short = self.name[len(self.parent.name):]
            if short not in self.parent.members:
                names.append(short)
        if self.name.lower().startswith(kind.__name__.lower()):
            names.append(self.name[len(kind.__name__):])
        names.append(self.wire)
        variants = self.known_names[kind] = list(dict.fromkeys(variant for name in names if name for variant in (name, xform_name(name))))
        return variants

    def value(self, source: Any) -> Any:
        kind = type(source)
        if kind is dict:
            for name in self.names(dict):
                if name in source:
                    return source[name]
            return None
        known = self.found.get(kind)
        if known is not None:
            value = getattr(source, known, MISSING)
            if value is not MISSING:
                return value
        for name in self.names(kind):
            value = getattr(source, name, MISSING)
            if value is not MISSING:
                self.found[kind] = name
                return value
        return None


def writer(shape: Shape) -> Any:
    if isinstance(shape, StructureShape):
        return Structure(shape)
    if isinstance(shape, ListShape):
        return List(shape)
    return {"boolean": write_boolean, "timestamp": write_timestamp, "integer": write_integer, "long": write_integer}.get(
        shape.type_name, write_text
    )


class Structure:
    def __init__(self, shape: StructureShape) -> None:
        self.shape = shape
        self._members: list[Member] | None = None

    @property
    def members(self) -> list[Member]:
        # Created on first use: shapes can be recursive.
        if self._members is None:
            self._members = [Member(name, shape, self.shape) for name, shape in self.shape.members.items()]
        return self._members

    def __call__(self, value: Any, out: list[str]) -> None:
        for member in self.members:
            content = member.value(value)
            if content is None or content == {}:
                continue
            if content == [] and isinstance(member.write, List):
                out.append(f"<{member.wire}/>")
                continue
            out.append(f"<{member.wire}>")
            member.write(content, out)
            out.append(f"</{member.wire}>")


class List:
    def __init__(self, shape: ListShape) -> None:
        assert isinstance(shape.member, Shape)
        self.wire = shape.member.serialization.get("name", "member")
        self.write = writer(shape.member)

    def __call__(self, value: Any, out: list[str]) -> None:
        for item in value:
            out.append(f"<{self.wire}>")
            self.write(item, out)
            out.append(f"</{self.wire}>")


def write_boolean(value: Any, out: list[str]) -> None:
    out.append("true" if value is True or str(value).lower() == "true" else "false")


def write_integer(value: Any, out: list[str]) -> None:
    out.append(str(int(value)))


def write_timestamp(value: Any, out: list[str]) -> None:
    if isinstance(value, datetime.datetime):
        value = value.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    out.append(str(value))


def write_text(value: Any, out: list[str]) -> None:
    out.append(escape(str(value)))


STRUCTURES: dict[str, Structure] = {}


def write_response(operation: OperationModel, result: Any, request_id: str) -> str:
    """The whole response of an operation."""
    structure = STRUCTURES.get(operation.name)
    if structure is None:
        assert isinstance(operation.output_shape, StructureShape)
        structure = STRUCTURES[operation.name] = Structure(operation.output_shape)
    namespace = operation.metadata.get("xmlNamespace", "http://ec2.amazonaws.com/doc/2016-11-15")
    out = ['<?xml version="1.0" encoding="utf-8"?>\n', f'<{operation.name}Response xmlns="{namespace}">']
    structure(result, out)
    out.append(f"<requestId>{request_id}</requestId></{operation.name}Response>")
    return "".join(out)
