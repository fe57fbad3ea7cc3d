"""Updates of a cluster: configuration, version, encryption; and the describe and list calls for updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import AwsError
from ..versions import MINORS, minor_number, platform_version
from . import access, control_plane_config, remote_networks
from .clusters import LOG_TYPES, auto_mode, check_encryption, check_node_role_with_pools, check_support, logging_config
from .log_groups import write_logs
from .network import (
    check_cluster_subnets,
    check_free_addresses,
    check_public_access_cidrs,
    check_security_groups,
    find_subnets,
    create_network_interfaces,
    remove_network_interfaces,
)
from .operations import Context, idempotent, operation, page, start_update
from .state import Cluster, Update, bad_parameter, bad_request, in_use, not_found

ROLLBACK_SECONDS = 7 * 24 * 3600
UPGRADE = "UPGRADE_READINESS"
MODES = ["CONFIG_MAP", "API_AND_CONFIG_MAP", "API"]
Change = tuple[str, list[tuple[str, Any]], Callable[[], None]]


def idle_cluster(context: Context, action: str) -> Cluster:
    cluster = context.cluster("name" if "name" in context.params else "clusterName")
    running = cluster.running_update()
    if running:
        raise in_use(
            f"Cannot {action} because cluster {cluster.name} currently has update {running.id} in progress", clusterName=cluster.name
        )
    if cluster.status != "ACTIVE":
        raise in_use(f"Cannot {action} because cluster {cluster.name} is not in ACTIVE status: {cluster.status}", clusterName=cluster.name)
    return cluster


def start_cluster_update(context: Context, cluster: Cluster, kind: str, params: list[tuple[str, Any]], apply: Callable[[], None]) -> Update:
    """Starts an update: the cluster is UPDATING until it ends, then ACTIVE, even if the update failed."""
    cluster.body["status"] = "UPDATING"

    def finish(update: Update) -> None:
        if update.status == "Successful":
            apply()
        if cluster.status == "UPDATING":
            cluster.body["status"] = "ACTIVE"

    return start_update(context, cluster, kind, params, context.settings.cluster_update_seconds, finish)


@operation
def update_cluster_config(context: Context) -> dict[str, Any]:
    def create() -> Update:
        cluster = idle_cluster(context, "UpdateClusterConfig")
        changes = [change for find in CHANGES if (change := find(context, cluster)) is not None]
        if not changes:
            raise bad_parameter("At least one update type must be specified", clusterName=cluster.name)
        if len(changes) > 1:
            raise bad_parameter("Only one type of update can be allowed.", clusterName=cluster.name)
        kind, params, apply = changes[0]
        return start_cluster_update(context, cluster, kind, params, apply)

    return {"update": idempotent(context, "UpdateClusterConfig", create).body()}


def vpc_change(context: Context, cluster: Cluster) -> Change | None:
    requested = context.params.get("resourcesVpcConfig")
    if not requested:
        return None
    now = cluster.body["resourcesVpcConfig"]
    placed = "subnetIds" in requested or "securityGroupIds" in requested
    access_keys = [k for k in ("endpointPublicAccess", "endpointPrivateAccess", "publicAccessCidrs") if k in requested]
    mode = requested.get("controlPlaneEgressMode")
    if sum(map(bool, (placed, access_keys, mode))) > 1:
        raise bad_parameter("Only one type of update can be allowed.", clusterName=cluster.name)
    if mode:
        control_plane_config.check_egress_mode(now.get("controlPlaneEgressMode", "AWS_MANAGED"), mode)
        return "ControlPlaneEgressUpdate", [("ControlPlaneEgressMode", mode)], lambda: now.update(controlPlaneEgressMode=mode)
    return placement_change(context, cluster, requested, now) if placed else endpoint_change(cluster, requested, now)


def placement_change(context: Context, cluster: Cluster, requested: dict[str, Any], now: dict[str, Any]) -> Change:
    subnets = requested.get("subnetIds", now["subnetIds"])
    groups = requested.get("securityGroupIds", now["securityGroupIds"])
    if set(subnets) == set(now["subnetIds"]) and set(groups) == set(now["securityGroupIds"]):
        raise bad_parameter(
            "Cluster is already at the desired configuration with the given subnets and security groups", clusterName=cluster.name
        )
    found = check_cluster_subnets(context, subnets)
    if found[0].vpc_id != cluster.vpc_id:
        raise bad_parameter("Provided subnets belong to a different VPC than the cluster's", clusterName=cluster.name)
    # https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html#network-requirements-vpc; AWS documents no text.
    zones = set(cluster.zones) or {subnet.availability_zone for subnet in find_subnets(context, now["subnetIds"])}
    if {subnet.availability_zone for subnet in found} != zones:
        raise bad_parameter(
            f"Provided subnets must be in the same set of Availability Zones as those of the cluster: {', '.join(sorted(zones))}",
            clusterName=cluster.name,
        )
    check_free_addresses([s for s in found if s.id not in now["subnetIds"]], bad_parameter)
    check_security_groups(context, groups, cluster.vpc_id)

    def apply() -> None:
        now["subnetIds"], now["securityGroupIds"] = subnets, groups
        remove_network_interfaces(context, cluster)
        create_network_interfaces(context, cluster)

    return "VpcConfigUpdate", [("Subnets", subnets), ("SecurityGroups", groups)], apply


def endpoint_change(cluster: Cluster, requested: dict[str, Any], now: dict[str, Any]) -> Change:
    public = requested.get("endpointPublicAccess", now["endpointPublicAccess"])
    private = requested.get("endpointPrivateAccess", now["endpointPrivateAccess"])
    if not public and not private:
        raise bad_parameter("Private and public endpoint access cannot be false", clusterName=cluster.name)
    cidrs = check_public_access_cidrs(requested.get("publicAccessCidrs") or now["publicAccessCidrs"] or ["0.0.0.0/0"]) if public else []
    if public == now["endpointPublicAccess"] and private == now["endpointPrivateAccess"] and set(cidrs) == set(now["publicAccessCidrs"]):
        raise bad_parameter(
            f"Cluster is already at the desired configuration with endpointPrivateAccess: {str(private).lower()} , "
            f"endpointPublicAccess: {str(public).lower()}, and Public Endpoint Restrictions: [{', '.join(cidrs)}]",
            clusterName=cluster.name,
        )

    def apply() -> None:
        now.update(endpointPublicAccess=public, endpointPrivateAccess=private, publicAccessCidrs=cidrs)

    params: list[tuple[str, Any]] = [
        ("EndpointPublicAccess", str(public).lower()), ("EndpointPrivateAccess", str(private).lower()), ("PublicAccessCidrs", cidrs),
    ]
    return "EndpointAccessUpdate", params, apply


def logging_change(context: Context, cluster: Cluster) -> Change | None:
    requested = context.params.get("logging")
    if not requested:
        return None
    enabled = {t for group in cluster.body["logging"]["clusterLogging"] if group["enabled"] for t in group["types"]}
    wanted = set(enabled)
    for setup in requested.get("clusterLogging") or []:
        types = set(setup.get("types") or [])
        wanted = wanted | types if setup.get("enabled") else wanted - types
    if wanted == enabled:
        raise bad_parameter("No changes needed for the logging config provided", clusterName=cluster.name)
    new = logging_config({"clusterLogging": [{"types": [t for t in LOG_TYPES if t in wanted], "enabled": True}]})

    def apply() -> None:
        cluster.body.update(logging=new)
        write_logs(context.region, cluster)

    return "LoggingUpdate", [("ClusterLogging", new)], apply


def access_change(context: Context, cluster: Cluster) -> Change | None:
    requested = context.params.get("accessConfig")
    if not requested or not requested.get("authenticationMode"):
        return None
    now, mode = cluster.body["accessConfig"]["authenticationMode"], requested["authenticationMode"]
    if mode == now:
        raise bad_parameter(f"Cluster is already at the desired configuration with authenticationMode: {mode}", clusterName=cluster.name)
    if MODES.index(mode) != MODES.index(now) + 1:
        raise bad_parameter(f"Unsupported authentication mode update from {now} to {mode}", clusterName=cluster.name)

    def apply() -> None:
        cluster.body["accessConfig"]["authenticationMode"] = mode
        for part in cluster.nodegroups.values():
            access.add_node_entry(context, cluster, part.body["nodeRole"], "EC2_LINUX")

    return "AccessConfigUpdate", [("AuthenticationMode", mode)], apply


def simple_change(key: str, kind: str, param: str, what: str) -> Callable[[Context, Cluster], Change | None]:
    """A change that replaces a setting as a whole."""

    def find(context: Context, cluster: Cluster) -> Change | None:
        requested = context.params.get(key)
        if requested is None:
            return None
        if requested == cluster.body.get(key):
            raise bad_parameter(f"No changes needed for the {what} provided", clusterName=cluster.name)
        if key == "upgradePolicy":
            check_support(context, cluster.version, requested.get("supportType", "EXTENDED"))
        return kind, [(param, str(requested).lower() if isinstance(requested, bool) else requested)], lambda: cluster.body.update({key: requested})

    return find


def auto_mode_change(context: Context, cluster: Cluster) -> Change | None:
    params = context.params
    balancing = (params.get("kubernetesNetworkConfig") or {}).get("elasticLoadBalancing")
    if params.get("computeConfig") is None and params.get("storageConfig") is None and balancing is None:
        return None
    check_node_role_with_pools(params)
    now = cluster.body
    merged: dict[str, Any] = {
        "computeConfig": {**now.get("computeConfig", {}), **(params.get("computeConfig") or {})},
        "storageConfig": params.get("storageConfig") or now.get("storageConfig"),
        "kubernetesNetworkConfig": {"elasticLoadBalancing": balancing or now["kubernetesNetworkConfig"]["elasticLoadBalancing"]},
        "accessConfig": now["accessConfig"],
        "bootstrapSelfManagedAddons": False,
    }
    old_role, new_role = now.get("computeConfig", {}).get("nodeRoleArn"), merged["computeConfig"].get("nodeRoleArn")
    if old_role and new_role != old_role:
        raise bad_parameter("computeConfig.nodeRoleArn cannot be changed once it is set", clusterName=cluster.name)
    new = auto_mode(merged)
    enabled = bool(merged["computeConfig"].get("enabled"))
    if new == {k: now.get(k) for k in new} and enabled == now["kubernetesNetworkConfig"]["elasticLoadBalancing"]["enabled"]:
        raise bad_parameter("Cluster is already at the desired configuration for EKS Auto Mode", clusterName=cluster.name)

    def apply() -> None:
        cluster.body.update(new)
        cluster.body["kubernetesNetworkConfig"]["elasticLoadBalancing"] = {"enabled": enabled}

    return "AutoModeUpdate", [(key[0].upper() + key[1:], value) for key, value in new.items()], apply


def component_change(context: Context, cluster: Cluster) -> Change | None:
    requested = {key: context.params[key] for key in control_plane_config.DEFAULTS if context.params.get(key)}
    if not requested:
        return None
    tier = cluster.body["controlPlaneScalingConfig"]["tier"]
    new = control_plane_config.settings(cluster.body, context.params, cluster.version, tier)
    if all(new[key] == cluster.body.get(key, control_plane_config.DEFAULTS[key]) for key in new):
        raise bad_parameter("No changes needed for the control plane component config provided", clusterName=cluster.name)
    params = [(key[0].upper() + key[1:], value) for key, value in requested.items()]
    return "ControlPlaneComponentConfigUpdate", params, lambda: cluster.body.update(new)


def remote_network_change(context: Context, cluster: Cluster) -> Change | None:
    requested = context.params.get("remoteNetworkConfig")
    if requested is None:
        return None
    now = cluster.body.get("remoteNetworkConfig") or {}
    new = remote_networks.check(context, now, requested, cluster.body)
    if new == now:
        raise bad_parameter("No changes needed for the remote network config provided", clusterName=cluster.name)
    return "RemoteNetworkConfigUpdate", [("RemoteNetworkConfig", requested)], lambda: cluster.body.update(remoteNetworkConfig=new)


CHANGES: tuple[Callable[[Context, Cluster], Change | None], ...] = (
    vpc_change,
    logging_change,
    access_change,
    auto_mode_change,
    simple_change("upgradePolicy", "UpgradePolicyUpdate", "UpgradePolicy", "upgrade policy"),
    simple_change("zonalShiftConfig", "ZonalShiftConfigUpdate", "ZonalShiftConfig", "zonal shift config"),
    component_change,
    remote_network_change,
    simple_change("deletionProtection", "DeletionProtectionUpdate", "DeletionProtection", "deletion protection"),
    simple_change("controlPlaneScalingConfig", "ControlPlaneScalingConfigUpdate", "UpdatedTier", "control plane scaling config"),
)


@operation
def update_cluster_version(context: Context) -> dict[str, Any]:
    return {"update": idempotent(context, "UpdateClusterVersion", lambda: change_version(context)).body()}


def change_version(context: Context) -> Update:
    params = context.params
    cluster = idle_cluster(context, "UpdateClusterVersion")
    old, new = cluster.version, params.get("version")
    if new not in MINORS:
        raise bad_parameter("unsupported Kubernetes version", clusterName=cluster.name)
    step = minor_number(new) - minor_number(old)
    rollback = step == -1 and can_roll_back(context, cluster, new)
    if step == 0:
        raise bad_parameter(f"Cluster is already at the desired configuration with version {new}", clusterName=cluster.name)
    if step != 1 and not rollback:
        raise bad_parameter(f"Unsupported Kubernetes minor version update from {old} to {new}", clusterName=cluster.name)
    check_support(context, new, cluster.body["upgradePolicy"]["supportType"])
    check_skew(cluster, new)
    check_insights(cluster, new, bool(params.get("force")), "ROLLBACK_READINESS" if rollback else UPGRADE)
    check_free_addresses(find_subnets(context, cluster.body["resourcesVpcConfig"]["subnetIds"]), bad_request)

    def apply() -> None:
        cluster.body["version"] = new
        cluster.body["platformVersion"] = platform_version(new)
        cluster.upgraded_from = None if rollback else (old, context.timeline.now())

    kind = "VersionRollback" if rollback else "VersionUpdate"
    return start_cluster_update(context, cluster, kind, [("Version", new), ("PlatformVersion", platform_version(new))], apply)


def can_roll_back(context: Context, cluster: Cluster, version: str) -> bool:
    before = cluster.upgraded_from
    return before is not None and before[0] == version and context.timeline.now() - before[1] <= ROLLBACK_SECONDS


def check_skew(cluster: Cluster, version: str) -> None:
    """Checks that no kubelet is newer than the control plane or more than three minors older."""
    new = minor_number(version)
    old = sorted(n for n, p in cluster.nodegroups.items() if new - minor_number(p.body["version"]) > 3)
    if old:
        raise bad_request(
            f"Kubelet version of Nodegroup(s) [{', '.join(old)}] must be updated to match cluster version {cluster.version} "
            "before updating cluster version",
            clusterName=cluster.name,
        )
    newer = sorted(n for n, p in cluster.nodegroups.items() if minor_number(p.body["version"]) > new)
    if newer:
        raise bad_request(f"Nodegroup(s) [{', '.join(newer)}] have a newer version than {version}", clusterName=cluster.name)


def check_insights(cluster: Cluster, version: str, force: bool, category: str) -> None:
    blocking = [
        i["name"]
        for i in cluster.insights.values()
        if i["category"] == category and i["insightStatus"]["status"] == "ERROR" and (i["kubernetesVersion"] == version or category != UPGRADE)
    ]
    if blocking and not force:
        raise AwsError(
            "InvalidStateException",
            f"Cluster version update is blocked by cluster insights with errors: {', '.join(blocking)}. Use --force to override.",
            clusterName=cluster.name,
        )


@operation
def associate_encryption_config(context: Context) -> dict[str, Any]:
    def create() -> Update:
        cluster = idle_cluster(context, "AssociateEncryptionConfig")
        config = check_encryption(context.params["encryptionConfig"])
        if cluster.body.get("encryptionConfig"):
            raise bad_parameter("Encryption is already enabled on the cluster", clusterName=cluster.name)
        return start_cluster_update(
            context, cluster, "AssociateEncryptionConfig", [("EncryptionConfig", config)], lambda: cluster.body.update(encryptionConfig=config)
        )

    return {"update": idempotent(context, "AssociateEncryptionConfig", create).body()}


@operation
def describe_update(context: Context) -> dict[str, Any]:
    params = context.params
    update = context.cluster("name").updates.get(params["updateId"])
    # AWS finds an update of a node group, add-on or capability only if its name is given.
    names = tuple(params.get(name, "") for name in ("nodegroupName", "addonName", "capabilityName"))
    if update is None or (update.nodegroup, update.addon, update.capability) != names:
        raise not_found(f"No update found for ID: {params['updateId']}", clusterName=params["name"])
    return {"update": update.body()}


@operation
def cancel_update(context: Context) -> dict[str, Any]:
    """EKS can cancel only a rollback of a cluster in Auto Mode, while its nodes are rolled back."""

    def create() -> Update:
        cluster = context.cluster("name")
        update = cluster.updates.get(context.params["updateId"])
        if update is None or update.nodegroup or update.addon:
            raise not_found(f"No update found for ID: {context.params['updateId']}", clusterName=cluster.name)
        auto_mode = (cluster.body.get("computeConfig") or {}).get("enabled")
        if update.status != "InProgress" or update.type != "VersionRollback" or not auto_mode:
            raise bad_request(f"Update {update.id} of type {update.type} in status {update.status} cannot be cancelled", clusterName=cluster.name)
        update.status, update.cancellation = "Cancelled", {"status": "Successful", "reason": "Cancelled by the caller"}
        cluster.body["status"] = "ACTIVE"
        return update

    return {"update": idempotent(context, "CancelUpdate", create).body()}


@operation
def list_updates(context: Context) -> dict[str, Any]:
    params = context.params
    cluster = context.cluster("name")
    nodegroup, addon, capability = (params.get(name, "") for name in ("nodegroupName", "addonName", "capabilityName"))
    if nodegroup and nodegroup not in cluster.nodegroups:
        raise not_found(f"No node group found for name: {nodegroup}.", clusterName=cluster.name, nodegroupName=nodegroup)
    if addon and addon not in cluster.addons:
        raise not_found(f"No addon: {addon} found in cluster: {cluster.name}", clusterName=cluster.name, addonName=addon)
    if capability and capability not in cluster.capabilities:
        raise not_found(f"No capability found with name: {capability}.", clusterName=cluster.name)
    ids = [u.id for u in reversed(cluster.updates.values()) if (u.nodegroup, u.addon, u.capability) == (nodegroup, addon, capability)]
    return page(context, ids, "updateIds")
