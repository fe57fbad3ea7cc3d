//! What eksctl puts into the launch template that it creates for a managed node group: the fields of `node`. Pure.
//!
//! eksctl's defaults: `pkg/apis/eksctl.io/v1alpha5/defaults.go` of eksctl-io/eksctl.

use serde_json::{Map, Value, json};

use super::bottlerocket;
use crate::cli::import::section::Section;

const DEFAULT_VOLUME_GIB: i64 = 80;
const DEFAULT_VOLUME_TYPE: &str = "gp3";
/// eksctl's for io1, which needs one.
const DEFAULT_IO1_IOPS: i64 = 100;
const AL2023: &str = "AmazonLinux2023";
const NO_FIELD: &str =
    "node has no field for it: Keelson leaves it to EC2. A launch template of yours, in launchTemplate.id, may set it";

/// Fields that `node` has no equal of, for whatever reason they are not converted.
const WITHOUT_EQUAL: [(&str, &str); 3] = [
    ("bottlerocket", "these settings are for amiFamily: Bottlerocket"),
    ("instanceMarketOptions", NO_FIELD),
    ("overrideBootstrapCommand", "only the script of an AMI of your own that is set in ami becomes node.userData"),
];

/// Sets `node`, or without a need for it `diskSizeGiB`. `family`: eksctl's AMI family.
pub fn node(item: &mut Section<'_>, spec: &mut Value, family: &str) {
    let mut node = Map::new();
    image_and_user_data(item, spec, &mut node, family);
    metadata(item, &mut node);
    security_groups(item, &mut node);
    placement(item, spec, &mut node);
    if item.flag("efaEnabled") == Some(true) {
        node.insert("efa".to_owned(), json!(true));
        item.report_difference(
            "efaEnabled",
            "eksctl also creates a placement group, and a security group for it: name a placement group in node.placementGroup; the \
             cluster's security group lets the adapters talk",
        );
    }
    let is_root_special = ["volumeType", "volumeName", "volumeKmsKeyID", "volumeIOPS", "volumeThroughput"]
        .iter()
        .any(|field| item.has(field))
        || item.is_true("volumeEncrypted")
        || item.is_list("additionalVolumes");
    // Tags reach instances by a launch template only.
    let needs_node = !node.is_empty() || is_root_special || spec.get("tags").is_some();
    if needs_node {
        let mut volumes: Vec<Value> = volume(item, Some(default_device(family))).into_iter().collect();
        for mut section in item.sections("additionalVolumes") {
            if section.has("snapshotID") {
                section.leave("volumes of node are empty, or those of the AMI: it has no field for a snapshot");
                continue;
            }
            volumes.extend(volume(&mut section, None));
        }
        node.insert("volumes".to_owned(), json!(volumes));
        spec["node"] = Value::Object(node);
    } else {
        item.flag("volumeEncrypted");
        spec["diskSizeGiB"] = json!(item.number("volumeSize").unwrap_or(DEFAULT_VOLUME_GIB));
    }
    item.refuse_each(&WITHOUT_EQUAL);
    for field in ["instancePrefix", "instanceName"] {
        item.differ(field, "Keelson names instances CLUSTER/NODEGROUP, in their tag Name");
    }
    for field in ["ebsOptimized", "enableDetailedMonitoring"] {
        item.refuse_unless(field, false, NO_FIELD);
    }
}

fn is_bottlerocket(family: &str) -> bool {
    family.starts_with("Bottlerocket")
}

/// Bottlerocket's data volume; the root volume of others.
fn default_device(family: &str) -> &'static str {
    if is_bottlerocket(family) {
        "/dev/xvdb"
    } else if family.starts_with("AmazonLinux") {
        "/dev/xvda"
    } else {
        "/dev/sda1"
    }
}

/// `device`: of the root volume; `None`: another one, which must have a name.
fn volume(item: &mut Section<'_>, device: Option<&str>) -> Option<Value> {
    let size = item.number("volumeSize").or(device.map(|_| DEFAULT_VOLUME_GIB));
    let Some(device) = item.some_text("volumeName").or_else(|| device.map(str::to_owned)) else {
        item.report_mistake("volumeName", "is missing");
        return None;
    };
    let kind = item.some_text("volumeType").unwrap_or_else(|| DEFAULT_VOLUME_TYPE.to_owned());
    let iops = item.number("volumeIOPS").or((kind == "io1").then_some(DEFAULT_IO1_IOPS));
    let is_encrypted = item.flag("volumeEncrypted") == Some(true);
    let mut volume = json!({"deviceName": device, "type": kind, "encrypted": is_encrypted});
    for (field, value) in [("sizeGiB", size), ("iops", iops), ("throughput", item.number("volumeThroughput"))] {
        if let Some(value) = value {
            volume[field] = json!(value);
        }
    }
    if let Some(key) = item.some_text("volumeKmsKeyID") {
        if !is_encrypted {
            item.report_left_out("volumeKmsKeyID", "the volume is not encrypted (volumeEncrypted)");
        } else if key.starts_with("arn:") {
            volume["kmsKeyArn"] = json!(key);
        } else {
            item.report_left_out(
                "volumeKmsKeyID",
                format!("set the ARN of {key} in node.volumes[].kmsKeyArn: without it the account's key for EBS encrypts the volume"),
            );
        }
    }
    Some(volume)
}

/// `imageId`, `nodeConfig` and `userData`.
fn image_and_user_data(item: &mut Section<'_>, spec: &mut Value, node: &mut Map<String, Value>, family: &str) {
    if is_bottlerocket(family)
        && let Some(settings) = bottlerocket::user_data(item)
    {
        node.insert("userData".to_owned(), json!(settings));
    }
    let max_pods = item.number("maxPodsPerNode").filter(|pods| *pods > 0);
    if max_pods.is_some() && family != AL2023 {
        item.report_left_out("maxPodsPerNode", "write it into node.userData, in the settings of the nodes' system");
    }
    let max_pods = max_pods.filter(|_| family == AL2023);
    let kubelet = max_pods.map_or_else(|| json!({}), |pods| json!({"kubelet": {"config": {"maxPods": pods}}}));
    let image = item.value("ami").filter(|ami| ami != "auto" && ami != "auto-ssm");
    if let Some(image) = image {
        let script = item.value("overrideBootstrapCommand");
        let bootstrap = match &script {
            None if family == AL2023 => Some(("nodeConfig", json!({"spec": kubelet}))),
            // It joins the cluster by itself: nothing of eksctl's is on the node.
            Some(Value::String(text)) if text.starts_with("#!") && !text.contains("/eksctl/") && max_pods.is_none() => {
                Some(("userData", json!(text)))
            }
            _ => None,
        };
        match (image.as_str(), bootstrap) {
            (Some(id), Some((field, value))) if id.starts_with("ami-") => {
                node.insert("imageId".to_owned(), json!(id));
                node.insert(field.to_owned(), value);
                // EKS takes neither beside an AMI.
                if let Some(spec) = spec.as_object_mut() {
                    spec.retain(|field, _| field != "amiType" && field != "releaseVersion");
                }
            }
            _ => {
                item.report_left_out(
                    "ami",
                    "EKS chooses the image of the AMI type instead. To keep yours, set node.imageId, and node.nodeConfig or node.userData with \
                     what makes its nodes join the cluster",
                );
                if script.is_some() {
                    item.report_left_out(
                        "overrideBootstrapCommand",
                        "it is for the image in ami, or uses files of eksctl on the node",
                    );
                }
                if max_pods.is_some() {
                    node.insert("nodeConfig".to_owned(), json!({"spec": kubelet}));
                }
            }
        }
    } else if max_pods.is_some() {
        node.insert("nodeConfig".to_owned(), json!({"spec": kubelet}));
    }
    if family.starts_with("AmazonLinux") {
        merge_scripts(item, node);
    }
    let is_free = !node.contains_key("nodeConfig") && !node.contains_key("userData");
    pre_bootstrap(item, node, is_free && family.starts_with("AmazonLinux"));
}

/// Puts commands that run before the node joins into the script with which the user's own AMI joins.
fn merge_scripts(item: &mut Section<'_>, node: &mut Map<String, Value>) {
    let Some((shebang, rest)) = node.get("userData").and_then(Value::as_str).and_then(|script| script.split_once('\n'))
    else {
        return;
    };
    let is_shell = ["#!/bin/bash", "#!/bin/sh", "#!/usr/bin/env bash"].contains(&shebang.trim_end());
    if !is_shell || !item.has("preBootstrapCommands") {
        return;
    }
    let commands = item.texts("preBootstrapCommands").unwrap_or_default();
    if commands.is_empty() || commands.iter().any(|command| command.starts_with("#!")) {
        return item.set("preBootstrapCommands", json!(commands));
    }
    let script = format!("{shebang}\n{}\n{rest}", commands.join("\n"));
    node.insert("userData".to_owned(), json!(script));
    item.report_difference(
        "preBootstrapCommands",
        "they run first in the script of overrideBootstrapCommand, in node.userData",
    );
}

/// Scripts that run before the node joins, on Amazon Linux. `is_free`: nothing else is in the user data.
fn pre_bootstrap(item: &mut Section<'_>, node: &mut Map<String, Value>, is_free: bool) {
    if !item.has("preBootstrapCommands") {
        return;
    }
    let commands = item.texts("preBootstrapCommands").unwrap_or_default();
    let whole: Vec<&String> = commands.iter().filter(|command| command.starts_with("#!")).collect();
    let script = match (commands.as_slice(), whole.as_slice()) {
        ([], _) => return,
        ([only], [_]) => only.clone(),
        (_, []) => format!("#!/bin/bash\n{}\n", commands.join("\n")),
        _ => String::new(),
    };
    if script.is_empty() || !is_free {
        item.report_left_out(
            "preBootstrapCommands",
            "node.userData takes one script for Amazon Linux, beside neither a NodeConfig nor other user data: merge them by hand, as a MIME \
             message",
        );
        return;
    }
    if whole.is_empty() {
        item.report_difference("preBootstrapCommands", "they run as one script of bash, in node.userData");
    }
    node.insert("userData".to_owned(), json!(script));
}

fn metadata(item: &mut Section<'_>, node: &mut Map<String, Value>) {
    let (tokens, no_pods) = (item.flag("disableIMDSv1"), item.flag("disablePodIMDS") == Some(true));
    if tokens.is_none() && !no_pods {
        return;
    }
    let mut metadata = json!({"httpPutResponseHopLimit": if no_pods { 1 } else { 2 }});
    if let Some(required) = tokens {
        metadata["httpTokens"] = json!(if required { "required" } else { "optional" });
    }
    node.insert("metadata".to_owned(), metadata);
}

fn security_groups(item: &mut Section<'_>, node: &mut Map<String, Value>) {
    let Some(mut groups) = item.section("securityGroups") else { return };
    if let Some(ids) = groups.texts("attachIDs").filter(|ids| !ids.is_empty()) {
        node.insert("securityGroupIds".to_owned(), json!(ids));
    }
    for field in ["withShared", "withLocal"] {
        groups.refuse(field, "nodes of EKS have the cluster's security group, and no others of eksctl");
    }
}

/// Where instances are launched.
fn placement(item: &mut Section<'_>, spec: &Value, node: &mut Map<String, Value>) {
    if let Some(mut placement) = item.section("placement")
        && let Some(name) = placement.some_text("groupName")
    {
        node.insert("placementGroup".to_owned(), json!(name));
    }
    let Some(mut reservation) = item.section("capacityReservation") else { return };
    reservation.refuse("capacityReservationPreference", NO_FIELD);
    let Some(mut target) = reservation.section("capacityReservationTarget") else { return };
    target.refuse("capacityReservationResourceGroupARN", NO_FIELD);
    let Some(id) = target.some_text("capacityReservationID") else { return };
    if spec.get("capacityType").is_some_and(|kind| kind == "Spot") {
        target.report_left_out("capacityReservationID", "Spot instances do not use capacity reservations");
    } else {
        node.insert("capacityReservationId".to_owned(), json!(id));
    }
}
