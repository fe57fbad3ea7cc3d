"""The state that Terraform keeps of a cluster, from what AWS answers: what `terraform show -json` prints."""

from __future__ import annotations

import json
import re

from fleet.account import Account


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def attributes(described: dict) -> dict:
    """Members with Terraform's names; structures are lists with one block."""
    return {snake(key): [attributes(value)] if isinstance(value, dict) else value for key, value in described.items()}


class State:
    """Resources by address."""

    def __init__(self) -> None:
        self.modules: dict[str, list[dict]] = {}
        self.arns: dict[str, str] = {}

    def add(self, module: str, resource: str, values: dict, index: int | str | None = None, arn: str = "") -> None:
        key = "" if index is None else f"[{json.dumps(index)}]"
        address = f"{module}.{resource}{key}"
        kind, name = resource.split(".")
        entry = {"address": address, "mode": "managed", "type": kind, "name": name, "values": values, "sensitive_values": {}}
        self.modules.setdefault(module, []).append(entry if index is None else {**entry, "index": index})
        if arn:
            self.arns[address] = arn

    def shown(self) -> str:
        children = [{"address": module, "resources": resources} for module, resources in self.modules.items()]
        document = {"format_version": "1.0", "terraform_version": "1.12.2", "values": {"root_module": {"child_modules": children}}}
        return json.dumps(document, default=str)


def of(account: Account, name: str) -> State:
    """The state after `terraform apply` of a VPC module and an EKS module."""
    state, eks, in_eks = State(), account.eks, {"clusterName": name}
    cluster = eks.describe_cluster(name=name)["cluster"]
    vpc = cluster["resourcesVpcConfig"]
    state.add("module.vpc", "aws_vpc.this", {"id": vpc["vpcId"]}, 0)
    for number, subnet in enumerate(vpc["subnetIds"]):
        state.add("module.vpc", "aws_subnet.private", {"id": subnet}, number)
    enabled = [setup["types"] for setup in cluster["logging"]["clusterLogging"] if setup["enabled"]]
    plain = ("name", "arn", "version", "roleArn", "status", "endpoint", "deletionProtection")
    values = {snake(key): cluster.get(key) for key in plain}
    values |= {
        "enabled_cluster_log_types": sum(enabled, []),
        "vpc_config": [attributes(vpc)],
        "kubernetes_network_config": [attributes(cluster["kubernetesNetworkConfig"])],
        "access_config": [attributes(cluster["accessConfig"])],
        "upgrade_policy": [attributes(cluster["upgradePolicy"])],
        "identity": [attributes(cluster["identity"])],
        "tags": cluster["tags"],
        "tags_all": cluster["tags"],
        "encryption_config": [],
        "timeouts": {},
    }
    eks_module = "module.eks"
    state.add(eks_module, "aws_eks_cluster.this", values, 0, cluster["arn"])
    issuer = cluster["identity"]["oidc"]["issuer"].removeprefix("https://")
    provider = f"arn:aws:iam::{account.id}:oidc-provider/{issuer}"
    state.add(eks_module, "aws_iam_openid_connect_provider.oidc_provider", {"arn": provider, "url": issuer}, 0, provider)
    for group in account.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/eks/{name}/")["logGroups"]:
        values = {"name": group["logGroupName"], "retention_in_days": group["retentionInDays"], "kms_key_id": ""}
        state.add(eks_module, "aws_cloudwatch_log_group.this", values, 0, group["arn"].removesuffix(":*"))
    for role in (cluster["roleArn"].rsplit("/")[-1],):
        state.add(eks_module, "aws_iam_role.this", {"name": role}, 0)
    for addon in eks.list_addons(**in_eks)["addons"]:
        found = eks.describe_addon(addonName=addon, **in_eks)["addon"]
        values = {snake(key): value for key, value in found.items() if key not in ("addonArn", "health", "podIdentityAssociations")}
        state.add(eks_module, "aws_eks_addon.this", {**values, "arn": found["addonArn"], "preserve": None}, addon, found["addonArn"])
    for principal in eks.list_access_entries(**in_eks)["accessEntries"]:
        found = eks.describe_access_entry(principalArn=principal, **in_eks)["accessEntry"]
        if found["type"] != "STANDARD":
            # EKS creates the entry of nodes itself.
            continue
        values = {snake(key): value for key, value in found.items()} | {"user_name": found["username"]}
        values.pop("username")
        key = principal.rsplit("/")[-1]
        state.add(eks_module, "aws_eks_access_entry.this", values, key, found["accessEntryArn"])
        for policy in eks.list_associated_access_policies(principalArn=principal, **in_eks)["associatedAccessPolicies"]:
            values = {"cluster_name": name, "principal_arn": principal, **attributes(policy)}
            index = f"{key}_{policy['policyArn'].rsplit('/')[-1]}"
            state.add(eks_module, "aws_eks_access_policy_association.this", values, index)
    for group in eks.list_nodegroups(**in_eks)["nodegroups"]:
        _add_node_group(state, eks.describe_nodegroup(nodegroupName=group, **in_eks)["nodegroup"])
    return state


def _add_node_group(state: State, found: dict) -> None:
    module = f'module.eks.module.eks_managed_node_group["{found["nodegroupName"]}"]'
    same = ("clusterName", "version", "releaseVersion", "amiType", "capacityType", "instanceTypes", "labels", "status")
    values = {snake(key): found[key] for key in same}
    update = {"max_unavailable": 0, "max_unavailable_percentage": 0, **attributes(found["updateConfig"])}
    values |= {
        "arn": found["nodegroupArn"],
        "node_group_name": found["nodegroupName"],
        "node_role_arn": found["nodeRole"],
        "subnet_ids": found["subnets"],
        "disk_size": found.get("diskSize", 0),
        "scaling_config": [attributes(found["scalingConfig"])],
        "update_config": [update],
        "taint": found.get("taints", []),
        "launch_template": [found["launchTemplate"]] if "launchTemplate" in found else [],
        "tags": found["tags"],
        "tags_all": found["tags"],
        "remote_access": [],
    }
    state.add(module, "aws_eks_node_group.this", values, 0, found["nodegroupArn"])
    state.add(module, "aws_launch_template.this", {"id": found["launchTemplate"]["id"]}, 0)
    state.add(module, "aws_iam_role.this", {"name": found["nodeRole"].rsplit("/")[-1]}, 0)
