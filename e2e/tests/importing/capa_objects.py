"""The objects of Cluster API for AWS for a cluster, from what AWS answers: what `kubectl get -o yaml` prints."""

from __future__ import annotations

import yaml

from fleet.account import Account
from keelson_harness.aws import REGION

NAMESPACE = "clusters"


def of(account: Account, name: str, group: str, cluster_object: str = "shop") -> str:
    """A Cluster of that name, its control plane, and a MachinePool for the node group. name, group: in EKS."""
    eks = account.eks
    cluster = eks.describe_cluster(name=name)["cluster"]
    vpc = cluster["resourcesVpcConfig"]
    subnets = account.ec2.describe_subnets(SubnetIds=vpc["subnetIds"])["Subnets"]
    on = {kind for setup in cluster["logging"]["clusterLogging"] if setup["enabled"] for kind in setup["types"]}
    names = {"apiServer": "api", **{kind: kind for kind in ("audit", "authenticator", "controllerManager", "scheduler")}}
    addons = [eks.describe_addon(clusterName=name, addonName=addon)["addon"] for addon in eks.list_addons(clusterName=name)["addons"]]
    spec = {
        "region": REGION,
        "eksClusterName": name,
        "version": f"v{cluster['version']}.0",
        "roleName": cluster["roleArn"].rsplit("/")[-1],
        "additionalTags": {"team": "shop"},
        "endpointAccess": {"public": True, "private": True, "publicCIDRs": vpc["publicAccessCidrs"]},
        "logging": {field: kind in on for field, kind in names.items()},
        "associateOIDCProvider": True,
        "accessConfig": {"authenticationMode": cluster["accessConfig"]["authenticationMode"].lower()},
        "accessEntries": _access_entries(account, name),
        "addons": [_addon(addon) for addon in addons],
        "iamAuthenticatorConfig": {"mapRoles": [{"rolearn": cluster["roleArn"], "username": "ci", "groups": ["ci"]}]},
        "network": {
            "vpc": {"id": vpc["vpcId"], "cidrBlock": "10.9.0.0/16"},
            "subnets": [
                {"id": f"{name}-private-{n}", "resourceID": one["SubnetId"], "availabilityZone": one["AvailabilityZone"], "isPublic": False}
                for n, one in enumerate(subnets)
            ],
        },
    }
    issuer = cluster["identity"]["oidc"]["issuer"].removeprefix("https://")
    status = {
        "ready": True,
        "version": f"v{cluster['version']}",
        "oidcProvider": {"arn": f"arn:aws:iam::{account.id}:oidc-provider/{issuer}"},
        "addons": [{"name": addon["addonName"], "version": addon["addonVersion"]} for addon in addons],
        "networkStatus": {"securityGroups": {"node-eks-additional": {"id": vpc["securityGroupIds"][0]}}},
    }
    reference = {"kind": "AWSManagedControlPlane", "name": f"{cluster_object}-control-plane"}
    services = {"cidrBlocks": [cluster["kubernetesNetworkConfig"]["serviceIpv4Cidr"]]}
    documents = [
        _object("cluster.x-k8s.io/v1beta1", "Cluster", cluster_object, {"controlPlaneRef": reference, "clusterNetwork": {"services": services}}),
        _object("controlplane.cluster.x-k8s.io/v1beta2", "AWSManagedControlPlane", f"{cluster_object}-control-plane", spec, status),
        *_machine_pool(eks.describe_nodegroup(clusterName=name, nodegroupName=group)["nodegroup"], cluster_object),
    ]
    for item in documents:
        item["metadata"]["labels"] = {"cluster.x-k8s.io/cluster-name": cluster_object}
    return yaml.safe_dump_all(documents)


def _object(version: str, kind: str, name: str, spec: dict, status: dict | None = None) -> dict:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec, "status": status or {}}


def _access_entries(account: Account, name: str) -> list[dict]:
    found = []
    for principal in account.eks.list_access_entries(clusterName=name)["accessEntries"]:
        entry = account.eks.describe_access_entry(clusterName=name, principalArn=principal)["accessEntry"]
        policies = account.eks.list_associated_access_policies(clusterName=name, principalArn=principal)["associatedAccessPolicies"]
        if entry["type"] == "STANDARD":
            policies = [{"policyARN": one["policyArn"], "accessScope": one["accessScope"]} for one in policies]
            found.append({"principalARN": principal, "type": "standard", "accessPolicies": policies})
    return found


def _addon(addon: dict) -> dict:
    configuration = addon.get("configurationValues", "")
    return {"name": addon["addonName"], "version": "latest", "conflictResolution": "overwrite", "configuration": configuration}


def _machine_pool(group: dict, cluster_object: str) -> list[dict]:
    scaling, template = group["scalingConfig"], group["launchTemplate"]
    reference = {"kind": "AWSManagedMachinePool", "name": f"{cluster_object}-general"}
    pool = {
        "clusterName": cluster_object,
        "replicas": scaling["desiredSize"],
        "template": {"spec": {"infrastructureRef": reference, "version": f"v{group['version']}.0"}},
    }
    effects = {"PREFER_NO_SCHEDULE": "prefer-no-schedule", "NO_SCHEDULE": "no-schedule", "NO_EXECUTE": "no-execute"}
    spec = {
        "eksNodegroupName": group["nodegroupName"],
        "roleName": group["nodeRole"].rsplit("/")[-1],
        "subnetIDs": group["subnets"],
        "amiType": group["amiType"],
        "capacityType": "onDemand",
        "instanceType": group["instanceTypes"][0],
        "labels": group["labels"],
        "taints": [{**taint, "effect": effects[taint["effect"]]} for taint in group["taints"]],
        "scaling": {"minSize": scaling["minSize"], "maxSize": scaling["maxSize"]},
        "updateConfig": group["updateConfig"],
        "awsLaunchTemplate": {"rootVolume": {"size": 100}},
    }
    status = {"ready": True, "launchTemplateID": template["id"], "launchTemplateVersion": template["version"]}
    return [
        _object("cluster.x-k8s.io/v1beta1", "MachinePool", f"{cluster_object}-general", pool),
        _object("infrastructure.cluster.x-k8s.io/v1beta2", "AWSManagedMachinePool", f"{cluster_object}-general", spec, status),
    ]
