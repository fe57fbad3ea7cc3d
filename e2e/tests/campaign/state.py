"""The state of an account from boto3, without times and without ids of resources that may be recreated. Only reads AWS."""

from __future__ import annotations

from fleet.account import RESOURCE, Account

# Only the number of these is compared: a recreated one has a new id.
COUNTED_ONLY = ("natGateways", "addresses", "vpcEndpoints", "flowLogs", "networkInterfaces", "instances", "autoScalingGroups", "volumes")
# Prefix of the roles that the operator creates.
ROLE_PREFIX = "keelson-"
# Fields that change without an edit.
VOLATILE_FIELDS = {
    *("createdAt", "modifiedAt", "health", "status", "resources", "podIdentityAssociations", "issues"),
    *("platformVersion", "addonArn", "nodegroupArn", "fargateProfileArn", "ResponseMetadata"),
}


def state(account: Account, cluster: str) -> dict:
    eks = account.eks
    found: dict = {"inventory": inventory(account), "ec2": ec2_tags(account), "roles": roles(account)}
    if cluster not in eks.list_clusters()["clusters"]:
        return found
    key = {"clusterName": cluster}
    found["cluster"] = comparable(eks.describe_cluster(name=cluster)["cluster"])
    found["nodegroups"] = {
        name: comparable(eks.describe_nodegroup(nodegroupName=name, **key)["nodegroup"])
        for name in eks.list_nodegroups(**key)["nodegroups"]
    }
    found["autoScalingGroupTags"] = {name: group_tags(account, cluster, name) for name in found["nodegroups"]}
    found["addons"] = {
        name: addon(eks, cluster, name) for name in eks.list_addons(**key)["addons"]
    }
    found["fargateProfiles"] = {
        name: comparable(eks.describe_fargate_profile(fargateProfileName=name, **key)["fargateProfile"])
        for name in eks.list_fargate_profiles(**key)["fargateProfileNames"]
    }
    found["accessEntries"] = {
        arn: access_entry(eks, cluster, arn) for arn in eks.list_access_entries(**key)["accessEntries"]
    }
    found["podIdentities"] = pod_identities(eks, cluster)
    return found


def comparable(described: object) -> object:
    """Without volatile fields; lists sorted, as AWS keeps no order in any of them."""
    if isinstance(described, dict):
        return {key: comparable(value) for key, value in described.items() if key not in VOLATILE_FIELDS}
    if isinstance(described, list):
        return sorted(map(comparable, described), key=repr)
    return described


def inventory(account: Account) -> dict:
    return {
        kind: len(ids) if kind in COUNTED_ONLY else ids for kind, ids in account.inventory().items()
    }


def group_tags(account: Account, cluster: str, node_group: str) -> dict[str, str]:
    """The tags of the node group's Auto Scaling groups."""
    described = account.eks.describe_nodegroup(clusterName=cluster, nodegroupName=node_group)["nodegroup"]
    names = [one["name"] for one in described.get("resources", {}).get("autoScalingGroups", [])]
    if not names:
        return {}
    groups = account.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=names)["AutoScalingGroups"]
    return {tag["Key"]: tag["Value"] for group in groups for tag in group["Tags"]}


def ec2_tags(account: Account) -> dict:
    """Tags by Keelson's resource key, with the id where it must not change."""
    found = {}
    for id_, tags in account.tagged().items():
        prefix = id_.partition("-")[0]
        fixed = prefix in ("vpc", "subnet", "igw", "rtb", "sg")
        found[tags[RESOURCE]] = {"id": id_ if fixed else prefix, "tags": tags}
    return found


def roles(account: Account) -> dict:
    """Roles that the operator created; the inventory covers the existence of all others."""
    iam = account.iam
    found = {}
    for role in iam.list_roles()["Roles"]:
        name = role["RoleName"]
        if not name.startswith(ROLE_PREFIX):
            continue
        attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        described = iam.get_role(RoleName=name)["Role"]
        found[name] = {
            "policies": sorted(policy["PolicyArn"] for policy in attached),
            "tags": {tag["Key"]: tag["Value"] for tag in described.get("Tags", [])},
            "boundary": described.get("PermissionsBoundary", {}),
        }
    return found


def addon(eks, cluster: str, name: str) -> dict:
    described = eks.describe_addon(clusterName=cluster, addonName=name)["addon"]
    return {**comparable(described), "podIdentities": len(described.get("podIdentityAssociations", []))}


def access_entry(eks, cluster: str, arn: str) -> dict:
    key = {"clusterName": cluster, "principalArn": arn}
    entry = eks.describe_access_entry(**key)["accessEntry"]
    policies = eks.list_associated_access_policies(**key)["associatedAccessPolicies"]
    scopes = {policy["policyArn"]: policy["accessScope"] for policy in policies}
    return {"kubernetesGroups": entry["kubernetesGroups"], "tags": entry["tags"], "policies": scopes}


def pod_identities(eks, cluster: str) -> dict:
    found = {}
    for listed in eks.list_pod_identity_associations(clusterName=cluster)["associations"]:
        key = {"clusterName": cluster, "associationId": listed["associationId"]}
        described = eks.describe_pod_identity_association(**key)["association"]
        found[f"{listed['namespace']}/{listed['serviceAccount']}"] = described["roleArn"]
    return found


def differences(before: object, after: object, path: str = "") -> list[str]:
    """Each difference, as `cluster.logging: was ..., is ...`."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            line
            for key in sorted(before.keys() | after.keys())
            for line in differences(before.get(key), after.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if before == after else [f"{path}: was {before!r}, is {after!r}"]
