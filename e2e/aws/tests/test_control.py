"""The emulator itself: start, call log, inventory, settings, reset, concurrency."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from botocore.exceptions import ClientError

from conftest import Cloud, Server, expect_error


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """A separate server, for tests that would affect others."""
    running = Server(tmp_path, WORKLOAD_ENDPOINT="https://127.0.0.1:6443", WORKLOAD_CA_FILE=str(tmp_path / "ca.crt"))
    yield running
    running.stop()


def test_ready_line_is_printed(server: Server) -> None:
    assert server.ready_line == f"keelson-aws ready on {server.url}\n"
    assert server.get("health") == {"status": "ok"}


def test_describe_cluster_returns_the_workload_cluster(own: Server, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\none\n")
    cluster = Cloud(own, "300000000001").cluster()
    assert cluster["endpoint"] == "https://127.0.0.1:6443"
    assert base64.b64decode(cluster["certificateAuthority"]["data"]).decode().endswith("one\n")
    (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\ntwo\n")
    assert base64.b64decode(Cloud(own, "300000000001").describe()["certificateAuthority"]["data"]).decode().endswith("two\n")
    (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\nthree\n")
    own.post("reset")
    with expect_error("ResourceNotFoundException"):
        Cloud(own, "300000000001").describe()
    assert own.get("inventory") == {"empty": True, "accounts": {}}
    Cloud(own, "300000000001").cluster()


def test_logged_call_contains_all_ids_and_arns(cloud: Cloud, server: Server) -> None:
    vpc = cloud.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = cloud.ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    before = server.get("calls")["last"]
    cloud.ec2.describe_subnets(Filters=[{"Name": "subnet-id", "Values": [subnet, "subnet-0123456789abcdef0"]}])
    role = f"arn:aws:iam::{cloud.account}:role/path/none"
    with pytest.raises(ClientError):
        cloud.eks.create_cluster(name="x", roleArn=role, resourcesVpcConfig={"subnetIds": [subnet]})
    names = [call["names"] for call in server.get("calls", since=before)["calls"]]
    assert names == [sorted([subnet, "subnet-0123456789abcdef0"]), [role, subnet]]


def test_every_call_is_logged(cloud: Cloud, server: Server) -> None:
    before = server.get("calls")["last"]
    cloud.ec2.create_vpc(CidrBlock="10.0.0.0/16")
    with expect_error("ResourceNotFoundException"):
        cloud.describe_nodegroup("nodes", "demo")
    with expect_error("NoSuchEntity"):
        cloud.iam.get_role(RoleName="none")
    answer = server.get("calls", since=before)
    kept = ("account", "region", "service", "action", "resource", "status", "error", "write")
    assert [tuple(call[key] for key in kept) for call in answer["calls"]] == [
        (cloud.account, "eu-west-1", "ec2", "CreateVpc", "", 200, "", True),
        (cloud.account, "eu-west-1", "eks", "DescribeNodegroup", "demo/nodes", 404, "ResourceNotFoundException", False),
        (cloud.account, "eu-west-1", "iam", "GetRole", "none", 404, "NoSuchEntity", False),
    ]
    lines = [json.loads(line) for line in server.call_log.read_text().splitlines()]
    assert lines[-3:] == answer["calls"]
    assert [call["number"] for call in answer["calls"]] == [before + 1, before + 2, before + 3]


def test_logged_call_has_the_request_id_of_its_answer(cloud: Cloud, server: Server) -> None:
    before = server.get("calls")["last"]
    trust = {"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    answers = [
        cloud.ec2.create_vpc(CidrBlock="10.0.0.0/16"),
        cloud.ec2.describe_vpcs(),
        cloud.iam.create_role(RoleName="of-a-request", AssumeRolePolicyDocument=role),
        cloud.eks.list_clusters(),
        cloud.client("sts").get_caller_identity(),
        cloud.client("logs").describe_log_groups(),
        cloud.client("kms").list_keys(),
    ]
    headers = [answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"] for answer in answers]
    with pytest.raises(ClientError) as refused:
        cloud.describe_nodegroup("nodes", "demo")
    headers.append(refused.value.response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"])
    assert [call["requestId"] for call in server.get("calls", since=before)["calls"]] == headers
    assert len(set(headers)) == len(headers)


def test_unsigned_call_is_rejected(server: Server) -> None:
    answer = requests.get(server.url + "/clusters", timeout=5)
    assert answer.status_code == 403 and answer.headers["x-amzn-ErrorType"] == "MissingAuthenticationTokenException"


def test_inventory_lists_remaining_resources(cloud: Cloud) -> None:
    cloud.cluster()
    cloud.nodegroup()
    found = cloud.inventory()
    assert found["eu-west-1"]["clusters"] == ["demo"] and found["eu-west-1"]["nodegroups"] == ["demo/nodes"]
    assert found["global"]["roles"] == ["cluster", "node"]
    assert len(found["eu-west-1"]["instances"]) == 2 and len(found["eu-west-1"]["autoScalingGroups"]) == 1


def test_eks_state_of_one_account_can_be_reset(cloud: Cloud, other_account: Cloud, server: Server) -> None:
    for account in (cloud, other_account):
        account.cluster()
    requests.post(f"{server.url}/_keelson/reset?account={cloud.account}", timeout=5).raise_for_status()
    with expect_error("ResourceNotFoundException"):
        cloud.describe()
    assert other_account.status() == "ACTIVE"


def test_settings_change_atomically_at_run_time(server: Server) -> None:
    before = server.get("settings")
    for bad in ({"nonsense": 1}, {"NAT_SECONDS": "soon"}, {"NAT_SECONDS": -1}):
        assert requests.post(server.url + "/_keelson/settings", json={"ADDON_SECONDS": 9, **bad}, timeout=5).status_code == 400
    assert server.get("settings") == before
    assert server.post("settings", {"ADDON_SECONDS": before["addon_seconds"]}) == before


def test_unknown_paths_return_404(server: Server, cloud: Cloud) -> None:
    assert "GET inventory" in requests.get(server.url + "/_keelson/nonsense", timeout=5).json()["message"]
    signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential={cloud.account}/20260101/eu-west-1/eks/aws4_request, Signature=x"}
    answer = requests.get(server.url + "/nonsense", headers=signed, timeout=5)
    assert answer.status_code == 404 and answer.headers["x-amzn-ErrorType"] == "UnknownOperationException"


def test_fragmented_and_pipelined_requests(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        request = b"GET /_keelson/health HTTP/1.1\r\nHost: x\r\n\r\n"
        chunked = b"POST /_keelson/rates HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n"
        for piece in (request[:10], request[10:] + request + chunked):
            connection.sendall(piece)
        answer = b""
        while answer.count(b"HTTP/1.1 200 OK") < 3 or not answer.endswith(b'{"rates": []}'):
            data = connection.recv(4096)
            assert data, answer
            answer += data


def test_200_concurrent_creations(server: Server, cloud: Cloud) -> None:
    """200 clusters are created concurrently over 16 connections, and all become ACTIVE."""
    first = cloud.cluster("c0")

    def make(i: int) -> str:
        client = Cloud(server, cloud.account).eks
        created: str = client.create_cluster(name=f"c{i}", roleArn=first["roleArn"], resourcesVpcConfig={"subnetIds": cloud.subnets})["cluster"]["status"]
        return created

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(make, range(1, 200))) == {"CREATING"}
    cloud.until(lambda: all(cloud.status(f"c{i}") == "ACTIVE" for i in range(200)))
