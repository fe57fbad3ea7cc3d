//! `nodeGroups`, which are self-managed: left as they are, or with `--self-managed-as-managed` NodeGroups. Pure.

use std::cell::RefCell;

use serde_json::{Value, json};

use super::node_group::{self, Cluster};
use super::own_fields::UNKNOWN;
use crate::cli::import::section::{Report, Section};

const LEFT: &str = "self-managed nodes: Keelson creates EKS managed node groups only; --self-managed-as-managed converts \
                    it to one";
const MANAGED: &str = "became a managed node group: EKS chooses its launch template and Auto Scaling group, joins the nodes to \
                       the cluster, and drains them when it replaces them; they are in the cluster's security group, and \
                       not in those of eksctl";
/// An instance type that stands for `instancesDistribution`.
const MIXED: &str = "mixed";

/// Takes `nodeGroups`, and with `as_managed` adds them to `groups`.
pub fn node_groups(file: &mut Section<'_>, cluster: &Cluster<'_>, as_managed: bool, groups: &mut Vec<Value>) {
    for item in file.sections("nodeGroups") {
        if !as_managed {
            report_left(file, item, cluster);
            continue;
        }
        if item.has("outpostARN") {
            item.leave("EKS has no managed node groups on Outposts");
            continue;
        }
        let name = item.at("name");
        let Some(group) = managed(item, cluster) else { continue };
        if groups.iter().any(|other| other["metadata"]["name"] == group["metadata"]["name"]) {
            file.report_mistake(&name, "another node group has this name, or one that becomes the same in Kubernetes");
        } else {
            groups.push(group);
        }
    }
}

fn managed(mut item: Section<'_>, cluster: &Cluster<'_>) -> Option<Value> {
    item.report_difference("name", MANAGED);
    purchase_options(&mut item);
    if item.text_is("containerRuntime", "containerd") {
        item.text("containerRuntime");
    }
    node_group::node_group(item, cluster)
}

/// The group is left as a whole; what is unknown or wrong in it is reported all the same.
fn report_left(file: &Section<'_>, item: Section<'_>, cluster: &Cluster<'_>) {
    let path = item.at("");
    let path = path.trim_end_matches('.');
    let inside = RefCell::new(Report::default());
    // Its workloads get no roles either.
    managed(item.reporting_to(&inside), &cluster.clone());
    file.report_left_out(path, LEFT);
    let Report { left_out, wrong, .. } = inside.into_inner();
    for remark in left_out.into_iter().filter(|remark| remark.what == UNKNOWN).chain(wrong) {
        file.report_left_out(&remark.path, remark.what);
    }
}

/// `instancesDistribution` as instance types, and Spot if no instance is on demand.
fn purchase_options(item: &mut Section<'_>) {
    let Some(mut mix) = item.section("instancesDistribution") else { return };
    let types = mix.texts("instanceTypes").unwrap_or_default();
    let base = mix.number("onDemandBaseCapacity").unwrap_or_default();
    let above = mix.number("onDemandPercentageAboveBaseCapacity");
    // On demand without it.
    let percentage = above.unwrap_or(100);
    let is_spot = base == 0 && percentage == 0;
    if !is_spot && percentage < 100 {
        mix.report_left_out(
            "onDemandPercentageAboveBaseCapacity",
            format!(
                "{percentage}% on demand, above {base}: a managed node group has either Spot or on-demand \
                 instances, and this one became on-demand; add a second NodeGroup with capacityType: Spot"
            ),
        );
    }
    let price = if is_spot {
        "EKS sets no limit of its own: a Spot instance costs no more than on demand"
    } else {
        "is for Spot instances, and all of these are on demand"
    };
    mix.differ("maxPrice", price);
    let allocation = "EKS chooses the Spot instances, with capacity rebalancing";
    for field in ["spotAllocationStrategy", "spotInstancePools", "capacityRebalance"] {
        mix.differ(field, if is_spot { allocation } else { "is for Spot instances, and these are on demand" });
    }
    if is_spot {
        mix.report_difference(
            "onDemandPercentageAboveBaseCapacity",
            "0 became capacityType: Spot: EKS chooses the Spot instances, with capacity rebalancing",
        );
    }
    drop(mix);
    if item.text_is("instanceType", MIXED) {
        item.text("instanceType");
    }
    if !types.is_empty() {
        item.set("instanceTypes", json!(types));
    }
    if is_spot {
        item.set("spot", json!(true));
    }
}
