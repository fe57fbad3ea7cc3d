"""Updates of a cluster: one at a time, one kind of change per update, ACTIVE again afterwards."""

from __future__ import annotations

from conftest import Cloud, Server, expect_error


def test_version_increases_by_one(cloud: Cloud) -> None:
    cloud.cluster(version="1.33")
    update = cloud.eks.update_cluster_version(name="demo", version="1.34")["update"]
    assert (update["type"], update["status"]) == ("VersionUpdate", "InProgress")
    assert cloud.status() == "UPDATING" and cloud.describe()["version"] == "1.33"
    assert cloud.update_done({"update": update})["status"] == "Successful"
    assert (cloud.status(), cloud.describe()["version"]) == ("ACTIVE", "1.34")
    assert cloud.eks.list_updates(name="demo")["updateIds"] == [update["id"]]


def test_call_log_contains_the_requested_version(cloud: Cloud, server: Server) -> None:
    cloud.cluster(version="1.33")
    before = server.get("calls")["last"]
    cloud.eks.update_cluster_version(name="demo", version="1.34", clientRequestToken="u")
    (call,) = server.get("calls", since=before)["calls"]
    assert (call["action"], call["asked"]) == ("UpdateClusterVersion", {"version": "1.34", "clientRequestToken": "u"})


def test_version_cannot_be_skipped_or_lowered(cloud: Cloud) -> None:
    cloud.cluster(version="1.33")
    with expect_error("InvalidParameterException", "Unsupported Kubernetes minor version update from 1.33 to 1.35"):
        cloud.eks.update_cluster_version(name="demo", version="1.35")
    with expect_error("InvalidParameterException", "from 1.33 to 1.32"):
        cloud.eks.update_cluster_version(name="demo", version="1.32")
    with expect_error("InvalidParameterException", "already at the desired configuration"):
        cloud.eks.update_cluster_version(name="demo", version="1.33")


def test_upgrade_can_be_rolled_back_once(cloud: Cloud) -> None:
    cloud.cluster(version="1.33")
    cloud.update_done(cloud.eks.update_cluster_version(name="demo", version="1.34"))
    update = cloud.eks.update_cluster_version(name="demo", version="1.33")
    assert update["update"]["type"] == "VersionRollback"
    cloud.update_done(update)
    assert cloud.describe()["version"] == "1.33"
    with expect_error("InvalidParameterException"):
        cloud.eks.update_cluster_version(name="demo", version="1.32")


def test_only_one_update_at_a_time(cloud: Cloud) -> None:
    cloud.cluster()
    first = cloud.eks.update_cluster_config(name="demo", logging={"clusterLogging": [{"types": ["api"], "enabled": True}]})
    with expect_error("ResourceInUseException", first["update"]["id"]) as error:
        cloud.eks.update_cluster_version(name="demo", version="1.35")
    assert error.status == 409
    with expect_error("ResourceInUseException", "in progress"):
        cloud.eks.delete_cluster(name="demo")
    cloud.update_done(first)


def test_only_one_kind_of_change_per_update(cloud: Cloud) -> None:
    cloud.cluster()
    with expect_error("InvalidParameterException", "Only one type of update can be allowed"):
        cloud.eks.update_cluster_config(
            name="demo", deletionProtection=True, logging={"clusterLogging": [{"types": ["api"], "enabled": True}]}
        )


def test_endpoint_change_keeps_the_subnets(cloud: Cloud) -> None:
    cloud.cluster()
    update = cloud.eks.update_cluster_config(
        name="demo", resourcesVpcConfig={"endpointPrivateAccess": True, "publicAccessCidrs": ["203.0.113.0/24"]}
    )
    assert update["update"]["type"] == "EndpointAccessUpdate"
    cloud.update_done(update)
    config = cloud.describe()["resourcesVpcConfig"]
    assert config["subnetIds"] == cloud.subnets
    assert (config["endpointPrivateAccess"], config["publicAccessCidrs"]) == (True, ["203.0.113.0/24"])


def test_updates_without_changes_are_rejected(cloud: Cloud) -> None:
    cloud.cluster(logging={"clusterLogging": [{"types": ["api"], "enabled": True}]})
    with expect_error("InvalidParameterException", "No changes needed for the logging config provided"):
        cloud.eks.update_cluster_config(name="demo", logging={"clusterLogging": [{"types": ["api"], "enabled": True}]})
    with expect_error("InvalidParameterException", "Cluster is already at the desired configuration with endpointPrivateAccess: false"):
        cloud.eks.update_cluster_config(name="demo", resourcesVpcConfig={"endpointPublicAccess": True})
    with expect_error("InvalidParameterException", "already at the desired configuration"):
        cloud.eks.update_cluster_config(name="demo", accessConfig={"authenticationMode": "API"})


def subnet(cloud: Cloud, cidr: str, zone: str) -> str:
    created = cloud.ec2.create_subnet(VpcId=cloud.vpc_id, CidrBlock=cidr, AvailabilityZone=cloud.region + zone)
    return str(created["Subnet"]["SubnetId"])


def test_zones_of_a_cluster_are_fixed(cloud: Cloud) -> None:
    cloud.cluster()
    further, small = subnet(cloud, "10.0.7.0/24", "c"), subnet(cloud, "10.0.8.0/28", "a")
    interface = [cloud.ec2.create_network_interface(SubnetId=small)["NetworkInterface"]["NetworkInterfaceId"] for _ in range(7)]
    for subnets, why in (
        ([*cloud.subnets, further], "same set of Availability Zones"),
        ([cloud.subnets[0], further], "same set of Availability Zones"),
        ([*cloud.subnets, small], "at least 5 available IP addresses"),
    ):
        with expect_error("InvalidParameterException", why):
            cloud.eks.update_cluster_config(name="demo", resourcesVpcConfig={"subnetIds": subnets})
    cloud.ec2.delete_network_interface(NetworkInterfaceId=interface[0])
    cloud.update_done(cloud.eks.update_cluster_config(name="demo", resourcesVpcConfig={"subnetIds": [*cloud.subnets, small]}))


def test_subnets_can_change_inside_the_vpc(cloud: Cloud) -> None:
    cloud.cluster()
    third = subnet(cloud, "10.0.7.0/24", "b")
    update = cloud.eks.update_cluster_config(name="demo", resourcesVpcConfig={"subnetIds": [cloud.subnets[0], third]})
    assert update["update"]["type"] == "VpcConfigUpdate"
    cloud.update_done(update)
    assert cloud.describe()["resourcesVpcConfig"]["subnetIds"] == [cloud.subnets[0], third]
    cloud.ec2.delete_subnet(SubnetId=cloud.subnets[1])
    _, other = cloud.vpc("ab", "10.1.0.0/16")
    with expect_error("InvalidParameterException", "different VPC"):
        cloud.eks.update_cluster_config(name="demo", resourcesVpcConfig={"subnetIds": other})


def test_authentication_mode_changes_in_one_direction_only(cloud: Cloud) -> None:
    cloud.cluster(accessConfig={"authenticationMode": "API_AND_CONFIG_MAP"})
    cloud.update_done(cloud.eks.update_cluster_config(name="demo", accessConfig={"authenticationMode": "API"}))
    with expect_error("InvalidParameterException", "Unsupported authentication mode update"):
        cloud.eks.update_cluster_config(name="demo", accessConfig={"authenticationMode": "CONFIG_MAP"})


def test_settings_replaced_as_a_whole(cloud: Cloud) -> None:
    cloud.cluster(version="1.34")
    for change in (
        {"upgradePolicy": {"supportType": "STANDARD"}},
        {"zonalShiftConfig": {"enabled": True}},
        {"deletionProtection": True},
        {"controlPlaneScalingConfig": {"tier": "tier-xl"}},
    ):
        cloud.update_done(cloud.eks.update_cluster_config(name="demo", **change))
        ((key, value),) = change.items()
        assert cloud.describe()[key] == value


def test_auto_mode_can_be_enabled_later(cloud: Cloud) -> None:
    cloud.cluster()
    change = {
        "computeConfig": {"enabled": True, "nodePools": ["system"], "nodeRoleArn": cloud.node_role()},
        "storageConfig": {"blockStorage": {"enabled": True}},
        "kubernetesNetworkConfig": {"elasticLoadBalancing": {"enabled": True}},
    }
    with expect_error("InvalidParameterException", "Auto Mode"):
        cloud.eks.update_cluster_config(name="demo", computeConfig=change["computeConfig"])
    cloud.update_done(cloud.eks.update_cluster_config(name="demo", **change))
    assert cloud.describe()["computeConfig"] == change["computeConfig"]
    with expect_error("InvalidParameterException", "already at the desired configuration"):
        cloud.eks.update_cluster_config(name="demo", **change)
    with expect_error("InvalidParameterException", "nodeRoleArn cannot be changed"):
        other = {**change["computeConfig"], "nodeRoleArn": "arn:aws:iam::1:role/x"}
        cloud.eks.update_cluster_config(name="demo", **{**change, "computeConfig": other})


def test_auto_mode_is_switched_off_with_its_three_switches(cloud: Cloud) -> None:
    on = {
        "computeConfig": {"enabled": True, "nodePools": ["system"], "nodeRoleArn": cloud.node_role()},
        "storageConfig": {"blockStorage": {"enabled": True}},
        "kubernetesNetworkConfig": {"elasticLoadBalancing": {"enabled": True}},
    }
    cloud.cluster(bootstrapSelfManagedAddons=False, **on)
    pools = "When Compute Config nodeRoleArn is not null or empty, nodePool value(s) must be provided."
    with expect_error("InvalidParameterException", pools):
        cloud.eks.update_cluster_config(name="demo", **{**on, "computeConfig": {**on["computeConfig"], "nodePools": []}})
    cloud.update_done(cloud.eks.update_cluster_config(name="demo", **{**on, "computeConfig": {"enabled": True, "nodePools": []}}))
    assert "nodePools" not in cloud.describe()["computeConfig"]
    with expect_error("InvalidParameterException", "all either fully enabled or fully disabled"):
        cloud.eks.update_cluster_config(name="demo", computeConfig={"enabled": False})
    off = {
        "computeConfig": {"enabled": False},
        "storageConfig": {"blockStorage": {"enabled": False}},
        "kubernetesNetworkConfig": {"elasticLoadBalancing": {"enabled": False}},
    }
    cloud.update_done(cloud.eks.update_cluster_config(name="demo", **off))
    found = cloud.describe()
    assert found["computeConfig"] == {"enabled": False} and found["storageConfig"] == off["storageConfig"]
    assert found["kubernetesNetworkConfig"]["elasticLoadBalancing"] == {"enabled": False}


def test_encryption_can_be_added_once(cloud: Cloud) -> None:
    cloud.cluster()
    config = [{"resources": ["secrets"], "provider": {"keyArn": "arn:aws:kms:eu-west-1:123456789012:key/1"}}]
    update = cloud.eks.associate_encryption_config(clusterName="demo", encryptionConfig=config)
    assert update["update"]["type"] == "AssociateEncryptionConfig"
    cloud.update_done(update)
    assert cloud.describe()["encryptionConfig"] == config
    with expect_error("InvalidParameterException", "already enabled"):
        cloud.eks.associate_encryption_config(clusterName="demo", encryptionConfig=config)


def test_same_client_token_returns_the_same_update(cloud: Cloud) -> None:
    cloud.cluster(version="1.33")
    first = cloud.eks.update_cluster_version(name="demo", version="1.34", clientRequestToken="u")["update"]["id"]
    assert cloud.eks.update_cluster_version(name="demo", version="1.34", clientRequestToken="u")["update"]["id"] == first
    cloud.update_done({"update": {"id": first}})
    # Also after the update has ended, for a client that was killed in between.
    again = cloud.eks.update_cluster_version(name="demo", version="1.34", clientRequestToken="u")["update"]
    assert (again["id"], again["status"]) == (first, "Successful")
    assert cloud.eks.list_updates(name="demo")["updateIds"] == [first]


def test_failed_update_leaves_the_cluster_active(cloud: Cloud, server: Server) -> None:
    cloud.cluster(version="1.33")
    server.post("faults", {"match": {"account": cloud.account, "action": "UpdateClusterVersion"}, "then": {"fail": "no addresses left"}})
    done = cloud.update_done(cloud.eks.update_cluster_version(name="demo", version="1.34"))
    assert done["status"] == "Failed" and done["errors"][0]["errorMessage"] == "no addresses left"
    assert (cloud.status(), cloud.describe()["version"]) == ("ACTIVE", "1.33")


def test_update_of_an_inactive_cluster_is_rejected(cloud: Cloud) -> None:
    cloud.cluster(wait=False)
    with expect_error("ResourceInUseException"):
        cloud.eks.update_cluster_version(name="demo", version="1.35")


def test_insights_pass_by_default_and_an_error_blocks_the_upgrade(cloud: Cloud, server: Server) -> None:
    cloud.cluster(version="1.33")
    found = cloud.eks.list_insights(clusterName="demo", filter={"categories": ["UPGRADE_READINESS"]})["insights"]
    assert found and all(i["insightStatus"]["status"] == "PASSING" and i["kubernetesVersion"] == "1.34" for i in found)
    assert cloud.eks.describe_insight(clusterName="demo", id=found[0]["id"])["insight"]["name"] == found[0]["name"]
    bad = {"name": "Deprecated APIs removed", "insightStatus": {"status": "ERROR", "reason": "beta APIs are used"}}
    server.post("insights", {"account": cloud.account, "region": "eu-west-1", "cluster": "demo", "insights": [bad]})
    assert len(cloud.eks.list_insights(clusterName="demo", filter={"statuses": ["ERROR"]})["insights"]) == 1
    with expect_error("InvalidStateException", "Deprecated APIs removed"):
        cloud.eks.update_cluster_version(name="demo", version="1.34")
    cloud.update_done(cloud.eks.update_cluster_version(name="demo", version="1.34", force=True))


def test_insight_blocks_only_the_upgrade_to_its_own_version(cloud: Cloud, server: Server) -> None:
    cloud.cluster(version="1.32")
    bad = {"name": "later", "kubernetesVersion": "1.34", "insightStatus": {"status": "ERROR", "reason": "an API goes"}}
    server.post("insights", {"account": cloud.account, "region": "eu-west-1", "cluster": "demo", "insights": [bad]})
    cloud.update_done(cloud.eks.update_cluster_version(name="demo", version="1.33"))
    found = cloud.eks.list_insights(clusterName="demo", filter={"kubernetesVersions": ["1.34"], "statuses": ["ERROR"]})["insights"]
    assert [insight["name"] for insight in found] == ["later"]
    with expect_error("InvalidStateException", "later"):
        cloud.eks.update_cluster_version(name="demo", version="1.34")


def test_fault_cancels_an_update(cloud: Cloud, server: Server) -> None:
    cloud.cluster(version="1.33")
    server.post("faults", {"match": {"account": cloud.account, "action": "UpdateClusterVersion"}, "then": {"cancel": "by an operator of AWS"}})
    done = cloud.update_done(cloud.eks.update_cluster_version(name="demo", version="1.34"))
    assert done["status"] == "Cancelled" and done["cancellation"] == {"status": "Successful", "reason": "by an operator of AWS"}
    assert (cloud.status(), cloud.describe()["version"], done["errors"]) == ("ACTIVE", "1.33", [])


def test_cancel_update_accepts_only_rollbacks_in_auto_mode(cloud: Cloud) -> None:
    role = cloud.node_role()
    cloud.cluster(
        version="1.33",
        computeConfig={"enabled": True, "nodePools": ["system"], "nodeRoleArn": role},
        storageConfig={"blockStorage": {"enabled": True}},
        kubernetesNetworkConfig={"elasticLoadBalancing": {"enabled": True}},
        bootstrapSelfManagedAddons=False,
    )
    update = cloud.eks.update_cluster_version(name="demo", version="1.34")
    with expect_error("InvalidRequestException", "VersionUpdate"):
        cloud.eks.cancel_update(name="demo", updateId=update["update"]["id"])
    cloud.update_done(update)
    rollback = cloud.eks.update_cluster_version(name="demo", version="1.33")["update"]
    assert cloud.eks.cancel_update(name="demo", updateId=rollback["id"])["update"]["status"] == "Cancelled"
    assert (cloud.status(), cloud.describe()["version"]) == ("ACTIVE", "1.34")
    with expect_error("ResourceNotFoundException"):
        cloud.eks.cancel_update(name="demo", updateId="none")


def test_updates_are_listed_newest_first_with_pagination(cloud: Cloud) -> None:
    cloud.cluster()
    created = []
    for protected in (True, False, True):
        update = cloud.eks.update_cluster_config(name="demo", deletionProtection=protected)
        cloud.update_done(update)
        created.insert(0, update["update"]["id"])
    first = cloud.eks.list_updates(name="demo", maxResults=2)
    rest = cloud.eks.list_updates(name="demo", maxResults=2, nextToken=first["nextToken"])
    assert (first["updateIds"], rest["updateIds"]) == (created[:2], created[2:]) and "nextToken" not in rest


def test_updates_are_found_only_with_their_resource_name(cloud: Cloud) -> None:
    cloud.cluster()
    cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni")
    cloud.until(lambda: cloud.addon_status("vpc-cni") == "ACTIVE")
    update = cloud.eks.update_addon(clusterName="demo", addonName="vpc-cni", resolveConflicts="OVERWRITE")["update"]
    with expect_error("ResourceNotFoundException", update["id"]):
        cloud.eks.describe_update(name="demo", updateId=update["id"])
    assert cloud.eks.describe_update(name="demo", updateId=update["id"], addonName="vpc-cni")["update"]["type"] == "AddonUpdate"
    assert cloud.eks.list_updates(name="demo", addonName="vpc-cni")["updateIds"] == [update["id"]]
    assert cloud.eks.list_updates(name="demo")["updateIds"] == []


def test_kubelets_may_be_three_minors_older(cloud: Cloud) -> None:
    cloud.cluster(version="1.31")
    cloud.nodegroup()
    for version in ("1.32", "1.33", "1.34"):
        cloud.update_done(cloud.eks.update_cluster_version(name="demo", version=version))
    with expect_error("InvalidRequestException", "Nodegroup(s) [nodes] must be updated"):
        cloud.eks.update_cluster_version(name="demo", version="1.35")


def test_cluster_versions_are_described(cloud: Cloud) -> None:
    found = {v["clusterVersion"]: v for v in cloud.eks.describe_cluster_versions()["clusterVersions"]}
    assert {"1.31", "1.32", "1.33", "1.34", "1.35", "1.36"} == set(found)
    assert [v for v, info in found.items() if info["defaultVersion"]] == ["1.36"]
    assert found["1.31"]["versionStatus"] == "EXTENDED_SUPPORT" and found["1.34"]["versionStatus"] == "STANDARD_SUPPORT"
    assert len(cloud.eks.describe_cluster_versions(clusterVersions=["1.33"])["clusterVersions"]) == 1
    assert len(cloud.eks.describe_cluster_versions(defaultOnly=True)["clusterVersions"]) == 1
