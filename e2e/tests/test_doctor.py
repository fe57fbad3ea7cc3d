"""`keelson doctor` says before a first cluster what would fail, each with what to do; nothing is written."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from fleet.account import fresh_account
from fleet.environment import Environment, actions, environment, until
from fleet.existing_clusters import keelson
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, flux, key_of, node_group
from fleet.policy import ADOPTION, BOUNDARY, POLICIES
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions
from keelson_harness.paths import keelson_binary

OPERATOR = "arn:aws:iam::{}:user/administrator"
PERMISSIONS = [path for path in POLICIES if path != ADOPTION]


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 1, 1, 0.3, 0.3)) as started:
        yield started


class Doctor:
    """An account with the operator's role as docs/install.md sets it up, and a cluster that is to be created there."""

    def __init__(self, on: Environment, directory: Path):
        self.on, self.directory, self.account = on, directory, on.account(fresh_account())
        iam, self.id = self.account.iam, self.account.id
        trust = {"Effect": "Allow", "Principal": {"AWS": OPERATOR.format(self.id)}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        self.role = iam.create_role(RoleName="keelson", AssumeRolePolicyDocument=document)["Role"]["Arn"]
        for path in PERMISSIONS:
            arn = iam.create_policy(PolicyName=path.stem, PolicyDocument=path.read_text())["Policy"]["Arn"]
            iam.attach_role_policy(RoleName="keelson", PolicyArn=arn)
        self.boundary = iam.create_policy(PolicyName="keelson-boundary", PolicyDocument=BOUNDARY.read_text())["Policy"]["Arn"]
        self.aws_account = aws_account("default", self.id, roleArn=self.role, permissionsBoundaryArn=self.boundary)

    def run(self, *items: dict, flags: tuple[str, ...] = ("--live",)) -> subprocess.CompletedProcess[str]:
        path = self.directory / "manifest.yaml"
        path.write_text(yaml.safe_dump_all([self.aws_account, *items]))
        return keelson(self.on, self.account, "doctor", "-f", str(path), *flags)

    def findings(self, *items: dict, flags: tuple[str, ...] = ("--live",)) -> list[dict]:
        result = self.run(*items, flags=(*flags, "-o", "json"))
        (report,) = json.loads(result.stdout)
        failed = [one for one in report["findings"] if one["outcome"] == "failed"]
        assert (result.returncode == 0) == (not failed), result.stderr
        # Whatever does not pass says what to do.
        assert [one for one in report["findings"] if one["outcome"] != "passed" and not one.get("advice")] == []
        return report["findings"]

    def failed(self, *items: dict, **options) -> list[tuple[str, str]]:
        return [(one["check"], one["message"]) for one in self.findings(*items, **options) if one["outcome"] == "failed"]


@pytest.fixture
def doctor(on: Environment, tmp_path: Path) -> Doctor:
    return Doctor(on, tmp_path)


def test_account_that_is_ready_passes_every_check_without_a_write(doctor):
    mark = doctor.on.mark()
    found = doctor.findings(cluster("demo"), node_group("demo", instanceTypes=["m7i.large"]))
    assert [one for one in found if one["outcome"] != "passed"] == []
    checks = {one["check"] for one in found}
    assert checks == {"manifest", "credentials", "region", "cluster", "spec", "plan", "zones", "permissions", "service role", "quota"}
    assert doctor.on.writes(mark, doctor.id) == []
    quotas = [one["message"] for one in found if one["check"] == "quota"]
    assert "VPCs: 0 of 1000 used, 1 needed" in quotas
    assert "vCPUs of on-demand standard instances: 0 of 100000 used, 4 needed" in quotas


def test_without_live_nothing_is_asked(doctor):
    mark = doctor.on.mark()
    findings = doctor.findings(cluster("demo"), flags=())
    assert [one["check"] for one in findings] == ["manifest"]
    (report,) = yaml.safe_load(doctor.run(cluster("demo"), flags=("-o", "yaml")).stdout)
    assert report["findings"] == findings
    assert doctor.on.calls(mark) == []


def test_what_the_operator_accepts_and_will_not_work_is_a_warning(doctor):
    group = node_group("demo")
    closed = cluster("demo", network={"vpc": {"nat": "None", "endpoints": ["s3"]}})
    warnings = [one for one in doctor.findings(closed, group, flags=()) if one["outcome"] == "warning"]
    assert [one["check"] for one in warnings] == ["manifest"]
    assert "no endpoints of ec2, ecr.api, ecr.dkr" in warnings[0]["message"] and "nat: Single" in warnings[0]["advice"]
    private = cluster("demo", network={"vpc": {"nat": "None", "endpoints": ["private"]}})
    assert [one["outcome"] for one in doctor.findings(private, group, flags=())] == ["passed"]


def test_manifests_may_be_in_several_files_and_folders(doctor):
    """As those of `keelson plan`."""
    clusters, groups = doctor.directory / "clusters", doctor.directory / "nodes.yaml"
    clusters.mkdir()
    (clusters / "demo.yaml").write_text(yaml.safe_dump(cluster("demo")))
    (clusters / "README.md").write_text("no manifest")
    groups.write_text(yaml.safe_dump_all([doctor.aws_account, node_group("demo")]))
    result = keelson(doctor.on, doctor.account, "doctor", "-f", str(clusters), "-f", str(groups), "-o", "json")
    (report,) = json.loads(result.stdout)
    assert (result.returncode, report["object"]) == (0, "EksCluster default/demo"), result
    alone = keelson(doctor.on, doctor.account, "doctor", "-f", str(groups), "-o", "json")
    assert alone.returncode == 1 and "is not in the files" in alone.stdout


def test_denied_actions_are_named_with_what_denies_them(doctor):
    doctor.account.iam.detach_role_policy(RoleName="keelson", PolicyArn=f"arn:aws:iam::{doctor.id}:policy/iam-policy-eks")
    ((_, message),) = [one for one in doctor.failed(cluster("demo")) if one[0] == "permissions"]
    assert message.startswith(f"{doctor.role}: no policy of it allows eks:AssociateEncryptionConfig, ") and message.endswith(" more")
    deny = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "*"},
            {"Effect": "Deny", "Action": "ec2:CreateNatGateway", "Resource": "*"},
        ],
    }
    doctor.on.aws.control("POST", "scp", json={"account": doctor.id, "document": deny})
    messages = [message for check, message in doctor.failed(cluster("demo")) if check == "permissions"]
    assert f"{doctor.role}: a service control policy of the organization denies ec2:CreateNatGateway" in messages


def test_missing_boundary_in_the_account_is_a_denial_of_role_creation(doctor):
    del doctor.aws_account["spec"]["permissionsBoundaryArn"]
    ((check, message),) = doctor.failed(cluster("demo"))
    assert check == "permissions" and "no policy of it allows iam:CreateRole" in message


def test_credentials_that_may_not_simulate_are_a_warning(doctor):
    doctor.on.aws.add_fault(
        {"account": doctor.id, "action": "SimulatePrincipalPolicy"}, {"error": {"code": "AccessDenied", "message": "no", "status": 403}}
    )
    try:
        found = doctor.findings(cluster("demo"))
    finally:
        doctor.on.aws.clear_faults()
    warnings = [one for one in found if one["outcome"] == "warning"]
    assert {one["check"] for one in warnings} == {"permissions", "service role"}
    assert "iam-policy-doctor.json" in next(one["advice"] for one in warnings if one["check"] == "permissions")


def test_quota_that_is_used_up_names_the_request_for_more(doctor):
    doctor.account.ec2.create_vpc(CidrBlock="10.9.0.0/16")
    for code, value in (("L-F678F1CE", 1), ("L-1216C47A", 3)):
        doctor.on.aws.control("POST", "quotas", json={"account": doctor.id, "region": doctor.account.region, "code": code, "value": value})
    items = cluster("demo"), node_group("demo", instanceTypes=["m7i.large"])
    failed = doctor.failed(*items)
    assert ("quota", "VPCs: 1 of 1 used, 1 needed") in failed
    assert ("quota", "vCPUs of on-demand standard instances: 0 of 3 used, 4 needed") in failed
    result = doctor.run(*items)
    assert "--quota-code L-F678F1CE --desired-value 2 --region" in result.stdout and "2 checks failed" in result.stderr


def test_wrong_values_of_the_spec_are_named_by_field(doctor):
    group = node_group("demo", instanceTypes=["m7i.huge"])
    addons = [{"name": "no-such-addon"}]
    failed = doctor.failed(cluster("demo", addons=addons), group)
    assert {check for check, _ in failed} == {"spec"}
    messages = " ".join(message for _, message in failed)
    assert "m7i.huge" in messages and "NodeGroup demo-default" in messages and "no-such-addon" in messages


def test_key_that_eks_cannot_use_fails(doctor):
    kms = doctor.account.client("kms")
    key = kms.create_key(KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]
    item = cluster("demo", secretsEncryption={"kmsKeyArn": key["Arn"]})
    assert doctor.failed(item) == []
    kms.disable_key(KeyId=key["KeyId"])
    ((check, message),) = doctor.failed(item)
    assert check == "encryption key" and "is Disabled" in message


@pytest.fixture
def endpoint_that_answers(on: Environment) -> Iterator[str]:
    """Clusters of the emulator have the management cluster's API server as their endpoint."""
    server = on.cloud.management
    on.aws.control("POST", "settings", json={"WORKLOAD_ENDPOINT": server.url, "WORKLOAD_CA_FILE": str(server.ca_file)})
    yield server.url
    on.aws.control("POST", "settings", json={"WORKLOAD_ENDPOINT": "", "WORKLOAD_CA_FILE": ""})


def test_name_of_a_cluster_of_others_fails(doctor, endpoint_that_answers):
    subnets = doctor.account.network()
    role = doctor.account.role("other", {"Service": "eks.amazonaws.com"}, "AmazonEKSClusterPolicy")
    eks = doctor.account.eks
    eks.create_cluster(name="demo", roleArn=role, resourcesVpcConfig={"subnetIds": subnets})
    until(lambda: eks.describe_cluster(name="demo")["cluster"]["status"] == "ACTIVE", 30, "demo")
    found = doctor.findings(cluster("demo"))
    failed = [(one["check"], one["message"]) for one in found if one["outcome"] == "failed"]
    assert ("cluster", "demo exists and is not Keelson's") in failed
    (endpoint,) = [one for one in found if one["check"] == "endpoint"]
    assert (endpoint["outcome"], endpoint["message"]) == ("passed", f"{endpoint_that_answers} answers")


def test_rejected_credentials_end_the_checks_of_aws(doctor):
    doctor.aws_account["spec"]["roleArn"] = f"arn:aws:iam::{doctor.id}:role/none"
    ((check, message),) = doctor.failed(cluster("demo"))
    assert check == "credentials" and "role/none" in message


def test_region_that_is_not_enabled_is_named(doctor):
    doctor.on.aws.control("POST", "regions", json={"account": doctor.id, "notOptedIn": ["ap-east-1"]})
    failed = doctor.failed(cluster("demo", region="ap-east-1"))
    assert [check for check, _ in failed] == ["credentials", "region"]
    assert failed[1][1] == "ap-east-1 is not enabled in this account"


class Repository(BaseHTTPRequestHandler):
    """Answers as a Git server does: a public repository, and a private one."""

    def do_GET(self) -> None:
        status = 200 if self.path == "/public/info/refs?service=git-upload-pack" else 401
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def git_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Repository)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def test_source_that_needs_credentials_fails_without_a_secret(doctor, git_server):
    flags = ("--live", "--allow-http-git")
    assert doctor.failed(cluster("demo", gitops=flux(f"{git_server}/public")), flags=flags) == []
    ((check, message),) = doctor.failed(cluster("demo", gitops=flux(f"{git_server}/private")), flags=flags)
    assert (check, message) == ("source", f"{git_server}/private answers 401 without credentials")
    found = doctor.findings(cluster("demo", gitops=flux("http://127.0.0.1:1/fleet")), flags=flags)
    (unreachable,) = [one for one in found if one["check"] == "source"]
    assert unreachable["outcome"] == "warning" and "cannot be reached from here" in unreachable["message"]


def test_object_in_the_management_cluster_is_checked_by_name(doctor):
    """With its node groups and account; here of a cluster that exists."""
    on = doctor.on
    item = cluster("live", addons=[])
    doctor.aws_account["metadata"]["name"] = "doctor"
    item["spec"]["accountRef"] = {"name": "doctor"}
    on.apply(doctor.aws_account, item)
    with on.operator(account=doctor.id):
        on.await_condition(item, "ControlPlaneReady")
        env = {**on.aws.env(), "AWS_ACCESS_KEY_ID": doctor.id, "KUBECONFIG": str(on.cloud.management.kubeconfig), "PATH": os.environ["PATH"]}
        command = [str(keelson_binary()), "doctor", "live", "-n", "default", "-o", "json"]
        result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        (report,) = json.loads(result.stdout)
        found = {one["check"]: one for one in report["findings"]}
        assert found["cluster"]["message"] == "live is ACTIVE", result.stderr
        endpoint = found["endpoint"]
        assert (endpoint["outcome"], "cannot be reached from here" in endpoint["message"]) == ("warning", True), endpoint
        on.delete(item)


def reconcile(on: Environment, item: dict, value: str) -> None:
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": value}}})


def test_operator_checks_quotas_and_key_before_the_first_write(doctor):
    """What AWS would refuse only after the network is paid for."""
    on, kms = doctor.on, doctor.account.client("kms")
    key = kms.create_key(KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]
    kms.disable_key(KeyId=key["KeyId"])
    # As many as every account may have: below that no limit is read.
    for second in range(5):
        doctor.account.ec2.create_vpc(CidrBlock=f"10.{second + 1}.0.0/16")
    quota = {"account": doctor.id, "region": doctor.account.region, "code": "L-F678F1CE"}
    on.aws.control("POST", "quotas", json={**quota, "value": 5})
    item = cluster("checked", addons=[], secretsEncryption={"kmsKeyArn": key["Arn"]}, accountRef={"name": "checked"})
    doctor.aws_account["metadata"]["name"] = "checked"
    mark = on.mark()
    on.apply(doctor.aws_account, item)
    with on.operator(account=doctor.id):
        found = on.await_condition(item, status="False", reason="InvalidSpec", timeout=30)
        message = conditions(found)["Ready"]["message"]
        assert "spec.secretsEncryption.kmsKeyArn" in message and "is Disabled: enable it" in message, message
        kms.enable_key(KeyId=key["KeyId"])
        reconcile(on, item, "key enabled")
        found = on.await_condition(item, status="False", reason="QuotaExceeded", timeout=30)
        message = conditions(found)["Ready"]["message"]
        assert "VPCs: 5 of 5 used, 1 needed" in message and "--quota-code L-F678F1CE" in message, message
        assert "servicequotas:GetServiceQuota" in actions(on.calls(mark, doctor.id))
        assert [call for call in actions(on.writes(mark, doctor.id)) if not call.startswith("kms:EnableKey")] == []
        on.aws.control("POST", "quotas", json={**quota, "value": 6})
        reconcile(on, item, "quota raised")
        on.await_condition(item, "ControlPlaneReady")
        on.delete(item)


def test_operator_reads_no_limit_of_a_quota_that_every_account_has(doctor):
    on, item = doctor.on, cluster("small", addons=[], accountRef={"name": "small"})
    doctor.aws_account["metadata"]["name"] = "small"
    mark = on.mark()
    on.apply(doctor.aws_account, item)
    with on.operator(account=doctor.id):
        on.await_condition(item, "ControlPlaneReady")
        called = actions(on.calls(mark, doctor.id))
        assert "eks:ListClusters" in called and not [call for call in called if call.startswith("servicequotas:")], called
        on.delete(item)
