"""What docs/install.md does, from the permissions in AWS to a first cluster: its commands, in its order."""

from __future__ import annotations

import re

import yaml

from fleet.account import fresh_account
from fleet.environment import until
from fleet.guide import Guide
from keelson_harness.aws import ACCOUNT, REGION
from keelson_harness.demo import greeting
from keelson_harness.kubeapi import documents
from keelson_harness.paths import CHECKOUT, EXAMPLES
from test_doctor import Doctor

from . import Reader, as_shown, file_blocks

INSTALL = "docs/install.md"
# EKS and the operator are quick here, and one test deletes more than a user does.
QUICK_OPERATOR = {"driftInterval": "3s", "readAfterWriteWindow": "1s", "loadBalancerTimeout": "5s", "maxDeletions": 100, "maxDeletionsTotal": 100}
DRY_RUN = " --dry-run=server"
SOON = 30


def grant_permissions(guide: Guide, reader: Reader) -> None:
    eks = reader.account.eks
    role = reader.account.cluster_role("management")
    eks.create_cluster(name="MANAGEMENT", roleArn=role, resourcesVpcConfig={"subnetIds": reader.account.network("ab")})
    by_stack = fresh_account()
    reader.run_in(by_stack, guide.take("--stack-name keelson-role"))
    policies = reader.on.account(by_stack).iam.list_attached_role_policies(RoleName="keelson")["AttachedPolicies"]
    assert {"keelson", "keelson-roles", "keelson-eks"} <= {policy["PolicyName"] for policy in policies}

    reader.run(guide.take("--policy-name keelson-boundary"))
    (trust,) = file_blocks(INSTALL, "pods.eks.amazonaws.com")
    (reader.folder / "trust.json").write_text(trust)
    for part in ("--role-name keelson --assume-role-policy-document", "keelson-workloads", "keelson-karpenter", "keelson-adoption"):
        reader.run(guide.take(part))
    attached = reader.account.iam.list_attached_role_policies(RoleName="keelson")["AttachedPolicies"]
    expected = {"keelson", "keelson-roles", "keelson-eks", "keelson-workloads", "keelson-karpenter", "keelson-adoption"}
    assert {policy["PolicyName"] for policy in attached} == expected

    found = until(lambda: active(reader, "MANAGEMENT"), SOON, "the management cluster in AWS")
    reader.run(guide.take("aws eks tag-resource", ARN=found["arn"]))
    reader.run(guide.take("create-pod-identity-association"))
    assert eks.list_pod_identity_associations(clusterName="MANAGEMENT")["associations"]


def active(reader: Reader, name: str) -> dict | None:
    found = reader.account.eks.describe_cluster(name=name)["cluster"]
    return found if found["status"] == "ACTIVE" else None


def install_with_kustomize(guide: Guide, reader: Reader) -> None:
    (overlay,) = file_blocks(INSTALL, "newName: registry.example.com/keelson")
    local = overlay.replace("https://github.com/OWNER/keelson//deploy?ref=v0.1.0", "deploy")
    (reader.folder / "kustomization.yaml").write_text(local)
    crds = "'https://github.com/OWNER/keelson//crds?ref=v0.1.0'"
    printed = reader.run(guide.take("rollout status deployment/keelson", **{crds: "crds"}))
    assert "successfully rolled out" in printed


def render_the_chart(reader: Reader) -> None:
    """What the short pages say about the chart. Nothing is installed."""
    chart, short = Guide("deploy/charts/keelson/README.md"), Guide("README.md")
    for guide in (chart, short):
        assert "STATUS: pending-install" in reader.run(f"{guide.take('helm install keelson')}{DRY_RUN}")
    chart.end()
    short.end()


def install_with_helm(guide: Guide, reader: Reader) -> None:
    (values,) = file_blocks(INSTALL, "serviceMonitor:")
    (reader.folder / "values.yaml").write_text(yaml.safe_dump({**yaml.safe_load(values), "operator": QUICK_OPERATOR}))
    assert "STATUS: deployed" in reader.run(guide.take("helm install keelson"))
    reader.run(guide.take("rolebinding keelson-secrets --namespace=team"))
    monitoring = Guide("docs/monitoring.md")
    for other in (guide, monitoring):
        # The values of the page bind it already.
        reader.run("kubectl delete clusterrolebinding keelson-metrics-reader")
        reader.run(other.take("clusterrolebinding keelson-metrics-reader"))
    monitoring.end()


def check_an_account(guide: Guide, reader: Reader) -> None:
    """In an account with five VPCs, whose quotas are AWS's."""
    doctor = Doctor(reader.on, reader.folder)
    for code, value in {"L-F678F1CE": 5, "L-A4707A72": 5, "L-FE5A380F": 5, "L-0263D0A3": 5, "L-1216C47A": 64, "L-1194D53C": 100}.items():
        reader.on.aws.control("POST", "quotas", json={"account": doctor.id, "region": REGION, "code": code, "value": value})
    for _ in range(5):
        doctor.account.ec2.create_vpc(CidrBlock="10.0.0.0/16")
    reader.on.cloud.git.repository("fleet").commit(greeting("hello from Git"), message="Add clusters/demo")
    reader.write("cluster.yaml", doctor.aws_account, *minimal_manifests(reader))
    printed = reader.run_in(doctor.id, f"! {guide.take('keelson doctor -f cluster.yaml --live')}")
    text = (CHECKOUT / INSTALL).read_text()
    shown = re.search(r"^```text\n(EksCluster default/demo.*?)^```$", text, re.MULTILINE | re.DOTALL)[1]
    assert as_shown(shown.replace("111122223333", doctor.id), printed), f"shown:\n{shown}\nreal:\n{printed}"


def minimal_manifests(reader: Reader) -> list[dict]:
    """examples/minimal.yaml with the reader's repository."""
    items = documents(EXAMPLES / "minimal.yaml")
    items[0]["spec"]["gitops"]["flux"]["source"]["git"]["url"] = f"{reader.on.cloud.git.url}/fleet.git"
    return items


def create_first_cluster(guide: Guide, reader: Reader) -> None:
    (account,) = documents(EXAMPLES / "account.yaml")
    account["spec"]["permissionsBoundaryArn"] = f"arn:aws:iam::{ACCOUNT}:policy/keelson-boundary"
    account["spec"]["allowedNamespaces"] = ["*"]
    demo, nodes = minimal_manifests(reader)
    demo["spec"]["access"] = yaml.safe_load(file_blocks(INSTALL, "role/platform")[0])["spec"]["access"]
    demo["spec"]["access"]["entries"][0]["principalArn"] = reader.account.role("platform", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"})
    reader.write("account.yaml", account)
    reader.write("cluster.yaml", demo, nodes)
    doctor, plan, apply, status, kubeconfig = guide.lines("keelson doctor -f account.yaml -f cluster.yaml --live")
    assert "passed" in reader.run(doctor)
    assert "EksCluster default/demo" in reader.run(plan)
    reader.run(apply)
    reader.shell.watch(status, r"Ready \(Available\)", 120)
    reader.on.ready(demo, nodes)
    context = reader.run("kubectl config current-context").strip()
    for commands in (kubeconfig, guide.take("kubectl get nodes")):
        printed = reader.run(commands)
        assert "demo" in reader.run("kubectl config current-context")
        reader.run(f"kubectl config use-context {context}")
    assert " Ready " in printed


def create_event_queue(guide: Guide, reader: Reader) -> None:
    reader.run(guide.take("--stack-name keelson-events"))
    queue = reader.account.client("sqs").get_queue_url(QueueName="keelson-events")["QueueUrl"]
    reader.run(guide.take("aws sqs receive-message", URL=queue))
