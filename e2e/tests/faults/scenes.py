"""The scenarios: failures of AWS, as fault rules of the emulator."""

from __future__ import annotations

from . import SMALL, Scene

# With NAT, which the others omit for speed.
WITH_NAT = {**SMALL, "network": {"vpc": {"zoneCount": 2}}}
WITH_COREDNS = {**SMALL, "addons": [{"name": "coredns"}]}
OUTAGE = {"error": {"code": "InternalError", "message": "An internal error has occurred", "status": 500}}
THROTTLED_EC2 = {"error": {"code": "RequestLimitExceeded", "message": "Request limit exceeded.", "status": 503}}
THROTTLED_EKS = {"error": {"code": "ThrottlingException", "message": "Rate exceeded", "status": 429}}
NOT_YET = "Role could not be assumed because the trusted entity is not correct"


def issue(code: str, message: str, **fields: str) -> dict:
    return {"health_issue": {"code": code, "message": message}, **fields}


def error_response(code: str, message: str, status: int = 400) -> dict:
    return {"error": {"code": code, "message": message, "status": status}}


SCENES = [
    Scene("quiet", ()),
    # These three last until the test removes the rules.
    Scene("throttled-ec2", (({"service": "ec2"}, THROTTLED_EC2),)),
    Scene("throttled-eks", (({"service": "eks"}, THROTTLED_EKS),), nodes=True),
    Scene("outage", (({}, OUTAGE),)),
    Scene("hanging", (({"service": "eks", "action": "DescribeCluster", "times": 1}, {"hang": 300}),)),
    Scene(
        "role-not-visible",
        (
            (
                {"action": "CreateCluster", "times": 3},
                error_response("InvalidParameterException", NOT_YET),
            ),
        ),
    ),
    Scene(
        "nat-failed",
        (
            (
                {"action": "CreateNatGateway", "times": 1},
                {"fail": "an internal error occurred", "status": "InternalError"},
            ),
        ),
        WITH_NAT,
    ),
    Scene(
        "nodes-iam-throttled",
        (
            (
                {"action": "CreateNodegroup", "times": 1},
                issue("IamThrottling", "IAM throttled the creation of an instance profile"),
            ),
        ),
        nodes=True,
    ),
    Scene(
        "no-capacity",
        (
            (
                {"action": "CreateNodegroup"},
                issue("InsufficientInstanceCapacity", "We have no m7i.large capacity in eu-west-1a"),
            ),
        ),
        nodes=True,
    ),
    Scene(
        "addon-degraded",
        (
            (
                {"action": "CreateAddon", "times": 1},
                issue(
                    "InsufficientNumberOfReplicas",
                    "The add-on doesn't have the desired number of replicas",
                    status="DEGRADED",
                ),
            ),
        ),
        WITH_COREDNS,
        nodes=True,
    ),
    Scene(
        "cluster-failed",
        (
            (
                {"action": "CreateCluster"},
                issue("InternalFailure", "the control plane did not come up"),
            ),
        ),
    ),
    Scene(
        "vpc-quota",
        (
            (
                {"action": "CreateVpc"},
                error_response("VpcLimitExceeded", "The maximum number of VPCs has been reached."),
            ),
        ),
    ),
    Scene(
        "denied",
        (
            (
                {"action": "CreateSubnet"},
                error_response("UnauthorizedOperation", "You are not authorized to perform this operation.", 403),
            ),
        ),
    ),
    Scene("blocked", ()),
    Scene("drift", ()),
]
