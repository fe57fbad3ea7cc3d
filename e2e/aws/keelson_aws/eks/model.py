"""EKS's REST API from AWS's service model: maps requests to operations and validates parameters against the shapes.

The model is part of botocore, so that paths, members and limits are AWS's own.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from ..errors import AwsError
from ..http import Request

LABEL = re.compile(r"\{(\w+)\+?\}")


@dataclass(frozen=True)
class Route:
    operation: str
    pattern: re.Pattern[str]
    labels: tuple[str, ...]
    shape: StructureShape
    literals: int


def load_model() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("eks", "service-2"), "eks")


class Router:
    def __init__(self, model: ServiceModel) -> None:
        self.routes: dict[str, list[Route]] = {}
        for name in model.operation_names:
            operation = model.operation_model(name)
            self.routes.setdefault(operation.http["method"], []).append(route_of(operation))
        for routes in self.routes.values():
            # A literal segment has precedence over a label: /addons/configuration-schemas is not an add-on name.
            routes.sort(key=lambda route: -route.literals)

    def match(self, request: Request) -> tuple[Route, dict[str, str]] | None:
        path = request.path.rstrip("/") or "/"
        for route in self.routes.get(request.method, ()):
            found = route.pattern.fullmatch(path)
            if found:
                return route, {label: unquote(found[index + 1]) for index, label in enumerate(route.labels)}
        return None


def route_of(operation: OperationModel) -> Route:
    uri = operation.http["requestUri"].partition("?")[0]
    shape = operation.input_shape
    assert isinstance(shape, StructureShape)
    members = {m.serialization.get("name", n): n for n, m in shape.members.items() if m.serialization.get("location") == "uri"}
    labels = tuple(members[name] for name in LABEL.findall(uri))
    # An ARN may have unescaped slashes; it is always the last part of /tags.
    one = "(.+)" if uri.startswith("/tags/") else "([^/]+)"
    pattern = re.compile("".join(one if LABEL.fullmatch(part) else re.escape(part) for part in re.split(r"(\{\w+\+?\})", uri)))
    return Route(operation.name, pattern, labels, shape, sum(1 for part in uri.split("/") if part and not LABEL.fullmatch(part)))


def read_parameters(route: Route, labels: dict[str, str], request: Request) -> dict[str, Any]:
    """All parameters of the request by member name, validated against their shapes."""
    values: dict[str, Any] = dict(labels)
    query = parse_qs(request.query, keep_blank_values=True) if request.query else {}
    body: dict[str, Any] = {}
    if request.body:
        try:
            body = json.loads(request.body)
        except ValueError as error:
            raise AwsError("SerializationException", "Could not parse the request's body as JSON") from error
        if not isinstance(body, dict):
            raise AwsError("SerializationException", "The request's body is not a JSON object")
    for name, member in route.shape.members.items():
        location = member.serialization.get("location")
        wire = member.serialization.get("name", name)
        if location == "querystring":
            if wire in query:
                values[name] = from_query(member, query[wire])
        elif location is None and body.get(wire) is not None:
            values[name] = body[wire]
    check(route.shape, values, "")
    return values


def from_query(shape: Shape, values: list[str]) -> Any:
    if isinstance(shape, ListShape):
        return values
    if shape.type_name == "integer":
        return int(values[-1]) if values[-1].lstrip("-").isdigit() else values[-1]
    if shape.type_name == "boolean":
        return {"true": True, "false": False}.get(values[-1].lower(), values[-1])
    return values[-1]


def invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "long": (int,), "boolean": (bool,), "double": (int, float), "float": (int, float),
}


def check(shape: Shape, value: Any, where: str) -> None:
    """Raises InvalidParameterException if a value does not match its shape: required members, type, limits, pattern, enum."""
    if isinstance(shape, StructureShape):
        if not isinstance(value, dict):
            raise invalid(f"Value at '{where}' must be a structure")
        for name in shape.required_members:
            if value.get(name) is None:
                raise invalid(f"Parameter '{dotted(where, name)}' is required")
        for name, member in shape.members.items():
            if value.get(name) is not None:
                check(member, value[name], dotted(where, name))
        return
    if isinstance(shape, ListShape):
        if not isinstance(value, list):
            raise invalid(f"Value at '{where}' must be a list")
        check_size(shape, len(value), where)
        for item in value:
            check(shape.member, item, where)
        return
    if isinstance(shape, MapShape):
        if not isinstance(value, dict):
            raise invalid(f"Value at '{where}' must be a map")
        check_size(shape, len(value), where)
        for key, item in value.items():
            check(shape.key, key, where)
            check(shape.value, item, where)
        return
    kinds = KINDS.get(shape.type_name)
    if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
        raise invalid(f"Value at '{where}' must be of type {shape.type_name}")
    enum = shape.metadata.get("enum")
    if enum and value not in enum:
        raise invalid(f"Value '{value}' at '{where}' failed to satisfy constraint: Member must satisfy enum value set: [{', '.join(enum)}]")
    pattern = shape.metadata.get("pattern")
    if pattern and isinstance(value, str) and not re.fullmatch(pattern, value):
        raise invalid(f"The {where} parameter contains invalid characters. It should match the pattern {pattern}")
    check_size(shape, len(value) if isinstance(value, str) else value, where)


def check_size(shape: Shape, size: Any, where: str) -> None:
    if isinstance(size, bool) or not isinstance(size, (int, float)):
        return
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        raise invalid(f"Value at '{where}' failed to satisfy constraint: Member must have value or length greater than or equal to {low}")
    if high is not None and size > high:
        raise invalid(f"Value at '{where}' failed to satisfy constraint: Member must have value or length less than or equal to {high}")


def dotted(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
