//! Converts an AWSManagedControlPlane to EKS's notation. Pure.

use serde_json::{Map, Value, json};

use super::object::Object;
use super::own_fields::OF_CONTROL_PLANES;
use super::roles::Roles;
use super::subnets::{self, Network};
use crate::cli::import::section::Section;
use crate::resources::inventory::described::Description;

const AWS_AUTH: &str = "stays in the ConfigMap aws-auth, which Keelson leaves alone";

/// The control plane, still without its node groups and profiles. `owner`: the Cluster.
pub fn describe(
    mut spec: Section<'_>,
    (object, owner): (&Object, Option<&Object>),
    (name, region): (&str, &str),
    roles: &Roles,
) -> (Description, Network) {
    spec.value("eksClusterName");
    spec.value("region");
    spec.value("partition");
    spec.value("controlPlaneEndpoint");
    let network = subnets::network(&mut spec);
    let private_only = spec.flag("restrictPrivateSubnets").unwrap_or_default();
    let (public, private, cidrs) = endpoint_access(&mut spec);
    let mut cluster = json!({
        "name": name,
        "arn": roles.cluster_arn(region, name),
        "roleArn": roles.take(&mut spec),
        "resourcesVpcConfig": {
            "vpcId": network.vpc_id,
            "subnetIds": network.ids(private_only),
            "securityGroupIds": subnets::security_groups(&object.status),
            "endpointPublicAccess": public,
            "endpointPrivateAccess": private,
            "publicAccessCidrs": cidrs,
        },
    });
    cluster["version"] = json!(version(&mut spec, object));
    cluster["kubernetesNetworkConfig"] = if network.is_ipv6 {
        json!({"ipFamily": "ipv6"})
    } else {
        json!({"ipFamily": "ipv4", "serviceIpv4Cidr": owner.and_then(service_cidr)})
    };
    if let Some(types) = logging(&mut spec) {
        cluster["logging"] = json!({"clusterLogging": [{"types": types, "enabled": true}]});
    }
    if let Some(mut encryption) = spec.section("encryptionConfig") {
        encryption.value("resources");
        if let Some(key) = encryption.some_text("provider") {
            cluster["encryptionConfig"] = json!([{"provider": {"keyArn": key}}]);
        }
    }
    if let Some(support) = spec.some_text("upgradePolicy") {
        cluster["upgradePolicy"] = json!({"supportType": support.to_uppercase()});
    }
    if let Some(tags) = spec.value("additionalTags") {
        cluster["tags"] = tags;
    }
    let mode = access_mode(&mut spec);
    cluster["accessConfig"] = json!({"authenticationMode": mode});
    let access_entries = access_entries(&mut spec, &mode);
    let addons = addons(&mut spec, &object.status);
    let oidc_provider = spec.flag("associateOIDCProvider").unwrap_or_default();
    let identity_provider = identity_provider(&mut spec);
    aws_auth(&mut spec);
    if spec.section("bastion").is_some_and(|mut bastion| {
        let enabled = bastion.flag("enabled") == Some(true);
        bastion.names().iter().for_each(|name| drop(bastion.value(name)));
        enabled
    }) {
        spec.report_left_out("bastion", "Keelson creates no bastions: it stays, and has no owner");
    }
    identity(&mut spec);
    // The webhook of Cluster API sets it in every cluster.
    spec.value("bootstrapSelfManagedAddons");
    for field in ["vpcCni", "kubeProxy"] {
        if spec.value(field).is_some_and(|value| value != json!({}) && value != json!({"disable": false})) {
            let why = OF_CONTROL_PLANES.iter().find(|(name, _)| *name == field).map_or("", |(_, why)| why);
            spec.report_left_out(field, why);
        }
    }
    spec.refuse_each(&OF_CONTROL_PLANES);
    let description =
        Description { cluster, addons, access_entries, identity_provider, oidc_provider, ..Description::default() };
    (description, network)
}

/// The version of EKS: `v1.33.2` is 1.33.
pub fn minor(version: &str) -> Option<String> {
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next()?.parse::<u16>().ok()?, parts.next()?.parse::<u16>().ok()?);
    Some(format!("{major}.{minor}"))
}

fn version(spec: &mut Section<'_>, object: &Object) -> Option<String> {
    let asked = spec.some_text("version");
    let actual = object.status["version"].as_str().map(str::to_owned);
    let (asked, actual) = (asked.as_deref().and_then(minor), actual.as_deref().and_then(minor));
    if let (Some(asked), Some(actual)) = (&asked, &actual)
        && asked != actual
    {
        let how = format!(
            "is {asked}, and the cluster has {actual}, which the manifest keeps: finish the upgrade first, or raise it later"
        );
        spec.report_difference("version", how);
    }
    if asked.is_none() && actual.is_none() {
        spec.report_mistake("version", "is missing: write the version that the cluster has, such as v1.34");
    }
    actual.or(asked)
}

/// EKS's defaults hold for what is not set.
fn endpoint_access(spec: &mut Section<'_>) -> (bool, bool, Vec<String>) {
    let Some(mut access) = spec.section("endpointAccess") else { return (true, false, Vec::new()) };
    let public = access.flag("public").unwrap_or(true);
    let private = access.flag("private").unwrap_or(false);
    let cidrs = access.texts("publicCIDRs").unwrap_or_default();
    // Cluster API hands on the network of each.
    let network =
        |text: &String| text.parse::<ipnet::IpNet>().map_or_else(|_| text.clone(), |net| net.trunc().to_string());
    (public, private, cidrs.iter().map(network).collect())
}

fn service_cidr(cluster: &Object) -> Option<String> {
    let network = cluster.spec.get("clusterNetwork")?;
    let all = network.pointer("/services/cidrBlocks")?.as_array()?;
    all.iter().filter_map(Value::as_str).find(|cidr| !cidr.contains(':')).map(str::to_owned)
}

fn logging(spec: &mut Section<'_>) -> Option<Vec<&'static str>> {
    const TYPES: [(&str, &str); 5] = [
        ("apiServer", "api"),
        ("audit", "audit"),
        ("authenticator", "authenticator"),
        ("controllerManager", "controllerManager"),
        ("scheduler", "scheduler"),
    ];
    let mut logging = spec.section("logging")?;
    let on = TYPES.iter().filter(|(field, _)| logging.flag(field) == Some(true)).map(|(_, name)| *name);
    Some(on.collect::<Vec<_>>()).filter(|on| !on.is_empty())
}

/// EKS's own default is CONFIG_MAP.
fn access_mode(spec: &mut Section<'_>) -> String {
    let mut config = spec.section("accessConfig");
    let mode = config.as_mut().and_then(|config| config.some_text("authenticationMode"));
    if let Some(config) = &mut config {
        config.value("bootstrapClusterCreatorAdminPermissions");
    }
    mode.unwrap_or_else(|| "config_map".to_owned()).to_uppercase()
}

fn access_entries(spec: &mut Section<'_>, mode: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for mut entry in spec.sections("accessEntries") {
        let policies = entry.sections("accessPolicies").into_iter().map(|mut policy| {
            let scope = policy
                .section("accessScope")
                .map(|mut scope| json!({"type": scope.some_text("type"), "namespaces": scope.value("namespaces")}));
            json!({"policyArn": policy.text("policyARN"), "accessScope": scope})
        });
        let policies: Vec<_> = policies.collect();
        found.push(json!({
            "principalArn": entry.text("principalARN"),
            "type": entry.some_text("type").unwrap_or_else(|| "standard".to_owned()).to_uppercase(),
            "username": entry.some_text("username"),
            "kubernetesGroups": entry.value("kubernetesGroups"),
            "policies": policies,
        }));
    }
    if mode == "CONFIG_MAP" && !found.is_empty() {
        spec.report_left_out(
            "accessEntries",
            "EKS has access entries with authenticationMode api or api_and_config_map only",
        );
        found.clear();
    }
    found
}

/// The OIDC identity provider, whose fields have EKS's names.
fn identity_provider(spec: &mut Section<'_>) -> Option<Value> {
    const FIELDS: [&str; 8] = [
        "identityProviderConfigName",
        "issuerUrl",
        "clientId",
        "usernameClaim",
        "usernamePrefix",
        "groupsClaim",
        "groupsPrefix",
        "requiredClaims",
    ];
    let mut config = spec.section("oidcIdentityProviderConfig")?;
    let provider: Map<_, _> =
        FIELDS.into_iter().filter_map(|name| Some((name.to_owned(), config.value(name)?))).collect();
    config.refuse("tags", "tags of the identity provider stay as they are");
    (!provider.is_empty()).then_some(Value::Object(provider))
}

/// The mapped principals. An access entry would be new, and an adoption creates nothing.
fn aws_auth(spec: &mut Section<'_>) {
    let Some(mut config) = spec.section("iamAuthenticatorConfig") else { return };
    for (list, arn) in [("mapRoles", "rolearn"), ("mapUsers", "userarn")] {
        for mut one in config.sections(list) {
            let principal = one.text(arn).unwrap_or_default();
            let groups = one.texts("groups").unwrap_or_default().join(", ");
            let username = one.text("username").unwrap_or_default();
            let why = format!(
                "{AWS_AUTH}. To replace it later: access.entries of {principal} with username {username} and kubernetesGroups [{groups}] \
                 (an access policy in place of system:masters)"
            );
            one.report_left_out(arn, why);
        }
    }
}

fn addons(spec: &mut Section<'_>, status: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    for mut addon in spec.sections("addons") {
        let name = addon.text("name").unwrap_or_default();
        let asked = addon.some_text("version");
        let installed = status["addons"].as_array().into_iter().flatten().find(|one| one["name"] == *name);
        let installed = installed.and_then(|one| one["version"].as_str()).map(str::to_owned);
        let version = installed.or(asked).filter(|version| version != "latest");
        let resolution = addon.some_text("conflictResolution");
        if resolution.as_deref() == Some("overwrite") {
            let how = "Keelson resolves conflicts as Preserve, so that the adoption changes nothing: set conflicts: Overwrite in the \
                       manifest if you want that";
            addon.report_difference("conflictResolution", how);
        }
        if addon.flag("preserveOnDelete") == Some(true) {
            let how =
                "the manifest has deletionPolicy: Retain; before you set Delete, set preserveOnDelete for this add-on";
            addon.report_difference("preserveOnDelete", how);
        }
        let (configuration, role) = (addon.some_text("configuration"), addon.some_text("serviceAccountRoleARN"));
        if version.is_none() {
            addon.report_left_out(
                "version",
                "is not known, so the add-on is not in the manifest: pass the objects with their status",
            );
            continue;
        }
        found.push(json!({
            "addonName": name,
            "addonVersion": version,
            "configurationValues": configuration,
            "serviceAccountRoleArn": role,
        }));
    }
    found
}

/// The credentials of Cluster API; the controller's own are the default.
fn identity(spec: &mut Section<'_>) {
    let Some(mut reference) = spec.section("identityRef") else { return };
    let kind = reference.text("kind").unwrap_or_default();
    reference.value("name");
    if kind != "AWSClusterControllerIdentity" {
        reference.report_left_out("kind", "an AwsAccount says which credentials Keelson uses: --account-ref");
    }
}
