"""Fixtures and helpers: a running emulator, and one account per test, so that tests are isolated."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from shapes import check_answer

PACKAGE = Path(__file__).parent.parent
# Short, but long enough for a test to observe intermediate states.
DURATIONS = {
    "CLUSTER_CREATE_SECONDS": "0.15", "CLUSTER_UPDATE_SECONDS": "0.12", "CLUSTER_DELETE_SECONDS": "0.12", "NODEGROUP_SECONDS": "0.12",
    "ADDON_SECONDS": "0.06", "NAT_SECONDS": "0.12",
}
ACCOUNTS = itertools.count(200000000001)
NUMBERS = itertools.count(1)
ARGUMENTS = ["--port", "0"]
# The socket of a process that forks emulators; `e2e/run_all.py` sets it.
PRELOADED = "KEELSON_AWS_PRELOADED"


class Forked:
    """An emulator that a process forks which has loaded it (`keelson_aws/preloaded.py`): to load it takes two seconds of processor time."""

    def __init__(self, forks: str, environment: dict[str, str], log: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(forks)
        request = {"arguments": ARGUMENTS, "environment": environment}
        with log.open("w") as output:
            socket.send_fds(self._connection, [json.dumps(request).encode() + b"\n"], [output.fileno()])
        self._lines = self._connection.makefile("r")
        self._pid = json.loads(self._lines.readline())["pid"]
        self._log = log

    def ready_line(self) -> str:
        deadline = time.monotonic() + 60
        while not (found := re.search(".* ready on .*\n", self._log.read_text())):
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)
        return found[0]

    def stop(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        # Once it has exited.
        line = self._lines.readline()
        self._lines.close()
        self._connection.close()
        # Under `e2e/run_all.py`, which counts it.
        if line and (times := sys.modules.get("keelson_harness.processor_time")):
            times.add("keelson_aws", json.loads(line)["seconds"], is_child=False)


class Started:
    """An emulator of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "keelson_aws", *ARGUMENTS]
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def ready_line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class Server:
    """The emulator as a process on its own port."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.call_log = directory / "calls.jsonl"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        complete = {**kept, **DURATIONS, "PYTHONPATH": str(PACKAGE), "CALL_LOG": str(self.call_log), **environment}
        forks = os.environ.get(PRELOADED)
        self._process = Forked(forks, complete, directory / f"emulator-{next(NUMBERS)}.log") if forks else Started(complete)
        self.ready_line = self._process.ready_line()
        self.port = int(self.ready_line.rpartition(":")[2])
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._process.stop()

    def get(self, verb: str, **query: Any) -> Any:
        return self.answer(requests.get(f"{self.url}/_keelson/{verb}", params=query, timeout=60))

    def post(self, verb: str, body: Any = None) -> Any:
        return self.answer(requests.post(f"{self.url}/_keelson/{verb}", json=body, timeout=60))

    def delete(self, verb: str, **query: Any) -> Any:
        return self.answer(requests.delete(f"{self.url}/_keelson/{verb}", params=query, timeout=60))

    @staticmethod
    def answer(response: requests.Response) -> Any:
        assert response.ok, response.text
        return response.json()


class Cloud:
    """One account of the emulator: clients, and shortcuts to create resources."""

    def __init__(
        self, server: Server, account: str, region: str = "eu-west-1", credentials: dict[str, str] | None = None, timeout: float = 60
    ) -> None:
        self.timeout = timeout
        self.server = server
        self.account = account
        self.region = region
        self.credentials = credentials or {"aws_access_key_id": account, "aws_secret_access_key": "test"}
        self._clients: dict[str, Any] = {}
        self._transit = ""

    def client(self, service: str) -> Any:
        if service not in self._clients:
            client = boto3.client(
                service,
                endpoint_url=self.server.url,
                region_name=self.region,
                # The server must validate the parameters, not boto3.
                config=Config(retries={"max_attempts": 0}, read_timeout=self.timeout, parameter_validation=False),
                **self.credentials,
            )
            client.meta.events.register("before-parse", check_answer)
            self._clients[service] = client
        return self._clients[service]

    @property
    def eks(self) -> Any:
        return self.client("eks")

    @property
    def ec2(self) -> Any:
        return self.client("ec2")

    @property
    def iam(self) -> Any:
        return self.client("iam")

    @property
    def sts(self) -> Any:
        return self.client("sts")

    def role(self, name: str, service: str, *policies: str, trust: dict[str, Any] | None = None) -> str:
        statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": ["sts:AssumeRole", "sts:TagSession"]}
        document = trust or {"Version": "2012-10-17", "Statement": [statement]}
        arn = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(document))["Role"]["Arn"]
        for policy in policies:
            self.iam.attach_role_policy(RoleName=name, PolicyArn=f"arn:aws:iam::aws:policy/{policy}")
        return str(arn)

    def cluster_role(self) -> str:
        return self.role("cluster", "eks.amazonaws.com", "AmazonEKSClusterPolicy")

    def node_role(self) -> str:
        return self.role("node", "ec2.amazonaws.com", "AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy")

    def vpc(self, zones: str = "ab", cidr: str = "10.0.0.0/16") -> tuple[str, list[str]]:
        """A network in which nodes can join: with DNS, and a way out through another network."""
        vpc_id = self.ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
        self.ec2.modify_vpc_attribute(VpcId=vpc_id, EnableDnsHostnames={"Value": True})
        if not self._transit:
            self._transit = self.ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"]
        main = self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])["RouteTables"][0]["RouteTableId"]
        self.ec2.create_route(RouteTableId=main, DestinationCidrBlock="0.0.0.0/0", TransitGatewayId=self._transit)
        base = cidr.rpartition(".")[0].rpartition(".")[0]
        subnets = [
            self.ec2.create_subnet(VpcId=vpc_id, CidrBlock=f"{base}.{i}.0/24", AvailabilityZone=self.region + zone)["Subnet"]["SubnetId"]
            for i, zone in enumerate(zones)
        ]
        return vpc_id, subnets

    def cluster(self, name: str = "demo", wait: bool = True, **more: Any) -> dict[str, Any]:
        """Creates a cluster with its own network and role. Waits until it is ACTIVE unless wait=False."""
        self.vpc_id, self.subnets = self.vpc()
        asked = {
            "name": name,
            "roleArn": self.cluster_role(),
            "resourcesVpcConfig": {"subnetIds": self.subnets},
            "accessConfig": {"authenticationMode": "API"},
            **more,
        }
        created = self.eks.create_cluster(**asked)["cluster"]
        return self.until(lambda: self.status(name) == "ACTIVE" and self.describe(name)) if wait else created

    def describe(self, name: str = "demo") -> dict[str, Any]:
        found: dict[str, Any] = self.eks.describe_cluster(name=name)["cluster"]
        return found

    def status(self, name: str = "demo") -> str:
        return str(self.describe(name)["status"])

    def nodegroup(self, name: str = "nodes", cluster: str = "demo", wait: bool = True, **more: Any) -> dict[str, Any]:
        asked = {"clusterName": cluster, "nodegroupName": name, "subnets": self.subnets, **more}
        if "nodeRole" not in asked:
            asked["nodeRole"] = self.node_role()
        created: dict[str, Any] = self.eks.create_nodegroup(**asked)["nodegroup"]
        return self.until(lambda: (n := self.describe_nodegroup(name, cluster))["status"] != "CREATING" and n) if wait else created

    def describe_nodegroup(self, name: str = "nodes", cluster: str = "demo") -> dict[str, Any]:
        found: dict[str, Any] = self.eks.describe_nodegroup(clusterName=cluster, nodegroupName=name)["nodegroup"]
        return found

    def nodes(self, nodegroup: str = "nodes", cluster: str = "demo") -> list[dict[str, Any]]:
        """The current nodes of a node group in the emulator."""
        (found,) = [c for c in self.server.get("nodes", account=self.account)["clusters"] if c["cluster"] == cluster]
        return [node for node in found["nodes"] if node["nodegroup"] == nodegroup]

    def addon_status(self, name: str) -> str:
        return str(self.eks.describe_addon(clusterName="demo", addonName=name)["addon"]["status"])

    def update_done(self, update: dict[str, Any], **names: str) -> dict[str, Any]:
        def done() -> Any:
            found = self.eks.describe_update(name="demo", updateId=update["update"]["id"], **names)["update"]
            return found["status"] != "InProgress" and found

        return self.until(done)

    @staticmethod
    def until(holds: Callable[[], Any], seconds: float = 60) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = holds()
            if value:
                return value
            time.sleep(0.02)
        raise AssertionError(f"condition not met in {seconds:.0f} s")

    @staticmethod
    def stays(holds: Callable[[], Any], seconds: float = 0.5) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert holds(), f"it did not stay so for {seconds} s"
            time.sleep(0.02)

    def gone(self, call: Callable[..., Any], **parameters: Any) -> None:
        def missing() -> bool:
            try:
                call(**parameters)
            except ClientError as error:
                assert error.response["Error"]["Code"] == "ResourceNotFoundException"
                return True
            return False

        self.until(missing)

    def inventory(self) -> dict[str, Any]:
        found: dict[str, Any] = self.server.get("inventory", account=self.account)["accounts"].get(self.account, {})
        return found


class CaughtError:
    """The error that `expect_error` caught."""

    def __init__(self) -> None:
        self.code = ""
        self.message = ""
        self.status = 0
        self.body: dict[str, Any] = {}


class expect_error:
    """`with expect_error("Code") as error:` the call inside must fail with that code."""

    def __init__(self, code: str, text: str = "") -> None:
        self.code, self.text, self.caught = code, text, CaughtError()

    def __enter__(self) -> CaughtError:
        return self.caught

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        assert isinstance(error, ClientError), f"expected {self.code}, got {error!r}"
        answer = error.response
        self.caught.code = answer["Error"]["Code"]
        self.caught.message = answer["Error"]["Message"]
        self.caught.status = answer["ResponseMetadata"]["HTTPStatusCode"]
        self.caught.body = dict(answer)
        assert self.caught.code == self.code, f"{self.caught.code}: {self.caught.message}"
        assert self.text in self.caught.message, self.caught.message
        return True


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("aws"))
    yield running
    running.stop()


@pytest.fixture
def cloud(server: Server) -> Iterator[Cloud]:
    yield Cloud(server, str(next(ACCOUNTS)))
    server.delete("faults")
    server.post("rates", [])


@pytest.fixture
def other_account(server: Server) -> Cloud:
    return Cloud(server, str(next(ACCOUNTS)))
