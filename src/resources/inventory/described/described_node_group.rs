//! A node group from its description in EKS's notation. Pure.

use aws_sdk_eks::types::{
    LaunchTemplateSpecification, NodeRepairConfig, NodeRepairConfigOverrides, Nodegroup, NodegroupScalingConfig,
    NodegroupUpdateConfig, RemoteAccessConfig, Taint,
};
use serde_json::Value;

use super::values::{flag, list, map, number, part, text, texts};

pub fn node_group(of: &Value) -> Nodegroup {
    Nodegroup::builder()
        .set_nodegroup_name(text(of, "nodegroupName"))
        .set_version(text(of, "version"))
        .set_release_version(text(of, "releaseVersion"))
        .set_ami_type(text(of, "amiType").map(|name| name.as_str().into()))
        .set_capacity_type(text(of, "capacityType").map(|name| name.as_str().into()))
        .set_instance_types(texts(of, "instanceTypes"))
        .set_disk_size(number(of, "diskSize"))
        .set_subnets(texts(of, "subnets"))
        .set_node_role(text(of, "nodeRole"))
        .set_labels(map(of, "labels"))
        .set_tags(map(of, "tags"))
        .set_scaling_config(part(of, "scalingConfig", |scaling| {
            NodegroupScalingConfig::builder()
                .set_min_size(number(scaling, "minSize"))
                .set_max_size(number(scaling, "maxSize"))
                .set_desired_size(number(scaling, "desiredSize"))
                .build()
        }))
        .set_taints(list(of, "taints", |taint| {
            Taint::builder()
                .set_key(text(taint, "key"))
                .set_value(text(taint, "value"))
                .set_effect(text(taint, "effect").map(|name| name.as_str().into()))
                .build()
        }))
        .set_launch_template(part(of, "launchTemplate", |template| {
            LaunchTemplateSpecification::builder()
                .set_id(text(template, "id"))
                .set_version(text(template, "version"))
                .build()
        }))
        .set_update_config(part(of, "updateConfig", |update| {
            NodegroupUpdateConfig::builder()
                .set_max_unavailable(number(update, "maxUnavailable"))
                .set_max_unavailable_percentage(number(update, "maxUnavailablePercentage"))
                .set_update_strategy(text(update, "updateStrategy").map(|name| name.as_str().into()))
                .build()
        }))
        .set_node_repair_config(part(of, "nodeRepairConfig", repair))
        .set_remote_access(part(of, "remoteAccess", |access| {
            RemoteAccessConfig::builder().set_ec2_ssh_key(text(access, "ec2SshKey")).build()
        }))
        .build()
}

fn repair(of: &Value) -> NodeRepairConfig {
    let exception = |one: &Value| {
        NodeRepairConfigOverrides::builder()
            .set_node_monitoring_condition(text(one, "nodeMonitoringCondition"))
            .set_node_unhealthy_reason(text(one, "nodeUnhealthyReason"))
            .set_min_repair_wait_time_mins(number(one, "minRepairWaitTimeMins"))
            .set_repair_action(text(one, "repairAction").map(|name| name.as_str().into()))
            .build()
    };
    NodeRepairConfig::builder()
        .set_enabled(flag(of, "enabled"))
        .set_max_unhealthy_node_threshold_count(number(of, "maxUnhealthyNodeThresholdCount"))
        .set_max_unhealthy_node_threshold_percentage(number(of, "maxUnhealthyNodeThresholdPercentage"))
        .set_max_parallel_nodes_repaired_count(number(of, "maxParallelNodesRepairedCount"))
        .set_max_parallel_nodes_repaired_percentage(number(of, "maxParallelNodesRepairedPercentage"))
        .set_node_repair_config_overrides(list(of, "nodeRepairConfigOverrides", exception))
        .build()
}
