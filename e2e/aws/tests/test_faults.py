"""Fault injection, rate limits and lost calls."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from conftest import Cloud, Server, expect_error


def fault(cloud: Cloud, match: dict[str, Any], then: dict[str, Any]) -> None:
    cloud.server.post("faults", {"match": {"account": cloud.account, **match}, "then": then})


def test_error_fault_is_returned_and_nothing_is_applied(cloud: Cloud) -> None:
    fault(cloud, {"action": "CreateVpc", "times": 1}, {"error": {"code": "VpcLimitExceeded", "message": "too many"}})
    with expect_error("VpcLimitExceeded", "too many"):
        cloud.ec2.create_vpc(CidrBlock="10.0.0.0/16")
    assert cloud.inventory() == {}
    cloud.ec2.create_vpc(CidrBlock="10.0.0.0/16")


def test_errors_have_the_format_of_their_service(cloud: Cloud) -> None:
    for service, call, code, status in (
        ("eks", lambda: cloud.eks.list_clusters(), "ServerException", 500),
        ("iam", lambda: cloud.iam.list_roles(), "ServiceFailure", 500),
        ("sts", lambda: cloud.sts.get_caller_identity(), "AccessDenied", 403),
        ("ec2", lambda: cloud.ec2.describe_vpcs(), "UnauthorizedOperation", 403),
        ("autoscaling", lambda: cloud.client("autoscaling").describe_auto_scaling_groups(), "Throttling", 400),
        ("ssm", lambda: cloud.client("ssm").get_parameter(Name="x"), "InternalServerError", 500),
    ):
        fault(cloud, {"service": service}, {"error": {"code": code, "message": "by a fault", "status": status}})
        with expect_error(code, "by a fault") as error:
            call()
        assert error.status == status


def test_rules_match_by_all_their_criteria(cloud: Cloud) -> None:
    error = {"error": {"code": "Nope", "message": "x"}}
    fault(cloud, {"action": "Describe*", "region": "eu-central-1"}, error)
    cloud.ec2.describe_vpcs()
    with expect_error("Nope"):
        Cloud(cloud.server, cloud.account, "eu-central-1").ec2.describe_vpcs()
    fault(cloud, {"service": "ec2", "write": True}, error)
    cloud.ec2.describe_vpcs()
    with expect_error("Nope"):
        cloud.ec2.create_vpc(CidrBlock="10.0.0.0/16")
    fault(cloud, {"service": "eks", "resource": "mine*"}, error)
    with expect_error("ResourceNotFoundException"):
        cloud.describe("yours")
    with expect_error("Nope"):
        cloud.describe("mine-1")


def test_after_calls_and_times(cloud: Cloud) -> None:
    fault(cloud, {"action": "DescribeVpcs", "after_calls": 2, "times": 1}, {"error": {"code": "Nope"}})
    cloud.ec2.describe_vpcs()
    cloud.ec2.describe_vpcs()
    with expect_error("Nope"):
        cloud.ec2.describe_vpcs()
    cloud.ec2.describe_vpcs()
    (rule,) = cloud.server.get("faults")["faults"]
    assert (rule["seen"], rule["used"]) == (3, 1)


def test_delay(cloud: Cloud) -> None:
    fault(cloud, {"action": "DescribeVpcs"}, {"delay": 0.3})
    started = time.monotonic()
    cloud.ec2.describe_vpcs()
    assert time.monotonic() - started >= 0.3


def test_dropped_call_is_applied(cloud: Cloud) -> None:
    fault(cloud, {"action": "CreateVpc", "times": 1}, {"drop": True})
    with pytest.raises(ConnectionClosedError):
        cloud.ec2.create_vpc(CidrBlock="10.0.0.0/16")
    assert len(cloud.ec2.describe_vpcs()["Vpcs"]) == 1


def test_hanging_call_blocks_no_other_call(cloud: Cloud, server: Server) -> None:
    fault(cloud, {"action": "CreateVpc", "times": 1}, {"hang": 30})
    with pytest.raises(ReadTimeoutError):
        Cloud(server, cloud.account, timeout=1).ec2.create_vpc(CidrBlock="10.0.0.0/16")
    started = time.monotonic()
    assert cloud.ec2.describe_vpcs()["Vpcs"] == []
    # Long before the hanging call ends, even on a busy machine.
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("when", ["before", "after"])
def test_process_is_killed_at_a_write(cloud: Cloud, when: str) -> None:
    """The process creates two VPCs and is killed at the first."""
    victim = (
        "import boto3, sys; sys.stdin.readline()\n"
        f"ec2 = boto3.client('ec2', endpoint_url='{cloud.server.url}', region_name='eu-west-1',"
        f" aws_access_key_id='{cloud.account}', aws_secret_access_key='test')\n"
        "ec2.create_vpc(CidrBlock='10.0.0.0/16'); import time; time.sleep(0.2); ec2.create_vpc(CidrBlock='10.0.0.0/16')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", victim], stdin=subprocess.PIPE, text=True)
    kill = {"pid": process.pid, "signal": int(signal.SIGKILL), "when": when}
    fault(cloud, {"action": "CreateVpc", "write": True, "times": 1}, {"signal": kill})
    process.communicate("go\n", timeout=20)
    assert process.returncode == -signal.SIGKILL
    assert len(cloud.ec2.describe_vpcs()["Vpcs"]) == 1


def test_cluster_creation_can_fail(cloud: Cloud) -> None:
    fault(cloud, {"action": "CreateCluster"}, {"fail": "the subnet was deleted"})
    cloud.cluster(wait=False)
    failed = cloud.until(lambda: cloud.status() == "FAILED" and cloud.describe())
    assert failed["health"]["issues"][0]["message"] == "the subnet was deleted"
    cloud.eks.delete_cluster(name="demo")
    cloud.gone(cloud.eks.describe_cluster, name="demo")


def test_node_group_can_become_degraded(cloud: Cloud) -> None:
    cloud.cluster()
    issue = {"code": "AsgInstanceLaunchFailures", "message": "InsufficientInstanceCapacity"}
    fault(cloud, {"action": "CreateNodegroup"}, {"health_issue": issue, "status": "DEGRADED"})
    assert cloud.nodegroup()["status"] == "DEGRADED"


def test_stale_reads_hide_new_resources(cloud: Cloud) -> None:
    old, _ = cloud.vpc("a")
    cloud.role("old", "ec2.amazonaws.com")
    time.sleep(1.6)
    # Long enough for the assertions on a busy machine.
    fault(cloud, {"action": "[DGL][ei][st]*"}, {"stale": 1.5})
    new = cloud.ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    cloud.ec2.create_subnet(VpcId=new, CidrBlock="10.1.0.0/24", AvailabilityZone="eu-west-1a")
    cloud.role("new", "ec2.amazonaws.com")
    assert [v["VpcId"] for v in cloud.ec2.describe_vpcs()["Vpcs"]] == [old]
    assert {s["VpcId"] for s in cloud.ec2.describe_subnets()["Subnets"]} == {old}
    with expect_error("InvalidVpcID.NotFound"):
        cloud.ec2.describe_vpcs(VpcIds=[new])
    with expect_error("NoSuchEntity"):
        cloud.iam.get_role(RoleName="new")
    assert [r["RoleName"] for r in cloud.iam.list_roles()["Roles"]] == ["old"]
    cloud.until(lambda: len(cloud.iam.list_roles()["Roles"]) == 2)
    assert len(cloud.ec2.describe_vpcs()["Vpcs"]) == 2 and cloud.iam.get_role(RoleName="new")


def test_stale_reads_of_eks_return_the_past_state(cloud: Cloud) -> None:
    fault(cloud, {"service": "eks", "write": False}, {"stale": 0.4})
    created = time.monotonic()
    cloud.cluster(wait=False)
    with expect_error("ResourceNotFoundException"):
        cloud.describe()
    assert cloud.eks.list_clusters()["clusters"] == []
    cloud.until(lambda: cloud.eks.list_clusters()["clusters"] == ["demo"])
    assert cloud.status() == "CREATING" and time.monotonic() - created > 0.35
    cloud.until(lambda: cloud.status() == "ACTIVE")
    cloud.eks.delete_cluster(name="demo")
    assert cloud.status() == "ACTIVE"


def test_rates_are_kept_per_account_region_and_action(cloud: Cloud, other_account: Cloud, server: Server) -> None:
    server.post("rates", [{"service": "ec2", "action": "DescribeVpcs", "burst": 2, "refill": 5}, {"service": "eks", "burst": 1, "refill": 0.1}])
    cloud.ec2.describe_vpcs()
    cloud.ec2.describe_vpcs()
    with expect_error("RequestLimitExceeded") as error:
        cloud.ec2.describe_vpcs()
    assert error.status == 503
    cloud.ec2.describe_subnets()
    other_account.ec2.describe_vpcs()
    Cloud(server, cloud.account, "eu-central-1").ec2.describe_vpcs()
    time.sleep(0.25)
    cloud.ec2.describe_vpcs()
    cloud.eks.list_clusters()
    with expect_error("ThrottlingException") as error:
        cloud.eks.list_clusters()
    assert error.status == 429


def test_invalid_rule_is_rejected(cloud: Cloud) -> None:
    for bad in ({"match": {"nonsense": 1}, "then": {"drop": True}}, {"match": {}, "then": {"nonsense": 1}}, {"match": {}}):
        with pytest.raises(AssertionError, match="message"):
            cloud.server.post("faults", bad)


def test_failed_deletion_leaves_a_failed_state_and_can_be_retried(cloud: Cloud) -> None:
    cloud.cluster()
    cloud.nodegroup()
    for action in ("DeleteNodegroup", "DeleteCluster"):
        fault(cloud, {"action": action, "times": 1}, {"fail": "a stuck interface"})
    group = {"clusterName": "demo", "nodegroupName": "nodes"}

    def nodes() -> dict[str, Any]:
        found: dict[str, Any] = cloud.eks.describe_nodegroup(**group)["nodegroup"]
        return found

    cloud.eks.delete_nodegroup(**group)
    cloud.until(lambda: nodes()["status"] == "DELETE_FAILED")
    assert nodes()["health"]["issues"][0]["message"] == "a stuck interface"
    cloud.eks.delete_nodegroup(**group)
    cloud.until(lambda: cloud.eks.list_nodegroups(clusterName="demo")["nodegroups"] == [])
    cloud.eks.delete_cluster(name="demo")
    cloud.until(lambda: cloud.status() == "FAILED")
    assert cloud.describe()["health"]["issues"][0]["message"] == "a stuck interface"
    cloud.eks.delete_cluster(name="demo")
    cloud.until(lambda: cloud.eks.list_clusters()["clusters"] == [])
