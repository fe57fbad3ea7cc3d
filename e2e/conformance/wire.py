"""AWS calls as they are on the wire: which operation a request is, and an answer's body as a tree of wire names. Pure.

AWS's own parser drops what its model does not know. This one keeps it, so that a member which AWS does not return is found.
Protocols: https://smithy.io/2.0/aws/protocols/index.html.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, parse_qsl
from xml.etree import ElementTree

from botocore.exceptions import UnknownServiceError
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape
from keelson_aws.eks.model import Router
from keelson_aws.http import Request

SCOPE = re.compile(r"Credential=([^/,\s]+)/\d{8}/([^/]*)/([^/]+)/aws4_request")
# Names that requests are signed with, where botocore's folder has another.
SERVICES = {"tagging": "resourcegroupstaggingapi", "servicequotas": "service-quotas", "elasticloadbalancing": "elbv2", "monitoring": "cloudwatch"}
# Wrappers of the protocols, which no output shape has.
ENVELOPE = {"requestId", "ResponseMetadata", "RequestId", "RequestID"}


@dataclass(frozen=True)
class Scope:
    """What a signature is for."""

    access_key: str
    region: str
    service: str


def scope_of(authorization: str) -> Scope | None:
    found = SCOPE.search(authorization)
    return Scope(found[1], found[2], SERVICES.get(found[3].lower(), found[3].lower())) if found else None


@functools.cache
def service_model(service: str) -> ServiceModel | None:
    try:
        return ServiceModel(Loader().load_service_model(service, "service-2"), service)
    except UnknownServiceError:
        return None


@functools.cache
def _router(service: str) -> Router:
    model = service_model(service)
    assert model is not None
    return Router(model)


def operation_of(service: str, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[str, set[str]] | None:
    """The operation of a request, and the names of the parameters that it sends. Header names are in lower case."""
    model = service_model(service)
    if model is None:
        return None
    query = target.partition("?")[2]
    protocol = model.resolved_protocol
    if protocol in ("query", "ec2"):
        form = dict(parse_qsl(body.decode("utf-8", "replace") or query, keep_blank_values=True))
        action = form.get("Action", "")
        names = {name.partition(".")[0] for name in form} - {"Action", "Version"}
        return (action, names) if action in model.operation_names else None
    if "x-amz-target" in headers:
        action = headers["x-amz-target"].rpartition(".")[2]
        return (action, set(json.loads(body or b"{}"))) if action in model.operation_names else None
    if protocol == "rest-json":
        found = _router(service).match(Request(method, target, headers, body))
        if found is None:
            return None
        route, labels = found
        sent = set(json.loads(body or b"{}")) | set(parse_qs(query, keep_blank_values=True))
        wire = {member.serialization.get("name", name): name for name, member in route.shape.members.items()}
        return route.operation, set(labels) | {wire[name] for name in sent if name in wire}
    return None


@dataclass
class Answer:
    """An answer's body as a tree of wire names. `error`: its code, empty for a success. lexical: scalars are text, as in XML."""

    shape: Shape | None
    tree: Any
    error: str = ""
    message: str = ""
    lexical: bool = False
    service: str = ""


def read_answer(model: OperationModel, status: int, headers: dict[str, str], body: bytes) -> Answer:
    """Raises ValueError for a body that is not of the service's protocol."""
    answer = _read(model, status, headers, body)
    answer.service = model.service_model.service_name
    return answer


def _read(model: OperationModel, status: int, headers: dict[str, str], body: bytes) -> Answer:
    protocol = model.service_model.resolved_protocol
    if protocol in ("query", "ec2"):
        return _read_xml(model, status, body, protocol)
    tree = json.loads(body or b"{}")
    if not isinstance(tree, dict):
        raise ValueError("not a JSON object")
    if status < 300:
        return Answer(model.output_shape, tree)
    # The code is in the header, or in `__type` with a namespace: AWS's SDKs take the header first.
    code = headers.get("x-amzn-errortype") or tree.get("__type") or tree.get("code") or ""
    code = code.partition(":")[0].rpartition("#")[2]
    shape = next((s for s in model.error_shapes if code in (s.name, s.metadata.get("error", {}).get("code"))), None)
    message = tree.get("message") or tree.get("Message") or ""
    # Every error has a message; some shapes have no member for it.
    dropped = {"__type"} if _has_message(shape) else {"__type", "message", "Message"}
    return Answer(shape, {name: value for name, value in tree.items() if name not in dropped}, code or "(none)", message)


def _has_message(shape: Shape | None) -> bool:
    return shape is None or any(name.lower() == "message" for name in shape.members)


def _read_xml(model: OperationModel, status: int, body: bytes, protocol: str) -> Answer:
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise ValueError(f"not XML: {error}") from error
    if status >= 300:
        path = "Errors/Error" if protocol == "ec2" else "Error"
        found = next((e for e in root.iter() if _tag(e) == "Error"), None)
        if found is None:
            raise ValueError(f"an error without {path}")
        tree = {_tag(child): child.text or "" for child in found}
        return Answer(None, tree, tree.get("Code", "(none)"), tree.get("Message", ""), lexical=True)
    wrapper = model.output_shape.serialization.get("resultWrapper") if model.output_shape else None
    element = next((child for child in root if _tag(child) == wrapper), None) if wrapper else root
    if element is None:
        element = ElementTree.Element("empty")
    content = {} if model.output_shape is None else _structure(model.output_shape, element)
    return Answer(model.output_shape, {n: v for n, v in content.items() if n not in ENVELOPE}, lexical=True)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def wire_names(shape: StructureShape) -> dict[str, tuple[str, Shape]]:
    """Members by their name on the wire. EC2 writes names as they are in `locationName`, like the others."""
    return {
        (member.serialization.get("name") or name): (name, member)
        for name, member in shape.members.items()
        if member.serialization.get("location") in (None, "body")
    }


def _structure(shape: Shape, element: ElementTree.Element) -> dict[str, Any]:
    assert isinstance(shape, StructureShape)
    names = wire_names(shape)
    flat = {
        member.member.serialization.get("name", name): name
        for name, (_, member) in names.items()
        if isinstance(member, ListShape) and member.serialization.get("flattened")
    }
    tree: dict[str, Any] = {}
    for child in element:
        name = _tag(child)
        if name in flat:
            name = flat[name]
        member = names[name][1] if name in names else None
        if isinstance(member, ListShape) and member.serialization.get("flattened"):
            tree.setdefault(name, []).append(_value(member.member, child))
        elif isinstance(member, MapShape) and member.serialization.get("flattened"):
            tree.setdefault(name, {}).update(_entry(member, child))
        else:
            tree[name] = _value(member, child)
    return tree


def _value(shape: Shape | None, element: ElementTree.Element) -> Any:
    if shape is None:
        return {_tag(child): _value(None, child) for child in element} if len(element) else element.text or ""
    if isinstance(shape, StructureShape):
        return _structure(shape, element)
    if isinstance(shape, ListShape):
        # An element with another name stays visible: a list of AWS has one name for its items.
        wanted = shape.member.serialization.get("name", "member")
        wrong = sorted({_tag(child) for child in element} - {wanted})
        return {name: "" for name in wrong} if wrong else [_value(shape.member, child) for child in element]
    if isinstance(shape, MapShape):
        found: dict[str, Any] = {}
        for entry in element:
            found.update(_entry(shape, entry))
        return found
    return element.text or ""


def _entry(shape: MapShape, element: ElementTree.Element) -> dict[str, Any]:
    names = {_tag(child): child for child in element}
    key = names.get(shape.key.serialization.get("name", "key"))
    value = names.get(shape.value.serialization.get("name", "value"))
    return {(key.text or "") if key is not None else "": _value(shape.value, value) if value is not None else ""}
