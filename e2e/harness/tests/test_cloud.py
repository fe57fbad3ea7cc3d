"""The whole local cloud: it starts, the workload cluster accepts EKS tokens, and no process remains."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from botocore.awsrequest import AWSRequest
from botocore.auth import SigV4QueryAuth
from botocore.credentials import Credentials

from keelson_harness.aws import ACCOUNT, REGION, SECRET_KEY, Durations
from keelson_harness.cloud import LocalCloud
from keelson_harness.kubeapi import ApiError, KubeApi
from keelson_harness.workload_clusters import OwnApiServers

HARNESS = Path(__file__).resolve().parents[1]
INSTANT = Durations(0, 0, 0, 0, 0, 0)


@pytest.fixture(scope="module")
def cloud():
    with LocalCloud(flux=False, git=False, durations=INSTANT) as started:
        yield started


def eks_token(url: str, cluster: str, account: str = ACCOUNT) -> str:
    """A token like that of `aws eks get-token`."""
    request = AWSRequest(
        "GET",
        f"{url}/?Action=GetCallerIdentity&Version=2011-06-15",
        headers={"x-k8s-aws-id": cluster},
    )
    SigV4QueryAuth(Credentials(account, SECRET_KEY), "sts", REGION, expires=60).add_auth(request)
    return "k8s-aws-v1." + base64.urlsafe_b64encode(request.url.encode()).decode().rstrip("=")


def make_cluster(cloud: LocalCloud, name: str) -> dict:
    ec2, iam, eks = (cloud.aws.client(service) for service in ("ec2", "iam", "eks"))
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.0.{index}.0/24", AvailabilityZone=f"{REGION}{zone}"
        )["Subnet"]["SubnetId"]
        for index, zone in enumerate("ab")
    ]
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "eks.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    role = iam.create_role(
        RoleName=f"{name}-cluster",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )["Role"]["Arn"]
    iam.attach_role_policy(
        RoleName=f"{name}-cluster", PolicyArn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
    )
    eks.create_cluster(
        name=name,
        roleArn=role,
        resourcesVpcConfig={"subnetIds": subnets},
        accessConfig={
            "authenticationMode": "API",
            "bootstrapClusterCreatorAdminPermissions": True,
        },
    )
    eks.get_waiter("cluster_active").wait(name=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    return eks.describe_cluster(name=name)["cluster"]


def test_token_of_cluster_creator_is_admin_at_the_endpoint_of_describe_cluster(cloud, tmp_path):
    described = make_cluster(cloud, "tokens")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(base64.b64decode(described["certificateAuthority"]["data"]))
    api = KubeApi(described["endpoint"], ca, token=eks_token(cloud.aws.url, "tokens"))
    assert api.list("v1", "Secret", "kube-system") == []


def test_token_of_another_account_and_forged_token_are_rejected(cloud):
    make_cluster(cloud, "other-account")
    for token in (
        eks_token(cloud.aws.url, "other-account", account="999999999999"),
        "k8s-aws-v1.forged",
    ):
        api = KubeApi(cloud.workload.url, cloud.workload.ca_file, token=token)
        with pytest.raises(ApiError) as refused:
            api.list("v1", "Secret", "kube-system")
        assert refused.value.code == 401


def test_operator_process_can_be_killed_and_restarted(cloud, tmp_path):
    binary = tmp_path / "keelson"
    binary.write_text('#!/bin/sh\necho "$1 $2 $AWS_ENDPOINT_URL $KUBECONFIG"; exec sleep 600\n')
    binary.chmod(0o755)
    controller = cloud.operator("--flag", binary=binary)
    controller.process.wait_ready(lambda: controller.log.read_text().count("\n") == 1)
    first = controller.pid
    controller.kill()
    assert not controller.alive
    controller.restart()
    controller.process.wait_ready(lambda: controller.log.read_text().count("\n") == 2)
    assert controller.alive and controller.pid != first and controller.starts == 2
    expected = f"controller --flag {cloud.aws.url} {cloud.operator_account()}"
    assert controller.log.read_text().splitlines() == [expected] * 2


def test_operator_account_has_only_the_rbac_of_deploy(cloud):
    kubeconfig = yaml.safe_load(cloud.operator_account().read_text())
    user = kubeconfig["users"][0]["user"]
    pair = (Path(user["client-certificate"]), Path(user["client-key"]))
    api = KubeApi(cloud.management.url, cloud.management.ca_file, pair)
    cloud.install_crds()
    assert api.list("keelson.dev/v1alpha1", "EksCluster") == []
    with pytest.raises(ApiError) as refused:
        api.list("v1", "Pod", "keelson-system")
    assert "system:serviceaccount:keelson-system:keelson" in refused.value.message


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl(PR_SET_PDEATHSIG)")
def test_killed_cloud_leaves_no_process(tmp_path):
    script = (
        "import time\n"
        "from keelson_harness.cloud import LocalCloud\n"
        "with LocalCloud(workload=False) as cloud:\n"
        "    print(*[process.pid for process in cloud.processes()], flush=True)\n"
        "    time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HARNESS), "TMPDIR": str(tmp_path)},
    )
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(children) == 4
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while remaining := [pid for pid in children if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"still running: {remaining}"
        time.sleep(0.05)


def test_named_clusters_have_their_own_api_servers_until_they_are_deleted():
    with LocalCloud(workload_each=OwnApiServers(clusters=("one", "two")), flux=False, git=False, durations=INSTANT) as cloud:
        for name in ("one", "two", "three"):
            make_cluster(cloud, name)
        until(lambda: len(cloud.workloads.control_planes()) == 2, "two API servers")
        eks = cloud.aws.client("eks")
        one, two = cloud.workloads.control_plane("one"), cloud.workloads.control_plane("two")
        described = eks.describe_cluster(name="one")["cluster"]
        assert described["endpoint"] == one.url != two.url
        # It needs none to become ACTIVE.
        until(lambda: eks.describe_cluster(name="three")["cluster"]["status"] == "ACTIVE", "the third cluster")
        assert base64.b64decode(described["certificateAuthority"]["data"]) == one.ca_file.read_bytes()
        token = eks_token(cloud.aws.url, "one")
        marker = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "of-one", "namespace": "default"}}
        KubeApi(one.url, one.ca_file, token=token).apply(marker)
        assert two.api.find("v1", "ConfigMap", "of-one") is None
        # A token is valid for one cluster only.
        with pytest.raises(ApiError, match="401|Unauthorized"):
            KubeApi(two.url, two.ca_file, token=token).get("v1", "Namespace", "default", None)
        eks.delete_cluster(name="one")
        until(lambda: cloud.workloads.control_planes() == [two], "removal of one API server")
        until(lambda: not one.apiserver.alive, "exit of its API server")


def until(holds, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what} not observed in {seconds:.0f} s"
        time.sleep(0.1)
