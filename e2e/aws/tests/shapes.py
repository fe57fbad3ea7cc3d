"""Validates every EKS response in every test against AWS's model: no unknown member, no value of another type."""

from __future__ import annotations

import json
from typing import Any

from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "boolean": (bool,), "integer": (int,), "long": (int,), "timestamp": (int, float), "double": (int, float),
}


def check_eks_answer(operation_model: OperationModel, response_dict: dict[str, Any], **_: Any) -> None:
    if response_dict["status_code"] >= 300:
        code = response_dict["headers"].get("x-amzn-ErrorType", "")
        shape = next((s for s in operation_model.error_shapes if s.name == code), None)
        if shape is not None:
            check(shape, json.loads(response_dict["body"]), code)
        return
    if isinstance(operation_model.output_shape, StructureShape):
        check(operation_model.output_shape, json.loads(response_dict["body"] or b"{}"), operation_model.name)


def check(shape: Shape, value: Any, where: str) -> None:
    if value is None:
        return
    if isinstance(shape, StructureShape):
        assert isinstance(value, dict), f"{where} is not a structure: {value!r}"
        names = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for name, item in value.items():
            assert name in names, f"{where} has no member {name}: AWS does not return it"
            check(names[name], item, f"{where}.{name}")
    elif isinstance(shape, ListShape):
        assert isinstance(value, list), f"{where} is not a list: {value!r}"
        for item in value:
            check(shape.member, item, where)
    elif isinstance(shape, MapShape):
        assert isinstance(value, dict), f"{where} is not a map: {value!r}"
    else:
        kinds = TYPES.get(shape.type_name)
        right = not kinds or (isinstance(value, kinds) and (isinstance(value, bool) == (bool in kinds)))
        assert right, f"{where} is not a {shape.type_name}: {value!r}"
        if shape.metadata.get("enum"):
            assert value in shape.metadata["enum"], f"{where} is not one of {shape.metadata['enum']}: {value!r}"
