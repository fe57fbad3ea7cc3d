"""SSM public parameters of the EKS node images, which moto lacks. moto answers all other SSM calls."""

from __future__ import annotations

import json
import re
from typing import Any

from .call import Call
from .http import Reply
from .images import newest_announced, image_id, image_name
from .versions import MINORS

AL2023 = re.compile(
    r"/aws/service/eks/optimized-ami/(?P<minor>1\.\d+)/amazon-linux-2023/(?P<arch>x86_64|arm64)/(?P<flavour>[a-z]+)"
    r"/recommended(?:/(?P<what>image_id|image_name|release_version))?"
)
BOTTLEROCKET = re.compile(
    r"/aws/service/bottlerocket/aws-k8s-(?P<minor>1\.\d+)/(?P<arch>x86_64|arm64)/latest/(?P<what>image_id|image_version)"
)

ARCHITECTURES = {"arm64": "ARM_64", "x86_64": "x86_64"}


def answer(call: Call) -> Reply | None:
    """The reply to a call that requests only such parameters; None for any other call."""
    if call.action not in ("GetParameter", "GetParameters"):
        return None
    try:
        request = json.loads(call.request.body)
    except ValueError:
        return None
    names = [request.get("Name")] if call.action == "GetParameter" else request.get("Names") or []
    found = [parameter(call, str(name)) for name in names]
    if not found or not all(found):
        return None
    body: dict[str, Any] = {"Parameter": found[0]} if call.action == "GetParameter" else {"Parameters": found, "InvalidParameters": []}
    return Reply(200, json.dumps(body).encode(), {"Content-Type": "application/x-amz-json-1.1"})


def parameter(call: Call, name: str) -> dict[str, Any] | None:
    value = value_of(call.account, name)
    if value is None:
        return None
    return {
        "Name": name, "Type": "String", "Value": value, "Version": 1, "LastModifiedDate": 1762387200.0,
        "ARN": f"arn:aws:ssm:{call.region}::parameter{name}", "DataType": "text",
    }


def value_of(account: str, name: str) -> str | None:
    found = AL2023.fullmatch(name)
    if found and found["minor"] in MINORS:
        ami_type = f"AL2023_{ARCHITECTURES[found['arch']]}_{found['flavour'].upper()}"
        release = newest_announced(account, found["minor"], ami_type)
        values = {
            "image_id": image_id(found["minor"], ami_type, release),
            "image_name": image_name(found["minor"], ami_type, release),
            "release_version": release,
        }
        return values[found["what"]] if found["what"] else json.dumps(values)
    found = BOTTLEROCKET.fullmatch(name)
    if found and found["minor"] in MINORS:
        ami_type = f"BOTTLEROCKET_{ARCHITECTURES[found['arch']]}"
        release = newest_announced(account, found["minor"], ami_type)
        return release if found["what"] == "image_version" else image_id(found["minor"], ami_type, release)
    return None
