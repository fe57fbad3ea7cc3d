//! CEL rules of FleetRollouts. No I/O.

use kube::core::Rule;

use super::conditions::ConditionType;

pub(super) fn wave_name() -> Rule {
    Rule::new("self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self != 'unmatched'").message(
        "must be lower case letters, digits and '-', and not unmatched, which is the wave of clusters that no other one selects",
    )
}

pub(super) fn selector_values() -> Rule {
    Rule::new(
        "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : !has(self.values) || self.values.size() == 0",
    )
    .message("In and NotIn need values, Exists and DoesNotExist take none")
    .field_path(".values")
}

pub(super) fn check_name() -> Rule {
    Rule::new("self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("must be lower case letters, digits and '-'")
}

pub(super) fn min_or_max() -> Rule {
    Rule::new("(has(self.min) || has(self.max)) && (!has(self.min) || !has(self.max) || self.min <= self.max)").message(
        "min, max or both must be set, and min must not be higher than max: without them every value would be good",
    )
}

/// A condition that no object of the kind has would be an error for ever.
pub(super) fn condition_of_kind(cluster: &[ConditionType], group: &[ConditionType]) -> Rule {
    let list = |types: &[ConditionType]| {
        let names: Vec<_> = types.iter().map(|one| one.as_str()).collect();
        format!("['{}']", names.join("', '"))
    };
    let (cluster, group) = (list(cluster), list(group));
    Rule::new(format!("self.kind == 'NodeGroup' ? self.type in {group} : self.type in {cluster}"))
        .message(
            "objects of this kind have no such condition: NodesReady is one of NodeGroups, and NetworkReady, ControlPlaneReady, \
             AddonsReady, GitOpsReady and Available are conditions of EksClusters",
        )
        .field_path(".type")
}

/// Without user, query and fragment: credentials are in a Secret.
pub(super) fn prometheus_address() -> Rule {
    Rule::new(r"self.matches(r'^https?://([A-Za-z0-9.-]+|[\[][0-9a-fA-F:.]+[\]])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?$')")
        .message("must be http:// or https://, a host, and optionally a port and a path, such as http://prometheus.monitoring:9090")
}

pub(super) fn query_facts() -> Rule {
    Rule::new(
        r"self.matches(r'^([^$]|[$][{](CLUSTER_NAME|CLUSTER_NAMESPACE|AWS_REGION|AWS_ACCOUNT_ID|KUBERNETES_VERSION)[}]|[$][^${])*[$]?$')",
    )
    .message(
        "may name ${CLUSTER_NAME}, ${CLUSTER_NAMESPACE}, ${AWS_REGION}, ${AWS_ACCOUNT_ID} and ${KUBERNETES_VERSION}, and nothing else \
         as ${...}; $$ is not allowed",
    )
}

pub(super) fn check_interval() -> Rule {
    Rule::new(format!("!{DURATION} || (duration(self) >= duration('5s') && duration(self) <= duration('24h'))"))
        .message("must be at least 5s and at most 24h")
}

pub(super) fn check_timeout() -> Rule {
    Rule::new(format!("!{DURATION} || (duration(self) >= duration('1s') && duration(self) <= duration('1m'))"))
        .message("must be at least 1s and at most 1m")
}

/// What `duration()` of CEL accepts.
const DURATION: &str = r"self.matches(r'^([0-9]{1,6}(\.[0-9]{1,6})?(ms|s|m|h)){1,4}$')";
