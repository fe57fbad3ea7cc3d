//! Converts one of `managedNodeGroups` to a NodeGroup. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::addon_policies::WorkloadPolicies;
use super::ami::ami_type;
use super::network::Network;
use super::{instance_selector, node, node_role, tags};
use crate::api::GROUP;
use crate::cli::import::section::Section;
use crate::cli::import::{ObjectPlacement, object_names};

/// eksctl's default.
const DEFAULT_TYPE: &str = "m5.large";
const DEFAULT_FAMILY: &str = "AmazonLinux2023";
const DEFAULT_NODES: i64 = 2;

/// What node groups take from the cluster.
#[derive(Clone)]
pub struct Cluster<'c> {
    pub name: &'c str,
    pub region: &'c str,
    /// Name of the EksCluster.
    pub object: &'c str,
    pub network: &'c Network,
    pub placing: &'c ObjectPlacement,
    /// What the nodes' workloads may do, by the switches of node groups.
    pub workloads: WorkloadPolicies,
}

/// The NodeGroup; `None`: it is not converted, which is reported.
pub fn node_group(mut item: Section<'_>, cluster: &Cluster<'_>) -> Option<Value> {
    let Some(name) = item.some_text("name") else {
        item.report_mistake("name", "is missing");
        return None;
    };
    instance_selector::replace(&mut item);
    if item.has("instanceSelector") && !item.has("instanceType") && !item.has("instanceTypes") {
        item.leave(
            "instanceSelector chooses the instance types when eksctl runs: `eksctl create cluster --dry-run -f FILE` \
             writes them down; convert that",
        );
        return None;
    }
    item.refuse("instanceSelector", "the instance types are set");
    let mut spec = json!({"clusterRef": {"name": cluster.object}, "nodeGroupName": name});
    spec["scaling"] = scaling(&mut item);
    spec["subnets"] = cluster.network.node_subnets(&mut item);
    let has_template = launch_template(&mut item, &mut spec);
    let family = machines(&mut item, &mut spec, has_template);
    on_kubernetes(&mut item, &mut spec);
    updates(&mut item, &mut spec);
    if item.flag("spot") == Some(true) {
        spec["capacityType"] = json!("Spot");
    }
    let tags = tags(&mut item, "tags");
    auto_scaling_group_tags(&mut item, &mut spec, &tags);
    if !tags.is_empty() {
        spec["tags"] = json!(tags);
    }
    node_role::role(&mut item, &mut spec, cluster.region, &cluster.workloads);
    if has_template {
        refuse_parts_of_the_template(&mut item);
    } else {
        node::node(&mut item, &mut spec, &family);
    }
    refuse_the_rest(&mut item);
    let mut metadata = json!({"name": object_names::node_group_name(cluster.name, &name)});
    if let Some(namespace) = &cluster.placing.namespace {
        metadata["namespace"] = json!(namespace);
    }
    Some(json!({"apiVersion": format!("{GROUP}/v1alpha1"), "kind": "NodeGroup", "metadata": metadata, "spec": spec}))
}

/// With eksctl's defaults for absent fields.
fn scaling(item: &mut Section<'_>) -> Value {
    let (desired, min, max) = (item.number("desiredCapacity"), item.number("minSize"), item.number("maxSize"));
    let least = min.or(desired).unwrap_or(DEFAULT_NODES);
    let most = max.unwrap_or_else(|| desired.unwrap_or(least).max(1));
    let mut scaling = json!({"min": least, "max": most});
    if let Some(desired) = desired.filter(|desired| *desired != least) {
        scaling["desired"] = json!(desired);
    }
    scaling
}

fn launch_template(item: &mut Section<'_>, spec: &mut Value) -> bool {
    let Some(mut template) = item.section("launchTemplate") else { return false };
    let Some(id) = template.some_text("id") else {
        template.report_mistake("id", "is missing");
        return true;
    };
    spec["launchTemplate"] = json!({"id": id});
    if let Some(version) = template.some_text("version") {
        if version.bytes().all(|byte| byte.is_ascii_digit()) {
            spec["launchTemplate"]["version"] = json!(version);
        } else {
            let why =
                format!("{version:?} is not fixed: set a version number; without one, the default version is used");
            template.report_left_out("version", why);
        }
    }
    true
}

/// Instance types and AMI. Returns the family of the AMI.
fn machines(item: &mut Section<'_>, spec: &mut Value, has_template: bool) -> String {
    let mut types = item.texts("instanceTypes").unwrap_or_default();
    if let Some(one) = item.some_text("instanceType") {
        if types.is_empty() {
            types.push(one);
        } else if !types.contains(&one) {
            item.report_left_out("instanceType", "instanceTypes already sets them");
        }
    }
    // The launch template may set it.
    if types.is_empty() && !has_template {
        types.push(DEFAULT_TYPE.to_owned());
    }
    if !types.is_empty() {
        spec["instanceTypes"] = json!(types);
    }
    let family = item.some_text("amiFamily");
    if family.is_some() || !has_template {
        let named = family.as_deref().unwrap_or(DEFAULT_FAMILY);
        match ami_type(named, &types) {
            Some(ami_type) => spec["amiType"] = json!(ami_type),
            None => item.report_left_out(
                "amiFamily",
                format!("EKS has no AMI type for {named}, and chooses one: such images need node.imageId, or your own launch template"),
            ),
        }
    }
    if let Some(release) = item.some_text("releaseVersion") {
        spec["releaseVersion"] = if release == "latest" { json!("Latest") } else { json!(release) };
    }
    family.unwrap_or_else(|| DEFAULT_FAMILY.to_owned())
}

fn on_kubernetes(item: &mut Section<'_>, spec: &mut Value) {
    let mut labels = item.map("labels").unwrap_or_default();
    for key in labels.keys().filter(|key| is_reserved(key)) {
        item.report_left_out(
            &format!("labels.{key}"),
            "nodes cannot set such labels on themselves: set it in Kubernetes",
        );
    }
    labels.retain(|key, _| !is_reserved(key));
    if !labels.is_empty() {
        spec["labels"] = json!(labels);
    }
    let taints = taints(item);
    if !taints.is_empty() {
        spec["taints"] = json!(taints);
    }
}

/// Labels that EKS and kubelets reject, as do the API's rules.
fn is_reserved(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return false };
    let within = |of: &str| domain == of || domain.ends_with(&format!(".{of}"));
    ["kubernetes.io", "k8s.io", "eks.amazonaws.com"].iter().any(|of| within(of))
        && !["node.kubernetes.io", "kubelet.kubernetes.io"].iter().any(|of| within(of))
}

/// A list of key, value and effect; or, in the form of self-managed nodes, `key: value:effect`.
fn taints(item: &mut Section<'_>) -> Vec<Value> {
    if !item.is_list("taints") {
        let short = |(key, text): (String, String)| {
            let (value, effect) = text.rsplit_once(':').unwrap_or(("", &text));
            taint(&key, Some(value.to_owned()), effect)
        };
        return item.map("taints").unwrap_or_default().into_iter().map(short).collect();
    }
    let mut taints = Vec::new();
    for mut section in item.sections("taints") {
        let (key, value) = (section.some_text("key"), section.text("value"));
        match (key, section.some_text("effect")) {
            (Some(key), Some(effect)) => taints.push(taint(&key, value, &effect)),
            _ => section.report_mistake("key", "key and effect must both be set"),
        }
    }
    taints
}

fn taint(key: &str, value: Option<String>, effect: &str) -> Value {
    match value.filter(|value| !value.is_empty()) {
        Some(value) => json!({"key": key, "value": value, "effect": effect}),
        None => json!({"key": key, "effect": effect}),
    }
}

/// The hints of a cluster autoscaler, for node groups without nodes.
const NODE_TEMPLATE: &str = "k8s.io/cluster-autoscaler/node-template";
/// The longest key of a tag in AWS.
const MAX_TAG_KEY: usize = 128;
/// Most tags that the API takes.
const MAX_GROUP_TAGS: usize = 45;

/// Tags of the Auto Scaling group, as eksctl propagates them: the node group's, and one for each label and taint.
fn auto_scaling_group_tags(item: &mut Section<'_>, spec: &mut Value, tags: &BTreeMap<String, String>) {
    const FIELD: &str = "propagateASGTags";
    if item.flag(FIELD) != Some(true) {
        return;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all = tags.clone();
    let labels = spec["labels"].as_object().into_iter().flatten();
    all.extend(labels.map(|(key, value)| (format!("{NODE_TEMPLATE}/label/{key}"), text(value))));
    let taints = spec["taints"].as_array().into_iter().flatten();
    all.extend(taints.map(|taint| {
        let value = format!("{}:{}", text(&taint["value"]), text(&taint["effect"]));
        (format!("{NODE_TEMPLATE}/taint/{}", text(&taint["key"])), value)
    }));
    if spec["taints"].is_array() {
        item.report_difference(
            FIELD,
            "tags of taints have the form value:effect, which the cluster autoscaler reads; eksctl writes the value alone",
        );
    }
    let is_of_eks = |key: &String| {
        let of_autoscaler = key.strip_prefix("k8s.io/cluster-autoscaler/");
        key.starts_with("eks:") || of_autoscaler.is_some_and(|rest| !rest.contains('/'))
    };
    for key in all.keys().filter(|key| is_of_eks(key)) {
        item.report_left_out(FIELD, format!("EKS sets the key {key} itself"));
    }
    all.retain(|key, _| !is_of_eks(key));
    for key in all.keys().filter(|key| key.len() > MAX_TAG_KEY) {
        item.report_left_out(
            FIELD,
            format!("the key {key} is longer than the {MAX_TAG_KEY} characters that AWS takes"),
        );
    }
    all.retain(|key, _| key.len() <= MAX_TAG_KEY);
    if all.len() > MAX_GROUP_TAGS {
        let why = format!("{} tags, and an Auto Scaling group has room for {MAX_GROUP_TAGS}: choose them", all.len());
        item.report_left_out(FIELD, why);
    } else if !all.is_empty() {
        spec["autoScalingGroupTags"] = json!(all);
    }
}

fn updates(item: &mut Section<'_>, spec: &mut Value) {
    if let Some(mut update) = item.section("updateConfig") {
        let fields = ["maxUnavailable", "maxUnavailablePercentage"];
        let set: BTreeMap<_, _> = fields.iter().filter_map(|field| Some((*field, update.number(field)?))).collect();
        if !set.is_empty() {
            spec["update"] = json!(set);
        }
    }
    if let Some(mut repair) = item.section("nodeRepairConfig") {
        spec["repair"] = node_repair(&mut repair);
    }
}

/// In eksctl, repair is off unless `enabled` is set.
fn node_repair(repair: &mut Section<'_>) -> Value {
    let mut spec = json!({"enabled": repair.flag("enabled").unwrap_or_default()});
    for (field, to) in [
        ("maxUnhealthyNodeThresholdPercentage", "maxUnhealthyPercentage"),
        ("maxUnhealthyNodeThresholdCount", "maxUnhealthyCount"),
        ("maxParallelNodesRepairedPercentage", "maxParallelRepairedPercentage"),
        ("maxParallelNodesRepairedCount", "maxParallelRepairedCount"),
    ] {
        if let Some(number) = repair.number(field) {
            spec[to] = json!(number);
        }
    }
    let overrides: Vec<_> = repair.sections("nodeRepairConfigOverrides").into_iter().map(repair_override).collect();
    if !overrides.is_empty() {
        spec["overrides"] = json!(overrides);
    }
    spec
}

fn repair_override(mut item: Section<'_>) -> Value {
    let mut spec = json!({});
    for field in ["nodeMonitoringCondition", "nodeUnhealthyReason", "repairAction"] {
        if let Some(text) = item.some_text(field) {
            spec[field] = json!(text);
        }
    }
    // In examples of eksctl, and refused by EKS.
    for (theirs, ours) in [("Terminate", "Replace"), ("Restart", "Reboot")] {
        if spec["repairAction"] == theirs {
            spec["repairAction"] = json!(ours);
            item.report_difference(
                "repairAction",
                format!("EKS has no action {theirs}: became {ours}, which does that"),
            );
        }
    }
    if let Some(minutes) = item.number("minRepairWaitTimeMins") {
        spec["minRepairWaitTimeMins"] = json!(minutes);
    }
    spec
}

/// Refuses what a launch template of the user's sets.
fn refuse_parts_of_the_template(item: &mut Section<'_>) {
    let why = "belongs in the launch template";
    if item.value("ami").is_some_and(|ami| ami != "auto" && ami != "auto-ssm") {
        item.report_left_out("ami", why);
    }
    for field in [
        "volumeSize",
        "volumeType",
        "volumeName",
        "volumeKmsKeyID",
        "volumeIOPS",
        "volumeThroughput",
        "additionalVolumes",
        "maxPodsPerNode",
        "preBootstrapCommands",
        "overrideBootstrapCommand",
        "disableIMDSv1",
        "placement",
        "bottlerocket",
        "securityGroups",
        "instancePrefix",
        "instanceName",
        "capacityReservation",
        "instanceMarketOptions",
    ] {
        item.refuse(field, why);
    }
    for field in ["volumeEncrypted", "ebsOptimized", "disablePodIMDS", "efaEnabled", "enableDetailedMonitoring"] {
        item.refuse_unless(field, false, why);
    }
}

/// Refuses what is EKS's own.
fn refuse_the_rest(item: &mut Section<'_>) {
    const GROUP_OF_EKS: &str = "EKS owns the Auto Scaling group: Keelson does not change it";
    item.refuse("asgSuspendProcesses", GROUP_OF_EKS);
    item.refuse("outpostARN", "EKS has no managed node groups on Outposts");
}
