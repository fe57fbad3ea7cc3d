"""Settings of the control plane, its egress mode, and the networks of hybrid nodes."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Cloud, expect_error

NODES, PODS = {"remoteNodeNetworks": [{"cidrs": ["10.80.0.0/16"]}]}, {"remotePodNetworks": [{"cidrs": ["10.85.0.0/16"]}]}
API = {"authenticationMode": "API"}


def update(cloud: Cloud, **change: Any) -> dict[str, Any]:
    """The update after its end."""
    started = cloud.eks.update_cluster_config(name="demo", **change)["update"]
    cloud.until(lambda: cloud.describe()["status"] == "ACTIVE")
    found: dict[str, Any] = cloud.eks.describe_update(name="demo", updateId=started["id"])["update"]
    return found


def test_components_report_their_defaults_and_updates_merge(cloud: Cloud) -> None:
    cloud.cluster()
    found = cloud.describe()
    assert found["kubeApiServerConfig"] == {"eventTtl": "60m", "serviceNodePortRange": {"minPort": 30000, "maxPort": 32767}}
    assert found["kubeSchedulerConfig"]["nodeResourcesFit"]["scoringStrategy"]["type"] == "LeastAllocated"
    strategy = {"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 5}]}
    ended = update(cloud, kubeApiServerConfig={"eventTtl": "30m"}, kubeSchedulerConfig={"nodeResourcesFit": {"scoringStrategy": strategy}})
    assert (ended["type"], ended["status"]) == ("ControlPlaneComponentConfigUpdate", "Successful")
    found = cloud.describe()
    assert found["kubeApiServerConfig"] == {"eventTtl": "30m", "serviceNodePortRange": {"minPort": 30000, "maxPort": 32767}}
    assert found["kubeSchedulerConfig"]["nodeResourcesFit"]["scoringStrategy"] == strategy
    with expect_error("InvalidParameterException", "No changes needed"):
        cloud.eks.update_cluster_config(name="demo", kubeApiServerConfig={"eventTtl": "30m"})


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"kubeApiServerConfig": {"eventTtl": "5m"}}, "between 10m and 60m"),
        ({"kubeApiServerConfig": {"eventTtl": "1h30m"}}, "single-unit duration"),
        ({"kubeApiServerConfig": {"serviceNodePortRange": {"minPort": 8000, "maxPort": 9000}}}, "between 10260 and 32767"),
        ({"kubeApiServerConfig": {"serviceNodePortRange": {"minPort": 32000, "maxPort": 31000}}}, "less than or equal to maxPort"),
        (
            {"kubeControllerManagerConfig": {"horizontalPodAutoscalerControllerConfig": {"horizontalPodAutoscalerSyncPeriod": "10s"}}},
            "requires a provisioned control plane",
        ),
        (
            {"kubeSchedulerConfig": {"nodeResourcesFit": {"scoringStrategy": {"type": "MostAllocated", "resources": [{"name": "x", "weight": 1}]}}}},
            "not supported",
        ),
    ],
)
def test_settings_beyond_their_ranges_are_refused(cloud: Cloud, config: dict[str, Any], text: str) -> None:
    cloud.cluster()
    with expect_error("InvalidParameterException", text):
        cloud.eks.update_cluster_config(name="demo", **config)


def test_sync_period_is_set_on_a_provisioned_control_plane(cloud: Cloud) -> None:
    period = {"horizontalPodAutoscalerControllerConfig": {"horizontalPodAutoscalerSyncPeriod": "10s"}}
    cloud.cluster(controlPlaneScalingConfig={"tier": "tier-xl"}, kubeControllerManagerConfig=period)
    assert cloud.describe()["kubeControllerManagerConfig"] == period


def test_egress_mode_changes_once_and_not_back(cloud: Cloud) -> None:
    cloud.cluster()
    mode = {"controlPlaneEgressMode": "CUSTOMER_ROUTED"}
    with expect_error("InvalidParameterException", "Only one type of update"):
        cloud.eks.update_cluster_config(name="demo", resourcesVpcConfig={**mode, "endpointPrivateAccess": True})
    assert update(cloud, resourcesVpcConfig=mode)["type"] == "ControlPlaneEgressUpdate"
    assert cloud.describe()["resourcesVpcConfig"]["controlPlaneEgressMode"] == "CUSTOMER_ROUTED"
    with expect_error("InvalidParameterException", "cannot be changed"):
        cloud.eks.update_cluster_config(name="demo", resourcesVpcConfig={"controlPlaneEgressMode": "AWS_MANAGED"})


def test_remote_networks_are_added_kept_and_removed_list_by_list(cloud: Cloud) -> None:
    cloud.cluster(accessConfig=API)
    assert update(cloud, remoteNetworkConfig={**NODES, **PODS})["type"] == "RemoteNetworkConfigUpdate"
    more = {"remoteNodeNetworks": [{"cidrs": ["10.80.0.0/16", "10.81.0.0/16"]}]}
    update(cloud, remoteNetworkConfig=more)
    assert cloud.describe()["remoteNetworkConfig"] == {**more, **PODS}
    with expect_error("InvalidParameterException", "require remoteNodeNetworks"):
        cloud.eks.update_cluster_config(name="demo", remoteNetworkConfig={"remoteNodeNetworks": []})
    update(cloud, remoteNetworkConfig={"remoteNodeNetworks": [], "remotePodNetworks": []})
    assert cloud.describe()["remoteNetworkConfig"] == {"remoteNodeNetworks": [], "remotePodNetworks": []}


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"remoteNodeNetworks": [{"cidrs": ["203.0.113.0/24"]}]}, "RFC-1918"),
        ({"remoteNodeNetworks": [{"cidrs": ["10.0.128.0/17"]}]}, "overlaps with the VPC"),
        ({**NODES, "remotePodNetworks": [{"cidrs": ["10.80.1.0/24"]}]}, "overlap"),
        ({"remoteNodeNetworks": [{"cidrs": ["10.80.0.1/16"]}]}, "Invalid CIDR"),
    ],
)
def test_remote_networks_must_be_private_and_apart(cloud: Cloud, config: dict[str, Any], text: str) -> None:
    cloud.cluster(accessConfig=API)
    with expect_error("InvalidParameterException", text):
        cloud.eks.update_cluster_config(name="demo", remoteNetworkConfig=config)


def test_remote_networks_need_access_entries(cloud: Cloud) -> None:
    cloud.cluster(accessConfig={"authenticationMode": "CONFIG_MAP"})
    with expect_error("InvalidParameterException", "authentication mode"):
        cloud.eks.update_cluster_config(name="demo", remoteNetworkConfig=NODES)
