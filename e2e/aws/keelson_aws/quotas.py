"""Service quotas: limits for each account and region, which the calls that use them up obey, and Service Quotas' reads of them.

Without a value of its own an account has the emulator's default, which is higher than AWS's, as many tests share an account.
Codes and messages: https://docs.aws.amazon.com/general/latest/gr/vpc-service.html, https://docs.aws.amazon.com/general/latest/gr/eks.html,
https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html; errors:
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES

from .call import Call
from .errors import AwsError
from .http import Reply


@dataclass(frozen=True)
class Quota:
    service: str
    name: str
    default: float
    adjustable: bool = True


# By quota code. The default of AWS is in the comment where ours is another.
QUOTAS = {
    "L-F678F1CE": Quota("vpc", "VPCs per Region", 1000),  # 5
    "L-A4707A72": Quota("vpc", "Internet gateways per Region", 1000),  # 5
    "L-FE5A380F": Quota("vpc", "NAT gateways per Availability Zone", 1000),  # 5
    "L-0263D0A3": Quota("ec2", "EC2-VPC Elastic IPs", 5000),  # 5
    "L-1216C47A": Quota("ec2", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 100_000),  # 5
    "L-DB2E81BA": Quota("ec2", "Running On-Demand G and VT instances", 100_000),  # 0
    "L-417A185B": Quota("ec2", "Running On-Demand P instances", 100_000),  # 0
    "L-34B43A08": Quota("ec2", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", 100_000),  # 5
    "L-3819A6DF": Quota("ec2", "All G and VT Spot Instance Requests", 100_000),  # 0
    "L-7212CCBC": Quota("ec2", "All P Spot Instance Requests", 100_000),  # 0
    "L-1194D53C": Quota("eks", "Clusters", 1000),  # 100
    "L-6D54EA21": Quota("eks", "Managed node groups per cluster", 30),
}
# Quotas of vCPUs, On-Demand and Spot, by the letters of the instance families; other families have quotas that are not modelled.
STANDARD, GRAPHICS, P = ("L-1216C47A", "L-34B43A08"), ("L-DB2E81BA", "L-3819A6DF"), ("L-417A185B", "L-7212CCBC")
FAMILIES = {"p": P, **dict.fromkeys(("g", "gr", "vt"), GRAPHICS), **dict.fromkeys(("dl", "f", "hpc", "inf", "mac", "trn", "u", "x"), ("", ""))}
VPCS, GATEWAYS, NATS, ADDRESSES, CLUSTERS, NODE_GROUPS = "L-F678F1CE", "L-A4707A72", "L-FE5A380F", "L-0263D0A3", "L-1194D53C", "L-6D54EA21"

# By account, region and code: what `POST /_keelson/quotas` set.
_applied: dict[tuple[str, str, str], float] = {}


def clear() -> None:
    _applied.clear()


def set_value(posted: dict[str, Any]) -> None:
    """{"account", "region", "code", "value"}."""
    if posted["code"] not in QUOTAS:
        raise ValueError(f"unknown quota {posted['code']!r}; known: {', '.join(QUOTAS)}")
    _applied[(str(posted["account"]), str(posted["region"]), posted["code"])] = float(posted["value"])


def value(account: str, region: str, code: str) -> float:
    return _applied.get((account, region, code), QUOTAS[code].default)


def check(account: str, region: str, code: str, used: int, error: AwsError) -> None:
    """Raises the error when one more would be too many."""
    if used + 1 > value(account, region, code):
        raise error


def vcpu_quota(instance_type: str, spot: bool) -> str:
    """The quota that counts the vCPUs of an instance type; empty: none."""
    letters = re.match("[a-z]*", instance_type)
    return FAMILIES.get(letters[0] if letters else "", STANDARD)[spot]


def vcpus(instance_type: str) -> int:
    known = INSTANCE_TYPES.get(instance_type)
    return int(known["VCpuInfo"]["DefaultVCpus"]) if known else 0


def launchable(account: str, region: str, instance_type: str, spot: bool, wanted: int, running: list[tuple[str, bool]]) -> int:
    """How many of the wanted instances the quota of vCPUs allows besides those that run, each with its type and whether it is a Spot Instance."""
    code, each = vcpu_quota(instance_type, spot), vcpus(instance_type)
    if not code or not each:
        return wanted
    used = sum(vcpus(kind) for kind, is_spot in running if vcpu_quota(kind, is_spot) == code)
    return max(0, min(wanted, int(value(account, region, code) - used) // each))


def answer(call: Call) -> Reply:
    """Service Quotas: GetServiceQuota knows only applied values, as AWS documents; GetAWSDefaultServiceQuota the others."""
    asked = json.loads(call.request.body or b"{}")
    code = str(asked.get("QuotaCode"))
    quota = QUOTAS.get(code)
    applied = _applied.get((call.account, call.region, code))
    if call.action not in ("GetServiceQuota", "GetAWSDefaultServiceQuota"):
        raise AwsError("UnknownOperationException", f"The emulator does not implement Service Quotas {call.action}", 501)
    if quota is None or quota.service != asked.get("ServiceCode") or (call.action == "GetServiceQuota" and applied is None):
        raise AwsError("NoSuchResourceException", "The request failed because the specified service quota does not exist.")
    number = quota.default if call.action == "GetAWSDefaultServiceQuota" or applied is None else applied
    body = {
        "ServiceCode": quota.service, "ServiceName": quota.service.upper(), "QuotaCode": code, "QuotaName": quota.name, "Value": number,
        "QuotaArn": f"arn:aws:servicequotas:{call.region}:{call.account}:{quota.service}/{code}", "Unit": "None",
        "Adjustable": quota.adjustable, "GlobalQuota": False,
    }
    return Reply(200, json.dumps({"Quota": body}).encode(), {"Content-Type": "application/x-amz-json-1.1"})
