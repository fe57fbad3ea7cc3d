//! Converts an AWSManagedMachinePool and its MachinePool, and an AWSFargateProfile, to EKS's notation. Pure.

use serde_json::{Value, json};

use super::control_plane::minor;
use super::eks_names;
use super::object::Object;
use super::own_fields::{OF_FARGATE_PROFILES, OF_MACHINE_POOLS};
use super::roles::Roles;
use super::subnets::Network;
use crate::cli::import::section::Section;

/// EKS's default.
const INSTANCE_TYPE: &str = "t3.medium";
const PASS_STATUS: &str =
    "pass the objects as they are in the management cluster (kubectl get -o yaml), with their status";

/// A node group; `None`: it is not converted, and a remark says why.
pub fn node_group(
    mut spec: Section<'_>,
    (object, pool): (&Object, Option<&Object>),
    network: &Network,
    roles: &Roles,
) -> Option<Value> {
    let name = spec.some_text("eksNodegroupName").or_else(|| eks_names::in_eks(object, eks_names::NODE_GROUP));
    if name.is_none() {
        spec.report_mistake("eksNodegroupName", eks_names::HASHED);
    }
    let role = roles.take(&mut spec);
    let (min, max) = match spec.section("scaling") {
        Some(mut scaling) => (scaling.number("minSize"), scaling.number("maxSize")),
        None => (None, None),
    };
    let desired = pool.and_then(|pool| pool.spec.get("replicas")?.as_i64()).unwrap_or(1);
    let version = pool.and_then(|pool| minor(pool.text("/template/spec/version")));
    let release = spec.some_text("amiVersion");
    let version = version.or_else(|| release.as_deref().and_then(minor));
    if version.is_none() {
        let how = "the nodes' version is in neither the MachinePool nor amiVersion: the NodeGroup follows the control plane. If the plan \
                   shows an upgrade, write the version that they have";
        spec.report_difference("amiVersion", how);
    }
    let subnets = subnets(&mut spec, pool, network);
    let template = template(&mut spec, object);
    let (ami_type, own_ami) = (spec.some_text("amiType"), template.as_ref().is_ok_and(|one| one.has_ami));
    let types = spec.some_text("instanceType");
    let has_type = template.as_ref().is_ok_and(|one| one.has_instance_type);
    let types = types.or_else(|| (!has_type).then(|| INSTANCE_TYPE.to_owned()));
    let capacity = match spec.some_text("capacityType").as_deref() {
        Some("spot") => "SPOT",
        _ => "ON_DEMAND",
    };
    let taints: Vec<_> = spec.sections("taints").into_iter().map(taint).collect();
    let update = spec.section("updateConfig").map(|mut update| {
        json!({"maxUnavailable": update.value("maxUnavailable"), "maxUnavailablePercentage": update.value("maxUnavailablePercentage")})
    });
    let repair = spec.section("nodeRepairConfig").map(|mut repair| json!({"enabled": repair.value("enabled")}));
    let remote = spec.value("remoteAccess").map(|access| json!({"ec2SshKey": access["sshKeyName"]}));
    let mut group = json!({
        "nodegroupName": name,
        "version": version,
        "releaseVersion": release,
        "amiType": ami_type.filter(|_| !own_ami),
        "capacityType": capacity,
        "instanceTypes": types.into_iter().collect::<Vec<_>>(),
        "diskSize": spec.value("diskSize"),
        "subnets": subnets,
        "nodeRole": role,
        "labels": spec.value("labels"),
        "taints": taints,
        "tags": spec.value("additionalTags"),
        "scalingConfig": {"minSize": min, "maxSize": max, "desiredSize": desired},
        "updateConfig": update,
        "nodeRepairConfig": repair,
        "remoteAccess": remote,
    });
    spec.value("providerIDList");
    spec.refuse_each(&OF_MACHINE_POOLS);
    match template {
        Ok(Template { id: Some(id), version, .. }) => group["launchTemplate"] = json!({"id": id, "version": version}),
        Ok(_) => {}
        Err(why) => {
            spec.report_left_out("awsLaunchTemplate", why);
            return None;
        }
    }
    if min.is_none() || max.is_none() {
        let why = "minSize or maxSize is missing, so the node group is not in the manifest: write both into the file, as `aws eks \
                   describe-nodegroup --query nodegroup.scalingConfig` shows them, and convert it again";
        spec.report_left_out("scaling", why);
        return None;
    }
    Some(group)
}

/// The launch template that Cluster API created for the node group.
#[derive(Default)]
struct Template {
    id: Option<String>,
    version: Option<String>,
    has_ami: bool,
    has_instance_type: bool,
}

fn template(spec: &mut Section<'_>, object: &Object) -> Result<Template, String> {
    let Some(wanted) = spec.value("awsLaunchTemplate") else { return Ok(Template::default()) };
    let status = |field: &str| object.status[field].as_str().map(str::to_owned);
    let (Some(id), Some(version)) = (status("launchTemplateID"), status("launchTemplateVersion")) else {
        return Err(format!("its id is not in the status, so the node group is not in the manifest: {PASS_STATUS}"));
    };
    let how = "became launchTemplate, by id and version: it stays as it is, and nobody changes it any more";
    spec.report_difference("awsLaunchTemplate", how);
    let has = |pointer: &str| wanted.pointer(pointer).is_some_and(|value| !value.is_null());
    Ok(Template {
        id: Some(id),
        version: Some(version),
        has_ami: has("/ami/id"),
        has_instance_type: has("/instanceType"),
    })
}

fn subnets(spec: &mut Section<'_>, pool: Option<&Object>, network: &Network) -> Vec<String> {
    let ids = spec.texts("subnetIDs").unwrap_or_default();
    let zones = spec.texts("availabilityZones").unwrap_or_default();
    let type_ = spec.some_text("availabilityZoneSubnetType");
    if !ids.is_empty() {
        return ids;
    }
    let of_pool = pool.and_then(|pool| pool.spec.get("failureDomains")?.as_array());
    let of_pool = of_pool.into_iter().flatten().filter_map(|zone| zone.as_str().map(str::to_owned));
    let zones = if zones.is_empty() { of_pool.collect() } else { zones };
    let found = network.of_nodes(&zones, type_.as_deref());
    if found.is_empty() && !network.subnets.is_empty() {
        spec.report_mistake("subnetIDs", "is missing, and no subnet of the control plane fits the node group");
    }
    found
}

fn taint(mut taint: Section<'_>) -> Value {
    let effect = taint.some_text("effect").unwrap_or_default().replace('-', "_").to_uppercase();
    json!({"key": taint.text("key"), "value": taint.some_text("value"), "effect": effect})
}

/// A Fargate profile.
pub fn fargate_profile(mut spec: Section<'_>, object: &Object, network: &Network, roles: &Roles) -> Value {
    spec.value("clusterName");
    let name = spec.some_text("profileName").or_else(|| eks_names::in_eks(object, eks_names::FARGATE_PROFILE));
    if name.is_none() {
        spec.report_mistake("profileName", eks_names::HASHED);
    }
    let subnets = spec.texts("subnetIDs").filter(|ids| !ids.is_empty()).unwrap_or_else(|| network.private());
    let selectors = spec
        .sections("selectors")
        .into_iter()
        .map(|mut selector| json!({"namespace": selector.text("namespace"), "labels": selector.value("labels")}));
    let selectors: Vec<_> = selectors.collect();
    let profile = json!({
        "fargateProfileName": name,
        "podExecutionRoleArn": roles.take(&mut spec),
        "subnets": subnets,
        "selectors": selectors,
    });
    spec.refuse_each(&OF_FARGATE_PROFILES);
    profile
}
