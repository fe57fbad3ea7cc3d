"""The CloudTrail event of each write, as an EventBridge rule delivers it to a queue. Pure.

The formats are CloudTrail's: EKS parameters as sent; EC2 parameters in camel case with lists as sets of items, those of newer
actions wrapped in the name of the request; IAM parameters in camel case.
"""

from __future__ import annotations

import json
import re
import time
import uuid
import xml.etree.ElementTree as ElementTree
from typing import Any

from .call import Call
from .http import Reply

SOURCES = ("ec2", "eks", "iam")
# The region of events of global services.
GLOBAL_REGION = "us-east-1"
# EC2 actions that CloudTrail wraps, with parameters in their original case.
WRAPPED = re.compile(r"(Create|Delete|Modify)(NatGateway|VpcEndpoints?|LaunchTemplate\w*|EgressOnlyInternetGateway|FlowLogs)$")
EXCLUDED_PARAMETERS = ("Action", "Version", "clientRequestToken")


def event_of(call: Call, reply: Reply) -> dict[str, Any] | None:
    """The event of a successful write; None for other calls."""
    if call.service not in SOURCES or not call.write or reply.status >= 300:
        return None
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    region = GLOBAL_REGION if call.service == "iam" else call.region
    event_id = str(uuid.uuid4())
    return {
        "version": "0",
        "id": event_id,
        "detail-type": "AWS API Call via CloudTrail",
        "source": f"aws.{call.service}",
        "account": call.account,
        "time": now,
        "region": region,
        "resources": [],
        "detail": {
            "eventVersion": "1.11",
            "userIdentity": {"type": "AssumedRole" if ":assumed-role/" in call.caller_arn else "IAMUser", "arn": call.caller_arn,
                             "accountId": call.account},
            "eventTime": now,
            "eventSource": f"{call.service}.amazonaws.com",
            "eventName": call.action,
            "awsRegion": region,
            "sourceIPAddress": call.request.peer,
            "userAgent": call.request.headers.get("user-agent", ""),
            "requestParameters": request_parameters(call),
            "responseElements": response_elements(call, reply),
            "requestID": str(uuid.uuid4()),
            "eventID": event_id,
            "readOnly": False,
            "eventType": "AwsApiCall",
            "managementEvent": True,
            "recipientAccountId": call.account,
            "eventCategory": "Management",
        },
    }


def request_parameters(call: Call) -> dict[str, Any]:
    if call.service == "eks":
        return {name: value for name, value in call.params.items() if name not in EXCLUDED_PARAMETERS}
    flat = {name: value for name, value in call.params.items() if name not in EXCLUDED_PARAMETERS}
    if call.service == "ec2" and WRAPPED.match(call.action):
        return {f"{call.action}Request": number_items(nested(flat))}
    if call.action in ("CreateTags", "DeleteTags"):
        names = {"ResourceId": "resourcesSet", "Tag": "tagSet"}
        return {names.get(name, name): in_camel_case({name: value})[set_name(name)] for name, value in nested(flat).items()}
    camel = in_camel_case(nested(flat))
    assert isinstance(camel, dict)
    return camel


def nested(flat: dict[str, str]) -> dict[str, Any]:
    """`Tag.1.Key=a` as {"Tag": [{"Key": "a"}]}."""
    found: dict[str, Any] = {}
    for name, value in flat.items():
        at = found
        *path, last = name.split(".")
        for part in path:
            at = at.setdefault(part, {})
        at[last] = value
    return {name: with_lists(value) for name, value in found.items()}


def with_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    items_by_name = {name: with_lists(one) for name, one in value.items()}
    if items_by_name.keys() == {"member"}:
        return items_by_name["member"]
    return [items_by_name[number] for number in sorted(items_by_name, key=int)] if all(name.isdigit() for name in items_by_name) else items_by_name


def number_items(value: Any) -> Any:
    """CloudTrail's format for lists of wrapped requests: {"tag": 1, "content": ...} for each item."""
    if isinstance(value, dict):
        return {name: number_items(one) for name, one in value.items()}
    if isinstance(value, list):
        items = [{"tag": number, **(one if isinstance(one, dict) else {"content": one})} for number, one in enumerate(map(number_items, value), 1)]
        return items[0] if len(items) == 1 else items
    return value


def set_name(name: str) -> str:
    return f"{camel_case(name)}Set"


def in_camel_case(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for name, one in value.items():
        if isinstance(one, list):
            items = [in_camel_case(item) if isinstance(item, dict) else {camel_case(name): item} for item in one]
            found[set_name(name)] = {"items": items}
        else:
            found[camel_case(name)] = in_camel_case(one)
    return found


def camel_case(name: str) -> str:
    return name[:1].lower() + name[1:]


def response_elements(call: Call, reply: Reply) -> Any:
    try:
        if call.service == "eks":
            return json.loads(reply.body)
        root = ElementTree.fromstring(reply.body)
    except (ValueError, ElementTree.ParseError):
        return None
    if call.service == "iam":
        results = [element for element in root if element.tag.endswith("Result")]
        return of_xml(results[0]) if results else None
    answer = of_xml(root)
    if WRAPPED.match(call.action):
        return {f"{call.action}Response": answer}
    if isinstance(answer, dict) and "return" in answer:
        answer["_return"] = answer.pop("return") == "true"
    return answer


def of_xml(element: ElementTree.Element) -> Any:
    if len(element) == 0:
        return element.text or ""
    found: dict[str, Any] = {}
    for child in element:
        name = camel_case(child.tag.rpartition("}")[2])
        if name == "item":
            found.setdefault("items", []).append(of_xml(child))
        else:
            found[name] = of_xml(child)
    return found
