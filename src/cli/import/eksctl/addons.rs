//! `addons`, `addonsConfig` and `fargateProfiles`. Pure.

use serde_json::{Map, Value, json};

use super::pod_roles;
use crate::cli::import::section::Section;

/// Add-ons that eksctl creates by default.
const ALWAYS: [&str; 4] = ["vpc-cni", "kube-proxy", "coredns", "metrics-server"];
/// Those of them that a cluster in EKS Auto Mode gets too.
const WITH_AUTO_MODE: [&str; 1] = ["metrics-server"];
/// Partitions whose regions have no metrics-server.
const WITHOUT_METRICS_SERVER: [&str; 4] = ["cn-", "us-gov-", "us-iso", "eu-isoe-"];

const NO_ROLES: &str = "Keelson gives an add-on a role only if you say which policies it has: set podIdentityRole";
const AGENT: &str = "eks-pod-identity-agent";

/// `spec.addons`.
pub fn addons(file: &mut Section<'_>, region: &str, auto_mode: bool) -> Vec<Value> {
    let mut defaults = true;
    if let Some(mut config) = file.section("addonsConfig") {
        defaults = !config.flag("disableDefaultAddons").unwrap_or_default();
        config.refuse_unless("autoApplyPodIdentityAssociations", false, NO_ROLES);
    }
    let mut addons: Vec<Value> = file.sections("addons").into_iter().filter_map(|item| addon(item, region)).collect();
    if defaults {
        let own: &[&str] = if auto_mode { &WITH_AUTO_MODE } else { &ALWAYS };
        let here = |name: &str| {
            name != "metrics-server" || !WITHOUT_METRICS_SERVER.iter().any(|place| region.starts_with(place))
        };
        for name in own.iter().filter(|name| here(name)) {
            if !addons.iter().any(|addon| addon["name"] == **name) {
                addons.push(json!({"name": name}));
            }
        }
    }
    addons
}

/// Adds the agent from which Pods get credentials of roles that Keelson creates, if the file lacks it.
pub fn add_pod_identity_agent(
    file: &Section<'_>,
    addons: &mut Vec<Value>,
    pod_identities: &Value,
    has_karpenter: bool,
) {
    let of_pods = pod_identities.as_array().is_some_and(|all| all.iter().any(|one| one.get("role").is_some()));
    let needs = of_pods || has_karpenter || addons.iter().any(|addon| addon.get("podIdentityRole").is_some());
    if needs && !addons.iter().any(|addon| addon["name"] == AGENT) {
        addons.push(json!({"name": AGENT}));
        file.report_difference("addons", format!("{AGENT} was added: Pods get the credentials of their roles from it"));
    }
}

fn addon(mut item: Section<'_>, region: &str) -> Option<Value> {
    let Some(name) = item.some_text("name") else {
        item.report_mistake("name", "is missing");
        return None;
    };
    let mut addon = json!({"name": name.to_lowercase()});
    match item.some_text("version").as_deref() {
        None | Some("default") => {}
        Some("latest") => addon["version"] = json!("Latest"),
        Some(exact) => {
            addon["version"] = json!(exact);
            if !exact.contains("-eksbuild.") || !exact.starts_with('v') {
                item.report_difference(
                    "version",
                    format!(
                        "eksctl completes {exact:?}; Keelson needs a full version from `aws eks \
                         describe-addon-versions`"
                    ),
                );
            }
        }
    }
    match item.some_text("resolveConflicts").map(|text| text.to_lowercase()).as_deref() {
        None => {}
        Some("none") => addon["conflicts"] = json!("None"),
        Some("overwrite") => addon["conflicts"] = json!("Overwrite"),
        Some("preserve") => addon["conflicts"] = json!("Preserve"),
        Some(other) => {
            item.report_mistake("resolveConflicts", format!("{other:?} is none of none, overwrite, preserve"))
        }
    }
    if let Some(text) = item.some_text("configurationValues") {
        match serde_saphyr::from_str::<Map<String, Value>>(&text) {
            Ok(values) => addon["configuration"] = Value::Object(values),
            Err(_) => item.report_mistake("configurationValues", "is neither JSON nor YAML of a mapping"),
        }
    }
    let irsa = item.some_text("serviceAccountRoleARN");
    if let Some(role) = &irsa {
        addon["serviceAccountRoleArn"] = json!(role);
    }
    pod_identity(&mut item, &mut addon, region);
    let named = ["serviceAccountRoleArn", "podIdentityRoleArn", "podIdentityRole"]
        .iter()
        .any(|field| addon.get(*field).is_some());
    if named {
        for field in ["attachPolicyARNs", "attachPolicy", "wellKnownPolicies"] {
            item.refuse(field, "the add-on has another role already");
        }
    } else if let Some(role) = pod_roles::role(&mut item, &pod_roles::OF_SERVICE_ACCOUNT, region) {
        addon["podIdentityRole"] = role;
    }
    if let Some(namespace) = item.section("namespaceConfig").and_then(|mut config| config.some_text("namespace")) {
        addon["namespace"] = json!(namespace);
    }
    const LISTING: &str =
        "filters what `eksctl utils describe-addon-versions` lists, and does not configure the add-on";
    item.refuse_each(&[
        (
            "permissionsBoundary",
            "permissionsBoundaryArn of an AwsAccount applies to every role that Keelson creates in it",
        ),
        ("publishers", LISTING),
        ("types", LISTING),
        ("owners", LISTING),
    ]);
    item.differ("tags", "add-ons get the cluster's tags, and no others");
    item.refuse_unless("useDefaultPodIdentityAssociations", false, NO_ROLES);
    Some(addon)
}

/// Sets the role of the add-on's pod identity association.
fn pod_identity(item: &mut Section<'_>, addon: &mut Value, region: &str) {
    let mut associations = item.sections("podIdentityAssociations");
    if associations.len() > 1 {
        for association in associations {
            association.leave("Keelson gives an add-on one role by pod identity: list the others under podIdentities");
        }
        return;
    }
    let Some(mut only) = associations.pop() else { return };
    match only.some_text("roleARN") {
        Some(role) => {
            addon["podIdentityRoleArn"] = json!(role);
            super::access::refuse_settings_of_a_role(&mut only);
        }
        None => match pod_roles::role(&mut only, &pod_roles::OF_ASSOCIATION, region) {
            Some(role) => addon["podIdentityRole"] = role,
            None => return only.leave(NO_ROLES),
        },
    }
    super::access::refuse_the_rest(&mut only);
    only.refuse("targetRoleARN", "EKS gives an add-on no second role");
    only.refuse_unless("disableSessionTags", false, "EKS does not let an add-on disable them");
    let (namespace, account) = (only.some_text("namespace"), only.some_text("serviceAccountName"));
    if let Some(account) = account {
        let namespace = namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
        only.report_difference(
            "serviceAccountName",
            format!(
                "Keelson gives the role to the service account that EKS defines for the add-on, whether or not \
                     that is {namespace}{account}"
            ),
        );
    }
    only.differ_unless("createServiceAccount", false, "the add-on includes its ServiceAccount");
}

/// `spec.fargateProfiles`.
pub fn fargate_profiles(file: &mut Section<'_>) -> Vec<Value> {
    file.sections("fargateProfiles").into_iter().filter_map(|item| fargate_profile(item)).collect()
}

fn fargate_profile(mut item: Section<'_>) -> Option<Value> {
    let Some(name) = item.some_text("name") else {
        item.report_mistake("name", "is missing");
        return None;
    };
    let mut selectors = Vec::new();
    for mut selector in item.sections("selectors") {
        let Some(namespace) = selector.some_text("namespace") else {
            selector.report_mistake("namespace", "is missing");
            continue;
        };
        let mut wanted = json!({"namespace": namespace});
        if let Some(labels) = selector.map("labels").filter(|labels| !labels.is_empty()) {
            wanted["labels"] = json!(labels);
        }
        selectors.push(wanted);
    }
    let (role, subnets) = (item.some_text("podExecutionRoleARN"), item.texts("subnets"));
    item.refuse_each(&[("status", "is a state that eksctl reports, not a setting")]);
    item.differ("tags", "profiles get the cluster's tags, and no others");
    let mut profile = json!({"name": name, "selectors": selectors});
    if let Some(role) = role {
        profile["podExecutionRoleArn"] = json!(role);
    }
    if let Some(subnets) = subnets.filter(|subnets| !subnets.is_empty()) {
        profile["subnetIds"] = json!(subnets);
    }
    Some(profile)
}
