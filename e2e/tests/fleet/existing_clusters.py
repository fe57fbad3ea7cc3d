"""Clusters that another team created with boto3 and unusual settings; and a snapshot of everything about them."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

import yaml

from keelson_harness.aws import REGION
from keelson_harness.paths import keelson_binary

from .account import Account
from .manifests import account as aws_account
from .environment import Environment, actions, until

VIEW = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234"
OURS = "keelson.dev/"
# Writes that change only tags.
TAGGING = {"TagResource", "TagRole", "TagOpenIDConnectProvider", "CreateTags"}


class Others:
    """Another team in an account: creates clusters without Keelson."""

    def __init__(self, account: Account):
        self.account = account
        self.eks = account.eks
        self.subnets = account.network("abc")
        self.cluster_role = account.cluster_role("their-clusters")
        node = {"Service": "ec2.amazonaws.com"}
        self.node_role = account.role("their-nodes", node, "AmazonEKSWorkerNodePolicy")

    def cluster(self, name: str, **arguments: object) -> str:
        network = arguments.pop("network", {})
        vpc = {"subnetIds": self.subnets, **network}
        self.eks.create_cluster(name=name, roleArn=self.cluster_role, resourcesVpcConfig=vpc, **arguments)
        until(lambda: self.status(name) == "ACTIVE", 30, f"cluster {name}")
        return name

    def status(self, name: str) -> str:
        return self.eks.describe_cluster(name=name)["cluster"]["status"]

    def addon(self, cluster: str, name: str, **arguments: object) -> None:
        self.eks.create_addon(clusterName=cluster, addonName=name, **arguments)
        described = {"clusterName": cluster, "addonName": name}
        # An add-on that needs nodes may be DEGRADED until there are some.
        settled = ("ACTIVE", "DEGRADED")
        until(
            lambda: self.eks.describe_addon(**described)["addon"]["status"] in settled,
            30,
            f"add-on {name}",
        )

    def node_group(self, cluster: str, name: str, **arguments: object) -> None:
        arguments = {"subnets": self.subnets[:2], "nodeRole": self.node_role, **arguments}
        self.eks.create_nodegroup(clusterName=cluster, nodegroupName=name, **arguments)
        described = {"clusterName": cluster, "nodegroupName": name}
        until(
            lambda: self.eks.describe_nodegroup(**described)["nodegroup"]["status"] == "ACTIVE",
            30,
            f"node group {name}",
        )

    def oidc_provider(self, cluster: str, **tags: str) -> None:
        issuer = self.eks.describe_cluster(name=cluster)["cluster"]["identity"]["oidc"]["issuer"]
        self.account.iam.create_open_id_connect_provider(
            Url=issuer,
            ClientIDList=["sts.amazonaws.com"],
            ThumbprintList=["0" * 40],
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        )

    def launch_template(self, **data: object) -> str:
        response = self.account.ec2.create_launch_template(
            LaunchTemplateName=f"theirs-{len(data)}", LaunchTemplateData=data
        )
        return response["LaunchTemplate"]["LaunchTemplateId"]

    # Kinds of clusters

    def bare(self) -> str:
        """A cluster from minimal boto3 arguments: ConfigMap mode, public endpoint, self-managed add-ons only."""
        name = self.cluster("Bare_One")
        self.node_group(name, "default")
        return name

    def odd(self) -> str:
        """A cluster that uses many settings, none as Keelson would set them."""
        account, eks = self.account, self.eks
        root = {"AWS": f"arn:aws:iam::{account.id}:root"}
        admins, viewers = account.role("admins", root), account.role("viewers", root)
        vpc = account.ec2.describe_subnets(SubnetIds=self.subnets[:1])["Subnets"][0]["VpcId"]
        group = account.ec2.create_security_group(
            GroupName="theirs", Description="theirs", VpcId=vpc
        )
        name = self.cluster(
            "odd-shop",
            version="1.34",
            network={
                "securityGroupIds": [group["GroupId"]],
                "endpointPrivateAccess": True,
                "publicAccessCidrs": ["203.0.113.0/24", "198.51.100.7/32"],
                "controlPlaneEgressMode": "CUSTOMER_ROUTED",
            },
            kubeApiServerConfig={"eventTtl": "30m"},
            kubeControllerManagerConfig={"podGcControllerConfig": {"terminatedPodGcThreshold": 1000}},
            remoteNetworkConfig={
                "remoteNodeNetworks": [{"cidrs": ["10.80.0.0/16"]}], "remotePodNetworks": [{"cidrs": ["10.85.0.0/16"]}],
            },
            kubernetesNetworkConfig={"serviceIpv4Cidr": "172.25.0.0/16"},
            logging={"clusterLogging": [{"types": ["audit", "scheduler"], "enabled": True}]},
            encryptionConfig=[{"resources": ["secrets"], "provider": {"keyArn": KEY}}],
            accessConfig={"authenticationMode": "API_AND_CONFIG_MAP"},
            upgradePolicy={"supportType": "STANDARD"},
            zonalShiftConfig={"enabled": True},
            deletionProtection=True,
            bootstrapSelfManagedAddons=False,
            tags={"Name": "odd", "team": "shop", "cost:center": "1/2"},
        )
        eks.create_access_entry(
            clusterName=name, principalArn=viewers, kubernetesGroups=["viewers", "auditors"]
        )
        eks.create_access_entry(clusterName=name, principalArn=admins, tags={"by": "hand"})
        eks.create_access_entry(clusterName=name, principalArn=account.role("hybrid", root), type="HYBRID_LINUX")
        scope = {"type": "namespace", "namespaces": ["shop", "team-*"]}
        eks.associate_access_policy(
            clusterName=name, principalArn=admins, policyArn=VIEW, accessScope=scope
        )
        eks.associate_access_policy(
            clusterName=name, principalArn=admins, policyArn=ADMIN, accessScope={"type": "cluster"}
        )
        values = json.dumps({"env": {"ENABLE_PREFIX_DELEGATION": "true", "WARM_IP_TARGET": "2"}})
        self.addon(
            name,
            "vpc-cni",
            addonVersion="v1.19.6-eksbuild.7",
            configurationValues=values,
            tags={"made": "by hand"},
        )
        self.addon(name, "kube-proxy")
        self.addon(name, "eks-pod-identity-agent")
        pods = {"Service": "pods.eks.amazonaws.com"}
        csi, dns = account.role("csi", pods), account.role("dns", pods)
        agent = [{"serviceAccount": "ebs-csi-controller-sa", "roleArn": csi}]
        self.addon(name, "aws-ebs-csi-driver", podIdentityAssociations=agent)
        eks.create_pod_identity_association(
            clusterName=name, namespace="kube-system", serviceAccount="external-dns", roleArn=dns
        )
        eks.create_pod_identity_association(
            clusterName=name, namespace="shop", serviceAccount="till", roleArn=dns, disableSessionTags=True
        )
        self.oidc_provider(name, Name="theirs")
        self.odd_node_groups(name)
        return name

    def odd_node_groups(self, cluster: str) -> None:
        # As EKS takes it beside its own.
        script = MIMEMultipart(_subparts=[MIMEText("#!/bin/sh\n", "x-shellscript")])
        user_data = base64.b64encode(script.as_bytes()).decode()
        template = self.launch_template(UserData=user_data)
        self.node_group(
            cluster,
            "Spot_Nodes",
            version="1.32",
            launchTemplate={"id": template, "version": "1"},
            instanceTypes=["m5.large", "m5a.large", "c5.xlarge"],
            capacityType="SPOT",
            scalingConfig={"minSize": 1, "maxSize": 6, "desiredSize": 3},
            labels={"workload": "batch", "numeric": "1.10", "yes": "true"},
            taints=[{"key": "spot", "value": "true", "effect": "NO_SCHEDULE"}],
            updateConfig={"maxUnavailablePercentage": 33},
            tags={"Name": "spot", "shift": "night"},
        )
        self.node_group(
            cluster,
            "fixed",
            subnets=self.subnets[2:],
            amiType="AL2023_x86_64_STANDARD",
            instanceTypes=["t3.large"],
            diskSize=33,
            scalingConfig={"minSize": 2, "maxSize": 2, "desiredSize": 2},
            updateConfig={"maxUnavailable": 2},
            nodeRepairConfig={
                "enabled": True,
                "nodeRepairConfigOverrides": [
                    {
                        "nodeMonitoringCondition": "KernelReady",
                        "nodeUnhealthyReason": "SoftLockup",
                        "minRepairWaitTimeMins": 10,
                        "repairAction": "Reboot",
                    }
                ],
            },
            warmPoolConfig={"enabled": True, "minSize": 1, "poolState": "STOPPED", "reuseOnScaleIn": True},
        )

    def small(self, name: str = "small") -> str:
        """A cluster with one resource of each kind that can be adopted."""
        pods = {"Service": "pods.eks.amazonaws.com"}
        dns = self.account.role("dns", pods)
        self.cluster(name, accessConfig={"authenticationMode": "API"}, bootstrapSelfManagedAddons=False)
        self.addon(name, "eks-pod-identity-agent")
        viewers = self.account.role("viewers", {"AWS": f"arn:aws:iam::{self.account.id}:root"})
        self.eks.create_access_entry(
            clusterName=name, principalArn=viewers, kubernetesGroups=["viewers"]
        )
        self.eks.create_pod_identity_association(
            clusterName=name, namespace="kube-system", serviceAccount="external-dns", roleArn=dns
        )
        self.oidc_provider(name)
        self.node_group(name, "workers", instanceTypes=["t3.large"])
        return name

    def private(self) -> str:
        """An IPv6 cluster with only a private endpoint and without an OIDC provider."""
        return self.cluster(
            "private-six",
            network={"endpointPublicAccess": False, "endpointPrivateAccess": True},
            kubernetesNetworkConfig={"ipFamily": "ipv6"},
            accessConfig={"authenticationMode": "API"},
        )


def picture(account: Account, without_ours: bool = False) -> dict:
    """Everything that AWS returns about the account's clusters, roles and network, tags included, as comparable text."""
    eks, iam, ec2 = account.eks, account.iam, account.ec2
    found: dict = {}
    for name in eks.list_clusters()["clusters"]:
        of = {"clusterName": name}
        found[f"cluster {name}"] = eks.describe_cluster(name=name)["cluster"]
        for addon in eks.list_addons(**of)["addons"]:
            found[f"{name} add-on {addon}"] = eks.describe_addon(addonName=addon, **of)["addon"]
        for group in eks.list_nodegroups(**of)["nodegroups"]:
            described = eks.describe_nodegroup(nodegroupName=group, **of)["nodegroup"]
            found[f"{name} node group {group}"] = described
        mode = found[f"cluster {name}"]["accessConfig"]["authenticationMode"]
        entries = [] if mode == "CONFIG_MAP" else eks.list_access_entries(**of)["accessEntries"]
        for principal in entries:
            entry = eks.describe_access_entry(principalArn=principal, **of)["accessEntry"]
            policies = eks.list_associated_access_policies(principalArn=principal, **of)
            found[f"{name} entry {principal}"] = [entry, policies["associatedAccessPolicies"]]
        for one in eks.list_pod_identity_associations(**of)["associations"]:
            described = eks.describe_pod_identity_association(
                associationId=one["associationId"], **of
            )
            found[f"{name} pod identity {one['associationId']}"] = described["association"]
    for provider in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        arn = provider["Arn"]
        found[arn] = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    found["roles"] = account.roles()
    for page in ec2.get_paginator("describe_tags").paginate():
        for tag in page["Tags"]:
            found.setdefault(tag["ResourceId"], {})[tag["Key"]] = tag["Value"]
    text = json.loads(json.dumps(found, default=str, sort_keys=True))
    for value in text.values():
        if isinstance(value, dict):
            value.pop("ResponseMetadata", None)
    return without_tags_of_ours(text) if without_ours else text


def without_tags_of_ours(value: object) -> object:
    if isinstance(value, dict):
        remaining = {k: v for k, v in value.items() if not k.startswith(OURS)}
        return {key: without_tags_of_ours(item) for key, item in remaining.items()}
    if isinstance(value, list):
        ours = [i for i in value if isinstance(i, dict) and str(i.get("Key", "")).startswith(OURS)]
        return [without_tags_of_ours(item) for item in value if item not in ours]
    return value


def assert_released(account: Account, before: dict, cluster: str) -> None:
    """Everything is as before, except for the tag with the EksCluster (`namespace/name`) that retained it."""
    now = picture(account)
    assert without_tags_of_ours(now) == before
    assert set(tags_of_ours(now)) == {("keelson.dev/cluster", cluster)}


def tags_of_ours(value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if str(value.get("Key", "")).startswith(OURS):
            yield value["Key"], value["Value"]
        for key, item in value.items():
            if key.startswith(OURS):
                yield key, item
            else:
                yield from tags_of_ours(item)
    elif isinstance(value, list):
        for item in value:
            yield from tags_of_ours(item)


def assert_idle(on: Environment, account: Account, observations: int = 8) -> None:
    """The operator observes the cluster that many times and writes nothing."""
    since = on.mark()

    def is_observed_often() -> bool:
        calls = on.calls(since, account.id)
        return sum(call["action"] == "DescribeCluster" for call in calls) >= observations

    until(is_observed_often, 60, f"{observations} observations")
    written = actions(on.writes(since, account.id))
    assert written == [], written


# The command line


def keelson(on: Environment, account: Account, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command with that account's credentials."""
    env = {**on.aws.env(), "AWS_ACCESS_KEY_ID": account.id, "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [str(keelson_binary()), *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def adopting(account: Account, **adoption: object) -> dict:
    """An AwsAccount that allows adoption."""
    return aws_account(f"account-{account.id}", account.id, adoption={"policy": "Allow", **adoption})


def reference(account: Account) -> dict:
    """`accountRef` of `adopting`."""
    return {"name": adopting(account)["metadata"]["name"]}


def imported(on: Environment, account: Account, *arguments: str) -> list[dict]:
    """Applies an AwsAccount that allows adoption. Returns the objects that `keelson import` writes for the account's clusters."""
    on.apply(adopting(account))
    placed = ("--namespace=default", f"--account-ref={reference(account)['name']}")
    result = keelson(on, account, "import", f"--region={REGION}", *placed, *arguments)
    assert result.returncode == 0, result.stderr
    return [item for item in yaml.safe_load_all(result.stdout) if item]


def live_plan(on: Environment, account: Account, directory: Path, items: list[dict]) -> str:
    """The output of `keelson plan --live` for the objects."""
    path = directory / "manifest.yaml"
    path.write_text(yaml.safe_dump_all(items))
    result = keelson(on, account, "plan", "-f", str(path), "--live")
    assert result.returncode == 0, result.stderr
    return result.stdout


def assert_only_adopts(on: Environment, account: Account, items: list[dict], before: dict, start: int) -> None:
    """Applies the objects with an operator, which writes tags until they are in sync, and then nothing. `before`: `picture` of the account;
    `start`: the mark from which on calls count."""
    on.apply(*items)
    on.ready(*items)
    for item in items:
        on.await_condition(item, "InSync")
    writes = [call for call in on.writes(start, account.id) if call["status"] < 400]
    assert writes and {call["action"] for call in writes} <= TAGGING, actions(writes)
    assert_idle(on, account)
    assert picture(account, without_ours=True) == before
