"""Clusters: create, describe, list, delete."""

from __future__ import annotations

from typing import Any

from .. import quotas
from ..catalog import CATALOG
from ..cloud import attached_policies, ec2, find_role, has_inline_policies, trusts_service
from ..versions import DEFAULT_VERSION, MINORS, platform_version
from . import access, certificate_authorities, control_plane_config, guard_duty, log_groups, remote_networks
from .authority import certificate_authority
from .network import (
    MIN_FREE_ADDRESSES,
    check_cluster_subnets,
    check_free_addresses,
    check_public_access_cidrs,
    check_security_groups,
    create_network_interfaces,
    create_security_group,
    remove_network_interfaces,
    remove_security_group,
    service_cidr,
)
from .operations import Context, idempotent, operation, page
from .state import ApiServer, Cluster, bad_parameter, bad_request, in_use, limit_exceeded, new_hex
from .tags import check_tags

# Poll interval while a cluster waits for its API server.
API_SERVER_SECONDS = 0.1
# Installed in a new cluster unless bootstrapSelfManagedAddons is false.
CORE_ADDONS = ("vpc-cni", "kube-proxy", "coredns")
LOG_TYPES = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
CLUSTER_POLICY = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"


@operation
def create_cluster(context: Context) -> dict[str, Any]:
    cluster = idempotent(context, "CreateCluster", lambda: new_cluster(context))
    return {"cluster": response_body(cluster)}


def new_cluster(context: Context) -> Cluster:
    params, region = context.params, context.region
    name = params["name"]
    if name in region.clusters:
        raise in_use(f"Cluster already exists with name: {name}", clusterName=name)
    version = params.get("version") or DEFAULT_VERSION
    if version not in MINORS:
        raise bad_parameter("unsupported Kubernetes version", clusterName=name)
    support = (params.get("upgradePolicy") or {}).get("supportType", "EXTENDED")
    check_support(context, version, support)
    check_cluster_role(params["roleArn"])
    network, vpc, zones = network_config(context)
    tags = check_tags(params.get("tags"))
    limit = int(quotas.value(region.account, region.name, quotas.CLUSTERS))
    too_many = limit_exceeded(f"The maximum number of clusters per region has been reached: {limit}", clusterName=name)
    quotas.check(region.account, region.name, quotas.CLUSTERS, len(region.clusters), too_many)
    access_config = params.get("accessConfig") or {}
    check_node_role_with_pools(params)
    body: dict[str, Any] = {
        "name": name,
        "arn": region.arn(f"cluster/{name}"),
        "createdAt": context.now,
        "version": version,
        "roleArn": params["roleArn"],
        "resourcesVpcConfig": network,
        "kubernetesNetworkConfig": kubernetes_network(params.get("kubernetesNetworkConfig") or {}, vpc),
        "logging": logging_config(params.get("logging")),
        "status": "CREATING",
        "certificateAuthority": {},
        "platformVersion": platform_version(version),
        "tags": tags,
        "health": {"issues": []},
        "accessConfig": {"authenticationMode": access_config.get("authenticationMode", "CONFIG_MAP")},
        "upgradePolicy": {"supportType": support},
        "deletionProtection": bool(params.get("deletionProtection")),
        "controlPlaneScalingConfig": params.get("controlPlaneScalingConfig") or {"tier": "standard"},
    }
    body.update(auto_mode(params))
    body.update(control_plane_config.settings({}, params, version, body["controlPlaneScalingConfig"]["tier"]))
    if params.get("remoteNetworkConfig"):
        body["remoteNetworkConfig"] = remote_networks.check(context, {}, params["remoteNetworkConfig"], body)
    if params.get("clientRequestToken"):
        body["clientRequestToken"] = params["clientRequestToken"]
    if params.get("encryptionConfig"):
        body["encryptionConfig"] = check_encryption(params["encryptionConfig"])
    if params.get("zonalShiftConfig"):
        body["zonalShiftConfig"] = params["zonalShiftConfig"]
    cluster = Cluster(name, body, context.caller.principal_arn, zones=zones)
    if params.get("bootstrapSelfManagedAddons") is not False:
        cluster.unmanaged_software = set(CORE_ADDONS)
    region.clusters[name] = cluster
    if access_config.get("bootstrapClusterCreatorAdminPermissions", True):
        access.bootstrap_creator(context, cluster)
    seconds = context.settings.cluster_create_seconds
    context.timeline.after(seconds / 2, lambda: create_network(context, cluster))
    context.timeline.after(seconds, lambda: finish_creation(context, cluster))
    return cluster


def check_support(context: Context, version: str, support: str) -> None:
    if support == "STANDARD" and CATALOG.minor(context.region.account, version).extended:
        raise bad_parameter(f"Kubernetes version {version} is in extended support, which the upgrade policy STANDARD does not allow")


def check_cluster_role(arn: str) -> None:
    role = find_role(arn)
    if role is None:
        raise bad_parameter(f"The roleArn {arn} does not exist or is not a role")
    if not trusts_service(role, "eks.amazonaws.com"):
        raise bad_parameter("Role could not be assumed because the trusted entity is not correct")
    known = {"AmazonEKSClusterPolicy", "AdministratorAccess", "AmazonEKSComputePolicy"}
    if not attached_policies(role) & known and not has_inline_policies(role):
        raise bad_parameter(
            "The provided role doesn't have the Amazon EKS Managed Policies associated with it. "
            f"Please ensure the following policy is attached: {CLUSTER_POLICY}"
        )


def network_config(context: Context) -> tuple[dict[str, Any], Any, list[str]]:
    requested = context.params["resourcesVpcConfig"]
    subnet_ids = requested.get("subnetIds") or []
    if not subnet_ids:
        raise bad_parameter("resourcesVpcConfig.subnetIds cannot be empty")
    subnets = check_cluster_subnets(context, subnet_ids)
    check_free_addresses(subnets, bad_parameter, MIN_FREE_ADDRESSES)
    vpc_id = subnets[0].vpc_id
    groups = requested.get("securityGroupIds") or []
    check_security_groups(context, groups, vpc_id)
    public = requested.get("endpointPublicAccess", True)
    private = requested.get("endpointPrivateAccess", False)
    if not public and not private:
        raise bad_parameter("Private and public endpoint access cannot be false")
    config = {
        "subnetIds": subnet_ids,
        "securityGroupIds": groups,
        "vpcId": vpc_id,
        "endpointPublicAccess": public,
        "endpointPrivateAccess": private,
        "publicAccessCidrs": check_public_access_cidrs(requested.get("publicAccessCidrs") or ["0.0.0.0/0"]) if public else [],
    }
    if requested.get("controlPlaneEgressMode"):
        config["controlPlaneEgressMode"] = requested["controlPlaneEgressMode"]
    zones = sorted({subnet.availability_zone for subnet in subnets})
    return config, ec2(context.region.account, context.region.name).get_vpc(vpc_id), zones


def kubernetes_network(requested: dict[str, Any], vpc: Any) -> dict[str, Any]:
    family = requested.get("ipFamily", "ipv4")
    balancing = {"enabled": bool((requested.get("elasticLoadBalancing") or {}).get("enabled"))}
    if family == "ipv6":
        if requested.get("serviceIpv4Cidr"):
            raise bad_parameter("serviceIpv4Cidr cannot be specified with ipFamily ipv6")
        return {"ipFamily": "ipv6", "serviceIpv6Cidr": f"fd{new_hex(2).lower()}:{new_hex(4).lower()}:{new_hex(4).lower()}::/108",
                "elasticLoadBalancing": balancing}
    return {"ipFamily": "ipv4", "serviceIpv4Cidr": service_cidr(requested.get("serviceIpv4Cidr"), vpc), "elasticLoadBalancing": balancing}


def logging_config(requested: dict[str, Any] | None) -> dict[str, Any]:
    """All log types, grouped as in DescribeCluster: the enabled ones first."""
    enabled: list[str] = []
    for setup in (requested or {}).get("clusterLogging") or []:
        if setup.get("enabled"):
            enabled += setup.get("types") or []
    on = [kind for kind in LOG_TYPES if kind in enabled]
    off = [kind for kind in LOG_TYPES if kind not in enabled]
    groups = [{"types": on, "enabled": True}] if on else []
    if off:
        groups.append({"types": off, "enabled": False})
    return {"clusterLogging": groups}


def check_node_role_with_pools(params: dict[str, Any]) -> None:
    """Of a request; the text is from aws/aws-cdk#33894."""
    compute = params.get("computeConfig") or {}
    if compute.get("nodeRoleArn") and not compute.get("nodePools"):
        raise bad_parameter("When Compute Config nodeRoleArn is not null or empty, nodePool value(s) must be provided.")


def auto_mode(params: dict[str, Any]) -> dict[str, Any]:
    compute = params.get("computeConfig") or {}
    storage = params.get("storageConfig") or {}
    balancing = (params.get("kubernetesNetworkConfig") or {}).get("elasticLoadBalancing") or {}
    switches = {bool(compute.get("enabled")), bool((storage.get("blockStorage") or {}).get("enabled")), bool(balancing.get("enabled"))}
    if len(switches) > 1:
        raise bad_parameter(
            "For EKS Auto Mode, please ensure that all required configs, including computeConfig, "
            "kubernetesNetworkConfig, and blockStorage are all either fully enabled or fully disabled."
        )
    if compute.get("enabled"):
        if params.get("bootstrapSelfManagedAddons") is not False:
            raise bad_parameter("bootstrapSelfManagedAddons must be false when EKS Auto Mode is enabled")
        if compute.get("nodePools") and not compute.get("nodeRoleArn"):
            raise bad_parameter("When Compute Config nodeRoleArn is null or empty, nodePool list cannot be populated.")
        mode = (params.get("accessConfig") or {}).get("authenticationMode", "CONFIG_MAP")
        if mode == "CONFIG_MAP":
            raise bad_parameter("EKS Auto Mode requires the authentication mode API or API_AND_CONFIG_MAP")
    if not compute.get("enabled"):
        compute = {"enabled": False}
    # Returned only if requested: Terraform treats members that it did not set as a difference.
    config: dict[str, Any] = {}
    if params.get("computeConfig"):
        roles = {k: compute[k] for k in ("nodePools", "nodeRoleArn") if compute.get(k)}
        config["computeConfig"] = {"enabled": bool(compute.get("enabled")), **roles}
    if params.get("storageConfig"):
        config["storageConfig"] = {"blockStorage": {"enabled": bool((storage.get("blockStorage") or {}).get("enabled"))}}
    return config


def check_encryption(config: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(config) != 1:
        raise bad_parameter("Exactly one encryptionConfig is allowed")
    if config[0].get("resources") != ["secrets"]:
        raise bad_parameter("encryptionConfig.resources must be [secrets]")
    arn = (config[0].get("provider") or {}).get("keyArn", "")
    if ":kms:" not in arn:
        raise bad_parameter(f"Invalid KMS key ARN in encryptionConfig: {arn}")
    return config


def create_network(context: Context, cluster: Cluster) -> None:
    if cluster.status != "CREATING" or "fail" in context.outcome or "health_issue" in context.outcome:
        return
    cluster.body["resourcesVpcConfig"]["clusterSecurityGroupId"] = create_security_group(context, cluster)
    create_network_interfaces(context, cluster)


def finish_creation(context: Context, cluster: Cluster) -> None:
    if cluster.status != "CREATING":
        return
    if "fail" in context.outcome or "health_issue" in context.outcome:
        issue = context.outcome.get("health_issue") or {"code": "InternalFailure", "message": context.outcome["fail"]}
        cluster.body["status"] = "FAILED"
        cluster.body["health"]["issues"] = [{"resourceIds": [], "code": "Other", **issue}]
        return
    server = api_server(context, cluster)
    if server is None and context.settings.has_own_api_server(cluster.name):
        context.timeline.after(API_SERVER_SECONDS, lambda: finish_creation(context, cluster))
        return
    region = context.region.name
    name = new_hex(32)
    cluster.body["endpoint"] = server.endpoint if server and server.endpoint else f"https://{name}.gr7.{region}.eks.amazonaws.com"
    issuers = context.settings.oidc_issuer_url.rstrip("/") or f"https://oidc.eks.{region}.amazonaws.com"
    cluster.body["identity"] = {"oidc": {"issuer": f"{issuers}/id/{name}"}}
    certificate_authorities.initial(cluster, server.ca() if server else certificate_authority(), context.now)
    cluster.body["status"] = "ACTIVE"
    log_groups.write_logs(context.region, cluster)
    guard_duty.watch(context, cluster)


def api_server(context: Context, cluster: Cluster) -> ApiServer | None:
    """The cluster's own API server, or the shared one; None if there is none."""
    settings = context.settings
    if cluster.api_server or settings.workload_each or not settings.workload_ca_file:
        return cluster.api_server
    return ApiServer(settings.workload_endpoint, settings.workload_ca_file, settings.workload_kubeconfig)


def response_body(cluster: Cluster) -> dict[str, Any]:
    """A copy of the body, so that later changes do not affect the response."""
    return dict(cluster.body)


@operation
def describe_cluster(context: Context) -> dict[str, Any]:
    cluster = context.cluster("name")
    server = api_server(context, cluster)
    if cluster.status != "CREATING" and server and cluster.body["certificateAuthority"]:
        # Tests rotate the workload cluster's CA and change its endpoint while the emulator runs.
        certificate_authorities.trust_server(cluster, server.ca())
        cluster.body["endpoint"] = server.endpoint or cluster.body["endpoint"]
    return {"cluster": response_body(cluster)}


@operation
def list_clusters(context: Context) -> dict[str, Any]:
    return page(context, sorted(context.region.clusters), "clusters")


@operation
def delete_cluster(context: Context) -> dict[str, Any]:
    cluster = context.cluster("name")
    name = cluster.name
    if cluster.body["deletionProtection"]:
        raise bad_request(f"Cannot delete cluster {name} because deletion protection is enabled", clusterName=name)
    if cluster.nodegroups:
        raise in_use("Cluster has nodegroups attached", clusterName=name, nodegroupName=",".join(sorted(cluster.nodegroups)))
    if cluster.fargate_profiles:
        raise in_use("Cluster has Fargate profiles attached", clusterName=name)
    if cluster.capabilities:
        raise in_use("Cluster has capabilities attached", clusterName=name)
    if cluster.status == "UPDATING":
        raise in_use(f"Cannot delete because cluster {name} currently has an update in progress", clusterName=name)
    if cluster.status == "CREATING":
        raise in_use(f"Cannot delete because cluster {name} currently has a creation in progress", clusterName=name)
    if cluster.status == "DELETING":
        raise in_use(f"Cannot delete because cluster {name} currently has a deletion in progress", clusterName=name)
    cluster.body["status"] = "DELETING"
    seconds = context.settings.cluster_delete_seconds
    context.timeline.after(seconds / 2, lambda: remove_network_interfaces(context, cluster))
    context.timeline.after(seconds, lambda: finish_deletion(context, cluster))
    return {"cluster": response_body(cluster)}


def finish_deletion(context: Context, cluster: Cluster) -> None:
    if "fail" in context.outcome or "health_issue" in context.outcome:
        issue = context.outcome.get("health_issue") or {"code": "InternalFailure", "message": context.outcome["fail"]}
        cluster.body["status"] = "FAILED"
        cluster.body["health"]["issues"] = [{"resourceIds": [], "code": "Other", "message": "", **issue}]
        return
    remove_security_group(context, cluster)
    if context.region.clusters.get(cluster.name) is cluster:
        del context.region.clusters[cluster.name]
