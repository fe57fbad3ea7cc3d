//! Converts the whole file to an EksCluster and its NodeGroups. Pure.

use serde_json::{Value, json};

use super::addon_policies::{self, WorkloadPolicies};
use super::node_group::{self, Cluster};
use super::service_accounts::{self, RoleAccess};
use super::{
    Options, access, addons, capabilities, control_plane, flux, karpenter, network, pod_roles, self_managed, tags,
    version,
};
use crate::api::{GROUP, KubernetesVersion};
use crate::cli::import::section::Section;
use crate::cli::import::{ObjectPlacement, object_names};

const LOG_TYPES: [&str; 5] = ["api", "audit", "authenticator", "controllerManager", "scheduler"];
const AUTO_MODE_POOLS: [&str; 2] = ["general-purpose", "system"];
const BOUNDARY: &str = "permissionsBoundaryArn of an AwsAccount applies to every role that Keelson creates in it";

/// The objects.
pub fn objects(
    mut file: Section<'_>,
    placing: &ObjectPlacement,
    options: &Options,
    role_access: &RoleAccess,
) -> Vec<Value> {
    let (mut metadata, mut spec) = metadata(&mut file, options.version);
    let name = metadata["name"].as_str().unwrap_or_default().to_owned();
    let region = spec["region"].as_str().unwrap_or_default().to_owned();
    let object = object_names::object_name(&name);
    if object != name {
        spec["clusterName"] = json!(name);
    }
    metadata["name"] = json!(object);
    if let Some(namespace) = &placing.namespace {
        metadata["namespace"] = json!(namespace);
    }
    if let Some(account) = &placing.account_ref {
        spec["accountRef"] = json!({"name": account});
    }
    let (logging, log_group) = logging(&mut file);
    let network = network::network(&mut file, logging.as_ref().is_some_and(|types| !types.is_empty()));
    spec["network"] = network.spec.clone();
    spec["endpointAccess"] = network.endpoint_access.clone();
    if let Some(types) = logging {
        spec["logging"] = json!(types);
    }
    if let Some(log_group) = log_group {
        spec["logGroup"] = log_group;
    }
    kubernetes_network(&mut file, &mut spec);
    let auto_mode = auto_mode(&mut file, &mut spec);
    iam(&mut file, &mut spec, &region, role_access);
    spec["access"] = access::access(&mut file);
    control_plane::remote_networks(&mut file, &mut spec);
    control_plane::components(&mut file, &mut spec, network.egress_mode);
    let mut addons = addons::addons(&mut file, &region, auto_mode);
    let karpenter = karpenter::karpenter(&mut file);
    if !auto_mode {
        addons::add_pod_identity_agent(&file, &mut addons, &spec["podIdentities"], karpenter.is_some());
    }
    if let Some(karpenter) = karpenter {
        spec["karpenter"] = karpenter;
    }
    spec["addons"] = json!(addons);
    let profiles = addons::fargate_profiles(&mut file);
    if !profiles.is_empty() {
        spec["fargateProfiles"] = json!(profiles);
    }
    let capabilities = capabilities::capabilities(&mut file);
    if !capabilities.is_empty() {
        spec["capabilities"] = json!(capabilities);
    }
    settings(&mut file, &mut spec);
    if let Some(gitops) = flux::gitops(&mut file) {
        spec["gitops"] = gitops;
    }
    let workloads = WorkloadPolicies::default();
    let cluster = Cluster { name: &name, region: &region, object: &object, network: &network, placing, workloads };
    let mut groups: Vec<_> = file
        .sections("managedNodeGroups")
        .into_iter()
        .filter_map(|item| node_group::node_group(item, &cluster))
        .collect();
    self_managed::node_groups(&mut file, &cluster, options.self_managed_as_managed, &mut groups);
    addon_policies::add(&file, &mut spec, &cluster.workloads, auto_mode);
    refuse_the_rest(&mut file);
    let mut all = vec![
        json!({"apiVersion": format!("{GROUP}/v1alpha1"), "kind": "EksCluster", "metadata": metadata, "spec": spec}),
    ];
    all.extend(groups);
    all
}

/// Metadata of the EksCluster, still with its name in EKS, and the spec fields of eksctl's `metadata`.
fn metadata(file: &mut Section<'_>, wanted: Option<KubernetesVersion>) -> (Value, Value) {
    let (mut metadata, mut spec) = (json!({}), json!({}));
    if !file.has("metadata") {
        file.report_mistake("metadata", "is missing");
    }
    let Some(mut section) = file.section("metadata") else { return (metadata, spec) };
    for field in ["name", "region"] {
        if !section.has(field) {
            section.report_mistake(field, "is missing");
        }
    }
    metadata["name"] = json!(section.text("name"));
    spec["region"] = json!(section.text("region"));
    if let Some(version) = version::version(&mut section, wanted) {
        spec["version"] = json!(version.to_string());
    }
    if let Some(annotations) = section.map("annotations").filter(|annotations| !annotations.is_empty()) {
        metadata["annotations"] = json!(annotations);
    }
    let tags = tags(&mut section, "tags");
    if !tags.is_empty() {
        spec["tags"] = json!(tags);
    }
    if section.flag("forceUpdateVersion") == Some(true) {
        spec["upgrade"] = json!({"insights": "Warn"});
        section
            .report_difference("forceUpdateVersion", "became upgrade.insights: Warn, which applies to every upgrade");
    }
    section.refuse("rollbackConfig", "Keelson rolls back only when you lower version (upgrade.allowRollback)");
    section.refuse("accountID", "an AwsAccount defines the account: --account-ref");
    (metadata, spec)
}

/// The log types, and the log group if the file has a retention. eksctl leaves it when it deletes the cluster.
fn logging(file: &mut Section<'_>) -> (Option<Vec<String>>, Option<Value>) {
    let Some(mut section) = file.section("cloudWatch") else { return (None, None) };
    let Some(mut logging) = section.section("clusterLogging") else { return (None, None) };
    // 0: for ever.
    let retention = logging.number("logRetentionInDays").filter(|days| *days != 0);
    let log_group = retention.map(|days| json!({"retentionDays": days, "deletionPolicy": "Retain"}));
    let types = logging.texts("enableTypes").map(|types| {
        let all = types.iter().any(|type_| type_ == "all" || type_ == "*");
        if all { LOG_TYPES.map(str::to_owned).to_vec() } else { types }
    });
    (types, log_group)
}

fn kubernetes_network(file: &mut Section<'_>, spec: &mut Value) {
    let Some(mut section) = file.section("kubernetesNetworkConfig") else { return };
    let mut kubernetes = json!({});
    match section.some_text("ipFamily").map(|family| family.to_lowercase()).as_deref() {
        None | Some("ipv4") => {}
        Some("ipv6") => kubernetes["ipFamily"] = json!("IPv6"),
        Some(other) => section.report_mistake("ipFamily", format!("{other:?} is neither IPv4 nor IPv6")),
    }
    if let Some(range) = section.some_text("serviceIPv4CIDR") {
        kubernetes["serviceCidr"] = json!(range);
    }
    section.refuse("serviceIPv6CIDR", "EKS itself chooses the range of Services of an IPv6 cluster");
    if kubernetes != json!({}) {
        spec["kubernetesNetwork"] = kubernetes;
    }
}

fn auto_mode(file: &mut Section<'_>, spec: &mut Value) -> bool {
    let Some(mut section) = file.section("autoModeConfig") else { return false };
    let enabled = section.flag("enabled").unwrap_or_default();
    let pools = section.texts("nodePools");
    let role = section.some_text("nodeRoleARN");
    section.refuse("permissionsBoundaryARN", BOUNDARY);
    if enabled {
        spec["autoMode"] = json!({"nodePools": pools.unwrap_or_else(|| AUTO_MODE_POOLS.map(str::to_owned).to_vec())});
        if let Some(role) = role {
            spec["autoMode"]["nodeRoleArn"] = json!(role);
        }
    } else if pools.is_some_and(|pools| !pools.is_empty()) {
        section.report_left_out("nodePools", "autoModeConfig.enabled is not true");
    }
    enabled
}

fn iam(file: &mut Section<'_>, spec: &mut Value, region: &str, role_access: &RoleAccess) {
    let Some(mut iam) = file.section("iam") else {
        spec["oidcProvider"] = json!(false);
        return;
    };
    spec["oidcProvider"] = json!(iam.flag("withOIDC").unwrap_or_default());
    let role = iam.some_text("serviceRoleARN");
    if let Some(role) = &role {
        spec["roleArn"] = json!(role);
    }
    let mut identities = access::pod_identities(&mut iam, region);
    for account in iam.sections("serviceAccounts") {
        let identity = if account.has("attachRoleARN") {
            service_accounts::with_existing_role(account, role_access)
        } else {
            pod_roles::service_account(account, region)
        };
        let of = |one: &Value| (one["namespace"].clone(), one["serviceAccount"].clone());
        identities.extend(identity.filter(|identity| identities.iter().all(|other| of(other) != of(identity))));
    }
    if !identities.is_empty() {
        spec["podIdentities"] = json!(identities);
    }
    iam.refuse_each(&[
        ("serviceRolePermissionsBoundary", BOUNDARY),
        ("fargatePodExecutionRoleARN", "set podExecutionRoleArn of each of fargateProfiles"),
        ("fargatePodExecutionRolePermissionsBoundary", BOUNDARY),
    ]);
    let with_role = "the cluster's own role must already have it: Keelson does not change that role";
    let without = "the role that Keelson creates has AmazonEKSClusterPolicy only: for security groups of Pods, create \
                   a role that also has AmazonEKSVPCResourceController and set it in roleArn";
    iam.refuse_unless("vpcResourceControllerPolicy", false, if role.is_some() { with_role } else { without });
}

fn settings(file: &mut Section<'_>, spec: &mut Value) {
    if let Some(mut section) = file.section("upgradePolicy") {
        match section.some_text("supportType").map(|text| text.to_uppercase()).as_deref() {
            None => {}
            Some("STANDARD") => spec["supportType"] = json!("Standard"),
            Some("EXTENDED") => spec["supportType"] = json!("Extended"),
            Some(other) => section.report_mistake("supportType", format!("{other:?} is neither STANDARD nor EXTENDED")),
        }
    }
    if let Some(key) = file.section("secretsEncryption").and_then(|mut section| section.some_text("keyARN")) {
        spec["secretsEncryption"] = json!({"kmsKeyArn": key});
    }
    if let Some(enabled) = file.section("zonalShiftConfig").and_then(|mut section| section.flag("enabled")) {
        spec["zonalShift"] = json!(enabled);
    }
    if let Some(tier) = file.section("controlPlaneScalingConfig").and_then(|mut section| section.some_text("tier")) {
        spec["controlPlaneScaling"] = json!({"tier": tier});
    }
    if let Some(protected) = file.flag("deletionProtection") {
        spec["deletionProtection"] = json!(protected);
    }
}

fn refuse_the_rest(file: &mut Section<'_>) {
    file.refuse_each(&[
        ("localZones", "Keelson creates subnets in availability zones only"),
        ("outpost", "Keelson creates no control planes on Outposts"),
        ("git", "is for Flux 1: use gitops.flux"),
    ]);
}
