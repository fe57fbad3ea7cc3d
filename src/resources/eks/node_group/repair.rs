//! Node auto repair of a node group: observed, desired, and the difference as EKS takes it. Pure.
//!
//! See <https://docs.aws.amazon.com/eks/latest/APIReference/API_NodeRepairConfig.html>. The request repeats what the spec
//! does not set: EKS does not document that it keeps omitted members.

use std::collections::BTreeMap;

use aws_sdk_eks::types::{NodeRepairConfig, NodeRepairConfigOverrides};

use crate::api::node_repair::{NodeRepair, RepairAction, RepairOverride};

/// Values of a setting, by the member's name.
pub type Fields = BTreeMap<String, String>;

/// A number, or a percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Count(i32),
    Percentage(i32),
}

/// Node auto repair, in EKS's notation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    pub enabled: bool,
    pub max_unhealthy: Option<Limit>,
    pub max_parallel: Option<Limit>,
    /// Minutes and action, by condition and reason.
    pub overrides: BTreeMap<(String, String), (i32, String)>,
}

fn limit(count: Option<i32>, percentage: Option<i32>) -> Option<Limit> {
    count.map(Limit::Count).or(percentage.map(Limit::Percentage))
}

fn count(limit: Option<Limit>) -> Option<i32> {
    limit.and_then(|limit| if let Limit::Count(count) = limit { Some(count) } else { None })
}

fn percentage(limit: Option<Limit>) -> Option<i32> {
    limit.and_then(|limit| if let Limit::Percentage(percentage) = limit { Some(percentage) } else { None })
}

impl From<&NodeRepairConfig> for Repair {
    fn from(config: &NodeRepairConfig) -> Self {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let one = |one: &NodeRepairConfigOverrides| {
            let id = (text(one.node_monitoring_condition()), text(one.node_unhealthy_reason()));
            let action = text(one.repair_action().map(|action| action.as_str()));
            (id, (one.min_repair_wait_time_mins().unwrap_or_default(), action))
        };
        Self {
            enabled: config.enabled().unwrap_or_default(),
            max_unhealthy: limit(
                config.max_unhealthy_node_threshold_count(),
                config.max_unhealthy_node_threshold_percentage(),
            ),
            max_parallel: limit(
                config.max_parallel_nodes_repaired_count(),
                config.max_parallel_nodes_repaired_percentage(),
            ),
            overrides: config.node_repair_config_overrides().iter().map(one).collect(),
        }
    }
}

impl Repair {
    /// Its members, by the spec's names.
    pub fn fields(&self) -> Fields {
        let Self { enabled, max_unhealthy, max_parallel, overrides } = self;
        let limits = [
            ("maxUnhealthyCount", count(*max_unhealthy)),
            ("maxUnhealthyPercentage", percentage(*max_unhealthy)),
            ("maxParallelRepairedCount", count(*max_parallel)),
            ("maxParallelRepairedPercentage", percentage(*max_parallel)),
        ];
        let limits = limits.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_string())));
        let overrides = overrides.iter().map(|((condition, reason), (minutes, action))| {
            (format!("overrides.{condition}/{reason}"), format!("{action} after {minutes} min"))
        });
        [("enabled".to_owned(), enabled.to_string())].into_iter().chain(limits).chain(overrides).collect()
    }

    /// As EKS takes it. An empty list removes the overrides that there are.
    fn to_config(&self, has_overrides: bool) -> NodeRepairConfig {
        let one = |((condition, reason), (minutes, action)): (&(String, String), &(i32, String))| {
            NodeRepairConfigOverrides::builder()
                .node_monitoring_condition(condition)
                .node_unhealthy_reason(reason)
                .min_repair_wait_time_mins(*minutes)
                .repair_action(action.as_str().into())
                .build()
        };
        let overrides: Vec<_> = self.overrides.iter().map(one).collect();
        NodeRepairConfig::builder()
            .enabled(self.enabled)
            .set_max_unhealthy_node_threshold_count(count(self.max_unhealthy))
            .set_max_unhealthy_node_threshold_percentage(percentage(self.max_unhealthy))
            .set_max_parallel_nodes_repaired_count(count(self.max_parallel))
            .set_max_parallel_nodes_repaired_percentage(percentage(self.max_parallel))
            .set_node_repair_config_overrides(Some(overrides).filter(|all| has_overrides || !all.is_empty()))
            .build()
    }

    /// In the notation of the spec; `None` if repair is off and nothing is set.
    pub fn to_spec(&self) -> Option<NodeRepair> {
        let action = |action: &str| match action {
            "Reboot" => RepairAction::Reboot,
            "NoAction" => RepairAction::NoAction,
            _ => RepairAction::Replace,
        };
        let one = |((condition, reason), (minutes, name)): (&(String, String), &(i32, String))| RepairOverride {
            node_monitoring_condition: condition.clone(),
            node_unhealthy_reason: reason.clone(),
            min_repair_wait_time_mins: *minutes,
            repair_action: action(name),
        };
        (*self != Self::default()).then(|| NodeRepair {
            enabled: self.enabled,
            max_unhealthy_count: count(self.max_unhealthy),
            max_unhealthy_percentage: percentage(self.max_unhealthy),
            max_parallel_repaired_count: count(self.max_parallel),
            max_parallel_repaired_percentage: percentage(self.max_parallel),
            overrides: Some(self.overrides.iter().map(one).collect()).filter(|all: &Vec<_>| !all.is_empty()),
        })
    }
}

fn action(action: RepairAction) -> &'static str {
    match action {
        RepairAction::Replace => "Replace",
        RepairAction::Reboot => "Reboot",
        RepairAction::NoAction => "NoAction",
    }
}

/// What the spec sets, and otherwise the current settings.
pub fn desired(spec: &NodeRepair, current: &Repair) -> Repair {
    let NodeRepair {
        enabled,
        max_unhealthy_count,
        max_unhealthy_percentage,
        max_parallel_repaired_count,
        max_parallel_repaired_percentage,
        overrides,
    } = spec;
    let one = |one: &RepairOverride| {
        let id = (one.node_monitoring_condition.clone(), one.node_unhealthy_reason.clone());
        (id, (one.min_repair_wait_time_mins, action(one.repair_action).to_owned()))
    };
    let overrides = overrides.as_ref().map(|all| all.iter().map(one).collect());
    Repair {
        enabled: *enabled,
        max_unhealthy: limit(*max_unhealthy_count, *max_unhealthy_percentage).or(current.max_unhealthy),
        max_parallel: limit(*max_parallel_repaired_count, *max_parallel_repaired_percentage).or(current.max_parallel),
        overrides: overrides.unwrap_or_else(|| current.overrides.clone()),
    }
}

/// For an update; `None` if nothing differs.
pub fn config(spec: Option<&NodeRepair>, current: &Repair) -> Option<NodeRepairConfig> {
    let wanted = desired(spec?, current);
    (wanted != *current).then(|| wanted.to_config(!current.overrides.is_empty()))
}

/// For a new node group; `None`: the spec does not set it.
pub fn initial(spec: Option<&NodeRepair>) -> Option<NodeRepairConfig> {
    Some(desired(spec?, &Repair::default()).to_config(false))
}
