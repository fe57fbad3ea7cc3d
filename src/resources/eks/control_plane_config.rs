//! Settings of the Kubernetes control plane, and the networks of hybrid nodes: observed in the spec's own types, compared
//! member by member, and as EKS takes them. Pure.
//!
//! An update merges with what EKS has: it carries only what the spec sets. Lists are replaced. See
//! <https://docs.aws.amazon.com/eks/latest/userguide/control-plane-configuration.html> and
//! <https://docs.aws.amazon.com/eks/latest/userguide/hybrid-nodes-cluster-update.html>.

use std::collections::BTreeMap;

use aws_sdk_eks::types::{self as sdk, Cluster};
use serde_json::Value;

use crate::api::control_plane_settings::{
    ApiServer, ControlPlane, ControllerManager, EgressMode, HorizontalPodAutoscaler, NodeResourcesFit, PodGc,
    PortRange, ResourceWeight, Scheduler, ScoringStrategy, ScoringStrategyType,
};
use crate::api::remote_networks::RemoteNetworks;

/// Prefix of the fields of components.
pub const COMPONENTS: [&str; 3] =
    ["controlPlane.apiServer", "controlPlane.controllerManager", "controlPlane.scheduler"];
/// The field of the egress mode.
pub const EGRESS: &str = "controlPlane.egressMode";
/// Prefix of the fields of remote networks.
pub const REMOTE: &str = "remoteNetworks";

/// In EKS's notation.
pub fn egress(mode: EgressMode) -> sdk::ControlPlaneEgressModeType {
    match mode {
        EgressMode::AwsManaged => sdk::ControlPlaneEgressModeType::AwsManaged,
        EgressMode::CustomerRouted => sdk::ControlPlaneEgressModeType::CustomerRouted,
        EgressMode::CustomerIsolated => sdk::ControlPlaneEgressModeType::CustomerIsolated,
    }
}

/// The settings that EKS reports.
pub fn observed(cluster: &Cluster) -> ControlPlane {
    let mode = cluster.resources_vpc_config().and_then(|vpc| vpc.control_plane_egress_mode());
    ControlPlane {
        egress_mode: mode.and_then(|mode| match mode {
            sdk::ControlPlaneEgressModeType::AwsManaged => Some(EgressMode::AwsManaged),
            sdk::ControlPlaneEgressModeType::CustomerRouted => Some(EgressMode::CustomerRouted),
            sdk::ControlPlaneEgressModeType::CustomerIsolated => Some(EgressMode::CustomerIsolated),
            _ => None,
        }),
        api_server: cluster.kube_api_server_config().map(|config| ApiServer {
            event_ttl: config.event_ttl().map(str::to_owned),
            service_node_port_range: config
                .service_node_port_range()
                .map(|range| PortRange { min_port: range.min_port(), max_port: range.max_port() }),
        }),
        controller_manager: cluster.kube_controller_manager_config().map(|config| ControllerManager {
            pod_gc_controller_config: config
                .pod_gc_controller_config()
                .and_then(|gc| Some(PodGc { terminated_pod_gc_threshold: gc.terminated_pod_gc_threshold()? })),
            horizontal_pod_autoscaler_controller_config: config.horizontal_pod_autoscaler_controller_config().and_then(
                |hpa| {
                    let period = hpa.horizontal_pod_autoscaler_sync_period()?.to_owned();
                    Some(HorizontalPodAutoscaler { horizontal_pod_autoscaler_sync_period: period })
                },
            ),
        }),
        certificate_authority: None,
        scheduler: cluster.kube_scheduler_config().map(|config| Scheduler {
            node_resources_fit: config
                .node_resources_fit()
                .and_then(|fit| Some(NodeResourcesFit { scoring_strategy: scoring_strategy(fit.scoring_strategy()?) })),
        }),
    }
}

/// EKS's defaults, which it always reports.
const EVENT_TTL: &str = "60m";
const PORTS: PortRange = PortRange { min_port: 30_000, max_port: 32_767 };
const SYNC_PERIOD: &str = "15s";
/// Kubernetes's.
const GC_THRESHOLD: i32 = 12_500;

/// The settings that EKS reports, without its defaults; `None`: there are no others.
pub fn imported(cluster: &Cluster) -> Option<ControlPlane> {
    let ControlPlane { egress_mode, certificate_authority, api_server, controller_manager, scheduler } =
        observed(cluster);
    let is_default_strategy = |fit: &NodeResourcesFit| {
        let ScoringStrategy { kind, resources } = &fit.scoring_strategy;
        let even = |all: &Vec<ResourceWeight>| {
            all.iter().map(|one| (one.name.as_str(), one.weight)).eq([("cpu", 1), ("memory", 1)])
        };
        *kind == ScoringStrategyType::LeastAllocated && resources.as_ref().is_none_or(even)
    };
    let found = ControlPlane {
        egress_mode: egress_mode.filter(|mode| *mode != EgressMode::AwsManaged),
        certificate_authority,
        api_server: api_server
            .map(|found| ApiServer {
                event_ttl: found.event_ttl.filter(|ttl| ttl != EVENT_TTL),
                service_node_port_range: found.service_node_port_range.filter(|range| *range != PORTS),
            })
            .filter(|found| *found != ApiServer::default()),
        controller_manager: controller_manager
            .map(|found| ControllerManager {
                pod_gc_controller_config: found
                    .pod_gc_controller_config
                    .filter(|gc| gc.terminated_pod_gc_threshold != GC_THRESHOLD),
                horizontal_pod_autoscaler_controller_config: found
                    .horizontal_pod_autoscaler_controller_config
                    .filter(|hpa| hpa.horizontal_pod_autoscaler_sync_period != SYNC_PERIOD),
            })
            .filter(|found| *found != ControllerManager::default()),
        scheduler: scheduler
            .map(|found| Scheduler {
                node_resources_fit: found.node_resources_fit.filter(|fit| !is_default_strategy(fit)),
            })
            .filter(|found| *found != Scheduler::default()),
    };
    (found != ControlPlane::default()).then_some(found)
}

fn scoring_strategy(found: &sdk::ScoringStrategy) -> ScoringStrategy {
    let weight = |one: &sdk::ResourceWeight| ResourceWeight {
        name: one.name().unwrap_or_default().to_owned(),
        weight: one.weight().unwrap_or_default(),
    };
    let mut resources: Vec<_> = found.resources().iter().map(weight).collect();
    resources.sort();
    ScoringStrategy {
        kind: match found.r#type() {
            Some(sdk::ScoringStrategyType::MostAllocated) => ScoringStrategyType::MostAllocated,
            _ => ScoringStrategyType::LeastAllocated,
        },
        resources: Some(resources).filter(|all| !all.is_empty()),
    }
}

/// The networks that EKS reports.
pub fn observed_networks(cluster: &Cluster) -> RemoteNetworks {
    let Some(config) = cluster.remote_network_config() else { return RemoteNetworks::default() };
    let sorted = |mut all: Vec<String>| {
        all.sort();
        Some(all).filter(|all| !all.is_empty())
    };
    RemoteNetworks {
        node_cidrs: sorted(config.remote_node_networks().iter().flat_map(|one| one.cidrs().to_vec()).collect()),
        pod_cidrs: sorted(config.remote_pod_networks().iter().flat_map(|one| one.cidrs().to_vec()).collect()),
    }
}

/// The members that the spec sets and that differ: field, observed and desired value.
pub fn differences(wanted: &ControlPlane, current: &ControlPlane) -> Vec<(String, String, String)> {
    // A kind of its own rotates the certificate authority.
    let wanted = ControlPlane { certificate_authority: None, ..wanted.clone() };
    let (wanted, current) = (members("controlPlane", &wanted), members("controlPlane", current));
    let differs = wanted.into_iter().map(|(field, to)| {
        let from = current.get(&field).cloned().unwrap_or_else(|| "(none)".to_owned());
        (field, from, to)
    });
    differs.filter(|(_, from, to)| from != to).collect()
}

/// The same for the networks of hybrid nodes.
pub fn network_differences(wanted: &RemoteNetworks, current: &RemoteNetworks) -> Vec<(String, String, String)> {
    let list = |ids: Option<&Vec<String>>| {
        let mut all = ids.cloned().unwrap_or_default();
        all.sort();
        if all.is_empty() { "(none)".to_owned() } else { all.join(", ") }
    };
    let RemoteNetworks { node_cidrs, pod_cidrs } = wanted;
    let lists = [("nodeCidrs", node_cidrs, &current.node_cidrs), ("podCidrs", pod_cidrs, &current.pod_cidrs)];
    let set = lists.into_iter().filter(|(_, wanted, _)| wanted.is_some());
    let values = set.map(|(name, to, from)| (format!("{REMOTE}.{name}"), list(from.as_ref()), list(to.as_ref())));
    values.filter(|(_, from, to)| from != to).collect()
}

/// Each leaf by its path. A list is one, in order of its names.
fn members(prefix: &str, settings: &ControlPlane) -> BTreeMap<String, String> {
    fn collect(path: String, value: Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    collect(format!("{path}.{name}"), value, into);
                }
            }
            Value::Array(mut items) => {
                items.sort_by_key(ToString::to_string);
                let items: Vec<_> =
                    items.iter().map(|item| format!("{} {}", text(&item["name"]), item["weight"])).collect();
                into.insert(path, items.join(", "));
            }
            other => {
                into.insert(path, text(&other));
            }
        }
    }
    fn text(value: &Value) -> String {
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    }
    let mut all = BTreeMap::new();
    collect(prefix.to_owned(), serde_json::to_value(settings).unwrap_or_default(), &mut all);
    all
}

/// For a create or update.
pub fn api_server(wanted: &ApiServer) -> sdk::KubeApiServerConfigRequest {
    let range = wanted.service_node_port_range.as_ref().map(|PortRange { min_port, max_port }| {
        sdk::ServiceNodePortRange::builder().min_port(*min_port).max_port(*max_port).build()
    });
    let config = sdk::KubeApiServerConfigRequest::builder().set_event_ttl(wanted.event_ttl.clone());
    config.set_service_node_port_range(range).build()
}

/// For a create or update.
pub fn controller_manager(wanted: &ControllerManager) -> sdk::KubeControllerManagerConfigRequest {
    let ControllerManager { pod_gc_controller_config, horizontal_pod_autoscaler_controller_config } = wanted;
    let gc = pod_gc_controller_config.as_ref().map(|PodGc { terminated_pod_gc_threshold }| {
        sdk::PodGcControllerConfigRequest::builder().terminated_pod_gc_threshold(*terminated_pod_gc_threshold).build()
    });
    let hpa = horizontal_pod_autoscaler_controller_config.as_ref().map(|hpa| {
        let HorizontalPodAutoscaler { horizontal_pod_autoscaler_sync_period: period } = hpa;
        sdk::HorizontalPodAutoscalerControllerConfigRequest::builder()
            .horizontal_pod_autoscaler_sync_period(period)
            .build()
    });
    sdk::KubeControllerManagerConfigRequest::builder()
        .set_pod_gc_controller_config(gc)
        .set_horizontal_pod_autoscaler_controller_config(hpa)
        .build()
}

/// For a create or update.
pub fn scheduler(wanted: &Scheduler) -> sdk::KubeSchedulerConfigRequest {
    let weight = |ResourceWeight { name, weight }: &ResourceWeight| {
        sdk::ResourceWeight::builder().name(name).weight(*weight).build()
    };
    let fit = wanted.node_resources_fit.as_ref().map(|NodeResourcesFit { scoring_strategy }| {
        let ScoringStrategy { kind, resources } = scoring_strategy;
        let strategy = sdk::ScoringStrategy::builder()
            .r#type(match kind {
                ScoringStrategyType::LeastAllocated => sdk::ScoringStrategyType::LeastAllocated,
                ScoringStrategyType::MostAllocated => sdk::ScoringStrategyType::MostAllocated,
            })
            .set_resources(resources.as_ref().map(|all| all.iter().map(weight).collect()));
        sdk::NodeResourcesFitConfig::builder().scoring_strategy(strategy.build()).build()
    });
    sdk::KubeSchedulerConfigRequest::builder().set_node_resources_fit(fit).build()
}

/// For a create or update. An empty list removes the ranges.
pub fn remote_networks(wanted: &RemoteNetworks) -> sdk::RemoteNetworkConfigRequest {
    let RemoteNetworks { node_cidrs, pod_cidrs } = wanted;
    let of = |cidrs: &Vec<String>| Some(cidrs.clone()).filter(|cidrs| !cidrs.is_empty());
    let nodes = node_cidrs.as_ref().map(|cidrs| {
        of(cidrs).map(|cidrs| sdk::RemoteNodeNetwork::builder().set_cidrs(Some(cidrs)).build()).into_iter().collect()
    });
    let pods = pod_cidrs.as_ref().map(|cidrs| {
        of(cidrs).map(|cidrs| sdk::RemotePodNetwork::builder().set_cidrs(Some(cidrs)).build()).into_iter().collect()
    });
    sdk::RemoteNetworkConfigRequest::builder().set_remote_node_networks(nodes).set_remote_pod_networks(pods).build()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn control_plane(spec: Value) -> ControlPlane {
        serde_json::from_value(spec).unwrap()
    }

    fn cluster() -> Cluster {
        let weights = [("memory", 1), ("cpu", 1)]
            .map(|(name, weight)| sdk::ResourceWeight::builder().name(name).weight(weight).build());
        let strategy = sdk::ScoringStrategy::builder()
            .r#type(sdk::ScoringStrategyType::LeastAllocated)
            .set_resources(Some(weights.to_vec()));
        let fit = sdk::NodeResourcesFitConfig::builder().scoring_strategy(strategy.build()).build();
        let ports = sdk::ServiceNodePortRange::builder().min_port(30000).max_port(32767).build();
        let nodes = sdk::RemoteNodeNetwork::builder().cidrs("10.81.0.0/16").cidrs("10.80.0.0/16").build();
        Cluster::builder()
            .kube_scheduler_config(sdk::KubeSchedulerConfigResponse::builder().node_resources_fit(fit).build())
            .kube_api_server_config(
                sdk::KubeApiServerConfigResponse::builder().event_ttl("60m").service_node_port_range(ports).build(),
            )
            .remote_network_config(sdk::RemoteNetworkConfigResponse::builder().remote_node_networks(nodes).build())
            .build()
    }

    #[test]
    fn only_members_that_the_spec_sets_are_compared() {
        let fit = |strategy: Value| json!({"scheduler": {"nodeResourcesFit": {"scoringStrategy": strategy}}});
        for (spec, differ) in [
            (json!({}), vec![]),
            (json!({"apiServer": {"eventTtl": "60m"}}), vec![]),
            (json!({"apiServer": {"eventTtl": "30m"}}), vec!["controlPlane.apiServer.eventTtl: 60m -> 30m"]),
            (
                json!({"apiServer": {"serviceNodePortRange": {"minPort": 20000, "maxPort": 32767}}}),
                vec!["controlPlane.apiServer.serviceNodePortRange.minPort: 30000 -> 20000"],
            ),
            (fit(json!({"type": "LeastAllocated"})), vec![]),
            (
                fit(
                    json!({"type": "LeastAllocated", "resources": [{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}]}),
                ),
                vec![],
            ),
            (
                fit(json!({"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 5}]})),
                vec![
                    "controlPlane.scheduler.nodeResourcesFit.scoringStrategy.resources: cpu 1, memory 1 -> cpu 5",
                    "controlPlane.scheduler.nodeResourcesFit.scoringStrategy.type: LeastAllocated -> MostAllocated",
                ],
            ),
            (json!({"egressMode": "CustomerRouted"}), vec!["controlPlane.egressMode: (none) -> CustomerRouted"]),
        ] {
            let found = differences(&control_plane(spec.clone()), &observed(&cluster()));
            let found: Vec<_> = found.into_iter().map(|(field, from, to)| format!("{field}: {from} -> {to}")).collect();
            assert_eq!(found, differ, "{spec}");
        }
    }

    #[test]
    fn import_leaves_out_what_eks_reports_by_default() {
        assert_eq!(imported(&cluster()), None);
        let api = sdk::KubeApiServerConfigResponse::builder().event_ttl("30m").build();
        let other = Cluster::builder().kube_api_server_config(api).build();
        assert_eq!(imported(&other), Some(control_plane(json!({"apiServer": {"eventTtl": "30m"}}))));
    }

    #[test]
    fn ranges_are_compared_without_their_order_and_removed_by_an_empty_list() {
        let networks = |spec: Value| -> RemoteNetworks { serde_json::from_value(spec).unwrap() };
        let current = observed_networks(&cluster());
        for (spec, differ) in [
            (json!({}), 0),
            (json!({"nodeCidrs": ["10.80.0.0/16", "10.81.0.0/16"], "podCidrs": []}), 0),
            (json!({"nodeCidrs": ["10.80.0.0/16"], "podCidrs": ["10.85.0.0/16"]}), 2),
            (json!({"nodeCidrs": []}), 1),
        ] {
            assert_eq!(network_differences(&networks(spec.clone()), &current).len(), differ, "{spec}");
        }
        let request = remote_networks(&networks(json!({"nodeCidrs": []})));
        assert_eq!((request.remote_node_networks, request.remote_pod_networks), (Some(Vec::new()), None));
    }
}
