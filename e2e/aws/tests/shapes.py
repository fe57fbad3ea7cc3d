"""Validates every answer in every test against AWS's models: no unknown member, no value of another type, none missing that is required."""

from __future__ import annotations

from typing import Any

from botocore.model import OperationModel

from conformance.shapes import Members
from conformance.wire import read_answer


def check_answer(operation_model: OperationModel, response_dict: dict[str, Any], **_: Any) -> None:
    """A handler of boto3's `before-parse`."""
    headers = {name.lower(): value for name, value in response_dict["headers"].items()}
    answer = read_answer(operation_model, response_dict["status_code"], headers, response_dict["body"])
    members = Members()
    members.add(answer, f"{operation_model.service_model.service_name} {operation_model.name} {answer.error}".strip())
    assert not members.problems, "AWS's model contradicts: " + "; ".join(sorted(members.problems))
