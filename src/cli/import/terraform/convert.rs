//! Converts the attributes of each resource to EKS's notation. Pure.

use serde_json::{Map, Value, json};

use super::attributes::{block, end, move_block, move_blocks, take};
use crate::cli::import::section::Section;

const OVERWRITE: &str = "Keelson resolves conflicts as Preserve, so that the adoption changes nothing: set conflicts: Overwrite \
                         in the manifest if you want that";

/// A cluster, and the URL of its issuer without `https://`. `has_entries`: the state has access entries of it.
pub fn cluster(mut of: Section<'_>, has_entries: bool) -> (Value, String) {
    for name in ["name", "arn", "version", "role_arn", "vpc_config"] {
        if !of.has(name) {
            of.report_mistake(name, "is missing in the state: run terraform refresh, or use keelson import --name");
        }
    }
    let mut cluster = take(&mut of, &["name", "arn", "version", "role_arn", "tags", "deletion_protection"]);
    let vpc = [
        "subnet_ids",
        "security_group_ids",
        "vpc_id",
        "endpoint_public_access",
        "endpoint_private_access",
        "public_access_cidrs",
    ];
    if let Some(vpc) = block(&mut of, "vpc_config", &vpc) {
        cluster.insert("resourcesVpcConfig".to_owned(), vpc);
    }
    move_block(&mut of, &mut cluster, "kubernetes_network_config", &["ip_family", "service_ipv4_cidr"]);
    if let Some(types) = of.value("enabled_cluster_log_types") {
        let setup = json!({"clusterLogging": [{"types": types, "enabled": true}]});
        cluster.insert("logging".to_owned(), setup);
    }
    if let Some(mut encryption) = of.sections("encryption_config").into_iter().next() {
        let provider = block(&mut encryption, "provider", &["key_arn"]);
        // EKS encrypts all of the API's data.
        encryption.value("resources");
        cluster.insert("encryptionConfig".to_owned(), json!([{"provider": provider}]));
        end(encryption);
    }
    access_config(&mut of, &mut cluster, has_entries);
    move_block(&mut of, &mut cluster, "upgrade_policy", &["support_type"]);
    move_block(&mut of, &mut cluster, "zonal_shift_config", &["enabled"]);
    move_block(&mut of, &mut cluster, "compute_config", &["enabled", "node_pools", "node_role_arn"]);
    move_block(&mut of, &mut cluster, "control_plane_scaling_config", &["tier"]);
    if let Some(mut networks) = of.sections("remote_network_config").into_iter().next() {
        let mut remote = Map::new();
        move_blocks(&mut networks, &mut remote, ("remote_node_networks", "remoteNodeNetworks"), &["cidrs"]);
        move_blocks(&mut networks, &mut remote, ("remote_pod_networks", "remotePodNetworks"), &["cidrs"]);
        cluster.insert("remoteNetworkConfig".to_owned(), Value::Object(remote));
        end(networks);
    }
    if of.flag("force_update_version") == Some(true) {
        let how =
            "set upgrade.insights: Warn in the manifest if upgrades should not wait for what EKS's insights report";
        of.report_difference("force_update_version", how);
    }
    of.refuse("outpost_config", "Keelson creates no control planes on Outposts, and has no field for it");
    let oidc = of.sections("identity").into_iter().next();
    let oidc = oidc.and_then(|mut identity| block(&mut identity, "oidc", &["issuer"])).unwrap_or_default();
    let issuer = oidc["issuer"].as_str().unwrap_or_default().trim_start_matches("https://").to_owned();
    end(of);
    (Value::Object(cluster), issuer)
}

/// Versions of the AWS provider before 5.33 do not know the mode. Their clusters have the ConfigMap alone, unless somebody changed that
/// since, as access entries show; and no mode takes anybody's access away but `Api`, from which EKS does not go back.
fn access_config(of: &mut Section<'_>, cluster: &mut Map<String, Value>, has_entries: bool) {
    move_block(of, cluster, "access_config", &["authentication_mode"]);
    let mode = cluster.get("accessConfig").and_then(|config| config["authenticationMode"].as_str());
    if mode.is_none_or(str::is_empty) {
        let (mode, how) = if has_entries {
            ("API_AND_CONFIG_MAP", "ApiAndConfigMap, as the state has access entries")
        } else {
            ("CONFIG_MAP", "ConfigMap, as clusters of versions of the AWS provider before 5.33 have it")
        };
        cluster.insert("accessConfig".to_owned(), json!({"authenticationMode": mode}));
        let how = format!(
            "is not in the state: became authenticationMode: {how}. If the plan shows another mode in AWS, write that one into the manifest"
        );
        of.report_difference("access_config", how);
    }
}

/// A managed node group.
pub fn node_group(mut of: Section<'_>) -> Value {
    for name in ["node_group_name", "scaling_config", "subnet_ids", "node_role_arn"] {
        if !of.has(name) {
            of.report_mistake(name, "is missing in the state: run terraform refresh, or use keelson import --name");
        }
    }
    let same = ["version", "release_version", "ami_type", "capacity_type", "instance_types", "labels", "tags"];
    let mut group = take(&mut of, &same);
    let renamed = [("node_group_name", "nodegroupName"), ("subnet_ids", "subnets"), ("node_role_arn", "nodeRole")];
    for (name, field) in renamed {
        group.extend(of.value(name).map(|value| (field.to_owned(), value)));
    }
    // 0: the launch template has the disk.
    let disk = of.number("disk_size").filter(|size| *size != 0);
    group.extend(disk.map(|size| ("diskSize".to_owned(), json!(size))));
    move_block(&mut of, &mut group, "scaling_config", &["min_size", "max_size", "desired_size"]);
    move_blocks(&mut of, &mut group, ("taint", "taints"), &["key", "value", "effect"]);
    if let Some(mut template) = of.sections("launch_template").into_iter().next() {
        group.insert("launchTemplate".to_owned(), Value::Object(take(&mut template, &["id", "version"])));
        // The id says which.
        template.value("name");
    }
    let update = ["max_unavailable", "max_unavailable_percentage", "update_strategy"];
    if let Some(mut update) = block(&mut of, "update_config", &update) {
        // The state has 0 for the one that is not set.
        update.as_object_mut().into_iter().for_each(|fields| fields.retain(|_, value| *value != 0));
        group.insert("updateConfig".to_owned(), update);
    }
    if let Some(mut repair) = of.sections("node_repair_config").into_iter().next() {
        let limits = [
            "enabled",
            "max_unhealthy_node_threshold_count",
            "max_unhealthy_node_threshold_percentage",
            "max_parallel_nodes_repaired_count",
            "max_parallel_nodes_repaired_percentage",
        ];
        let mut config = take(&mut repair, &limits);
        config.retain(|_, value| *value != 0);
        let overrides =
            ["node_monitoring_condition", "node_unhealthy_reason", "min_repair_wait_time_mins", "repair_action"];
        let name = "node_repair_config_overrides";
        move_blocks(&mut repair, &mut config, (name, "nodeRepairConfigOverrides"), &overrides);
        group.insert("nodeRepairConfig".to_owned(), Value::Object(config));
    }
    if of.flag("force_update_version") == Some(true) {
        let how = "set update.force in the manifest if nodes may be replaced although their Pods cannot be evicted";
        of.report_difference("force_update_version", how);
    }
    move_block(&mut of, &mut group, "remote_access", &["ec2_ssh_key", "source_security_group_ids"]);
    end(of);
    Value::Object(group)
}

/// An add-on.
pub fn addon(mut of: Section<'_>) -> Value {
    let names = ["addon_name", "addon_version", "configuration_values", "service_account_role_arn"];
    let mut addon = take(&mut of, &names);
    let pods = of.sections("pod_identity_association").into_iter().filter_map(|mut one| {
        let role = one.text("role_arn");
        one.value("service_account");
        role
    });
    addon.insert("podIdentityAssociations".to_owned(), json!(pods.collect::<Vec<_>>()));
    if let Some(namespace) = of.text("namespace") {
        addon.insert("namespaceConfig".to_owned(), json!({"namespace": namespace}));
    }
    if of.text("resolve_conflicts_on_update").as_deref() == Some("OVERWRITE") {
        of.report_difference("resolve_conflicts_on_update", OVERWRITE);
    }
    if of.flag("preserve") == Some(true) {
        let how =
            "the manifest has deletionPolicy: Retain; before you set Delete, set preserveOnDelete for this add-on";
        of.report_difference("preserve", how);
    }
    end(of);
    Value::Object(addon)
}

/// An access entry, still without its policies.
pub fn access_entry(mut of: Section<'_>) -> Value {
    let mut entry = take(&mut of, &["principal_arn", "type", "kubernetes_groups"]);
    entry.extend(of.value("user_name").map(|name| ("username".to_owned(), name)));
    entry.insert("policies".to_owned(), json!([]));
    end(of);
    Value::Object(entry)
}

/// An access policy of an entry.
pub fn access_policy(mut of: Section<'_>) -> Value {
    let mut policy = take(&mut of, &["policy_arn"]);
    of.value("principal_arn");
    move_block(&mut of, &mut policy, "access_scope", &["type", "namespaces"]);
    end(of);
    Value::Object(policy)
}

/// A pod identity.
pub fn pod_identity(mut of: Section<'_>) -> Value {
    let names = ["namespace", "service_account", "role_arn", "target_role_arn", "disable_session_tags", "policy"];
    let identity = take(&mut of, &names);
    end(of);
    Value::Object(identity)
}

/// A Fargate profile.
pub fn fargate_profile(mut of: Section<'_>) -> Value {
    let mut profile = take(&mut of, &["fargate_profile_name", "pod_execution_role_arn"]);
    profile.extend(of.value("subnet_ids").map(|ids| ("subnets".to_owned(), ids)));
    move_blocks(&mut of, &mut profile, ("selector", "selectors"), &["namespace", "labels"]);
    end(of);
    Value::Object(profile)
}

/// An OIDC identity provider.
pub fn identity_provider(mut of: Section<'_>) -> Option<Value> {
    let mut oidc = of.sections("oidc").into_iter().next()?;
    let names = [
        "identity_provider_config_name",
        "issuer_url",
        "client_id",
        "username_claim",
        "username_prefix",
        "groups_claim",
        "groups_prefix",
        "required_claims",
    ];
    let provider = take(&mut oidc, &names);
    end(oidc);
    end(of);
    Some(Value::Object(provider))
}

/// A capability.
pub fn capability(mut of: Section<'_>) -> Value {
    let mut capability = take(&mut of, &["capability_name", "type", "role_arn"]);
    // EKS knows no other.
    of.value("delete_propagation_policy");
    // The version that EKS runs.
    of.value("version");
    if let Some(mut configuration) = of.sections("configuration").into_iter().next() {
        let argo = configuration.sections("argo_cd").into_iter().next().map(argo_cd);
        end(configuration);
        capability.insert("configuration".to_owned(), json!({"argoCd": argo}));
    }
    end(of);
    Value::Object(capability)
}

fn argo_cd(mut of: Section<'_>) -> Value {
    let mut argo = take(&mut of, &["namespace"]);
    if let Some(mut idc) = of.sections("aws_idc").into_iter().next() {
        argo.insert("awsIdc".to_owned(), Value::Object(take(&mut idc, &["idc_instance_arn", "idc_region"])));
        // EKS creates it.
        idc.value("idc_managed_application_arn");
        end(idc);
    }
    of.value("server_url");
    move_block(&mut of, &mut argo, "network_access", &["vpce_ids"]);
    let mappings: Vec<_> = of.sections("rbac_role_mapping").into_iter().map(role_mapping).collect();
    // With some of them, Keelson would remove the others; without any it manages none.
    let mappings: Option<Vec<_>> = mappings.into_iter().collect();
    argo.insert("rbacRoleMappings".to_owned(), json!(mappings.unwrap_or_default()));
    end(of);
    Value::Object(argo)
}

fn role_mapping(mut of: Section<'_>) -> Option<Value> {
    const WHY: &str = "lacks a role, or an identity's id or type, in the state: no role mappings are managed until the manifest lists them all";
    let mut mapping = take(&mut of, &["role"]);
    move_blocks(&mut of, &mut mapping, ("identity", "identities"), &["id", "type"]);
    let mapping = Value::Object(mapping);
    let has_all = |part: &Value, fields: &[&str]| fields.iter().all(|field| part[*field].is_string());
    let mut identities = mapping["identities"].as_array().into_iter().flatten();
    if !has_all(&mapping, &["role"]) || !identities.all(|one| has_all(one, &["id", "type"])) {
        of.leave(WHY);
        return None;
    }
    end(of);
    Some(mapping)
}
