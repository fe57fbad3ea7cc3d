"""All that is in an account as boto3 tells it, but for times and the ids of what may come and go. No I/O but reads of AWS."""

from __future__ import annotations

from fleet.account import RESOURCE, Account

# Of these only the number counts: what asks for one anew gets a new id.
NAMELESS = ("natGateways", "addresses", "vpcEndpoints", "networkInterfaces", "instances", "autoScalingGroups", "volumes")
# How the names of the roles begin that the operator makes.
MADE = "keelson-"
# Said anew each time.
TOLD = {
    *("createdAt", "modifiedAt", "health", "status", "resources", "podIdentityAssociations", "issues"),
    *("platformVersion", "addonArn", "nodegroupArn", "fargateProfileArn", "ResponseMetadata"),
}


def state(account: Account, cluster: str) -> dict:
    eks = account.eks
    found: dict = {"inventory": inventory(account), "ec2": ec2_tags(account), "roles": roles(account)}
    if cluster not in eks.list_clusters()["clusters"]:
        return found
    of = {"clusterName": cluster}
    found["cluster"] = told(eks.describe_cluster(name=cluster)["cluster"])
    found["nodegroups"] = {
        name: told(eks.describe_nodegroup(nodegroupName=name, **of)["nodegroup"])
        for name in eks.list_nodegroups(**of)["nodegroups"]
    }
    found["addons"] = {
        name: addon(eks, cluster, name) for name in eks.list_addons(**of)["addons"]
    }
    found["fargateProfiles"] = {
        name: told(eks.describe_fargate_profile(fargateProfileName=name, **of)["fargateProfile"])
        for name in eks.list_fargate_profiles(**of)["fargateProfileNames"]
    }
    found["accessEntries"] = {
        arn: access_entry(eks, cluster, arn) for arn in eks.list_access_entries(**of)["accessEntries"]
    }
    found["podIdentities"] = pod_identities(eks, cluster)
    return found


def told(described: object) -> object:
    """Without what is said anew each time; lists sorted, as none here has an order that AWS keeps."""
    if isinstance(described, dict):
        return {key: told(value) for key, value in described.items() if key not in TOLD}
    if isinstance(described, list):
        return sorted(map(told, described), key=repr)
    return described


def inventory(account: Account) -> dict:
    return {
        kind: len(ids) if kind in NAMELESS else ids for kind, ids in account.inventory().items()
    }


def ec2_tags(account: Account) -> dict:
    """Tags by the key that we gave each; and its id, where that must stay."""
    found = {}
    for id_, tags in account.tagged().items():
        prefix = id_.partition("-")[0]
        stays = prefix in ("vpc", "subnet", "igw", "rtb", "sg")
        found[tags[RESOURCE]] = {"id": id_ if stays else prefix, "tags": tags}
    return found


def roles(account: Account) -> dict:
    """Those that the operator made; of all others the inventory tells whether they are there."""
    iam = account.iam
    found = {}
    for role in iam.list_roles()["Roles"]:
        name = role["RoleName"]
        if not name.startswith(MADE):
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
    return {**told(described), "podIdentities": len(described.get("podIdentityAssociations", []))}


def access_entry(eks, cluster: str, arn: str) -> dict:
    of = {"clusterName": cluster, "principalArn": arn}
    entry = eks.describe_access_entry(**of)["accessEntry"]
    policies = eks.list_associated_access_policies(**of)["associatedAccessPolicies"]
    scopes = {policy["policyArn"]: policy["accessScope"] for policy in policies}
    return {"kubernetesGroups": entry["kubernetesGroups"], "tags": entry["tags"], "policies": scopes}


def pod_identities(eks, cluster: str) -> dict:
    found = {}
    for listed in eks.list_pod_identity_associations(clusterName=cluster)["associations"]:
        of = {"clusterName": cluster, "associationId": listed["associationId"]}
        described = eks.describe_pod_identity_association(**of)["association"]
        found[f"{listed['namespace']}/{listed['serviceAccount']}"] = described["roleArn"]
    return found


def differences(before: object, after: object, path: str = "") -> list[str]:
    """Each place where they differ, as `cluster.logging: was ..., is ...`."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            line
            for key in sorted(before.keys() | after.keys())
            for line in differences(before.get(key), after.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if before == after else [f"{path}: was {before!r}, is {after!r}"]
