//! Access to the cluster: `accessConfig`, `identityProviders`, `iamIdentityMappings`, `iam.podIdentityAssociations`. Pure.

use serde_json::{Value, json};

use super::pod_roles;
use crate::api::access::EntryType;
use crate::cli::import::section::Section;

const CLUSTER_ADMIN: &str = "cluster-access-policy/AmazonEKSClusterAdminPolicy";

/// `spec.access`.
pub fn access(file: &mut Section<'_>) -> Value {
    let mut mode = "ApiAndConfigMap";
    let mut entries = Vec::new();
    if let Some(mut section) = file.section("accessConfig") {
        match section.some_text("authenticationMode").as_deref() {
            Some("API") => mode = "Api",
            Some("API_AND_CONFIG_MAP") | None => {}
            Some("CONFIG_MAP") => section.report_difference(
                "authenticationMode",
                "became ApiAndConfigMap, which accepts the ConfigMap aws-auth and access entries: new clusters need \
                 entries",
            ),
            Some(other) => {
                let why = format!("{other:?} is none of API, API_AND_CONFIG_MAP, CONFIG_MAP");
                section.report_mistake("authenticationMode", why);
            }
        }
        section.differ_unless(
            "bootstrapClusterCreatorAdminPermissions",
            true,
            "the operator creates the cluster, and its role gets access as administrator, to install Flux and to read nodes; \
             nobody else does",
        );
        for mut item in section.sections("accessEntries") {
            let type_ = item.some_text("type").unwrap_or_else(|| EntryType::Standard.in_eks().to_owned());
            let Some(type_) = EntryType::ALL.into_iter().find(|one| one.in_eks() == type_) else {
                item.leave(&format!(
                    "type {type_} is for nodes, whose access entries EKS and Keelson create themselves"
                ));
                continue;
            };
            let Some(mut entry) = access_entry(&mut item) else { continue };
            if type_ != EntryType::Standard {
                entry["type"] = json!(type_);
            }
            entries.push(entry);
        }
    }
    for mut item in file.sections("iamIdentityMappings") {
        if let Some(entry) = mapped(&mut item) {
            if entries.iter().any(|other| other["principalArn"] == entry["principalArn"]) {
                item.leave("the principal has an entry already");
            } else {
                item.report_difference("arn", "became an access entry: the ConfigMap aws-auth is not written");
                entries.push(entry);
            }
        }
    }
    let mut access = json!({"authenticationMode": mode});
    if !entries.is_empty() {
        access["entries"] = json!(entries);
    }
    if let Some(provider) = identity_provider(file) {
        access["oidcIdentityProvider"] = provider;
    }
    access
}

/// `identityProviders`: EKS takes one.
fn identity_provider(file: &mut Section<'_>) -> Option<Value> {
    let mut found = None;
    for mut item in file.sections("identityProviders") {
        if found.is_some() {
            item.leave("EKS takes one identity provider for a cluster");
            continue;
        }
        if let Some(type_) = item.some_text("type").filter(|type_| type_ != "oidc") {
            item.report_mistake("type", format!("{type_:?} is not oidc"));
        }
        let mut provider = json!({});
        for (field, to) in [("name", "name"), ("issuerURL", "issuerUrl"), ("clientID", "clientId")] {
            if !item.has(field) {
                item.report_mistake(field, "is missing");
            }
            provider[to] = json!(item.text(field));
        }
        for field in ["usernameClaim", "usernamePrefix", "groupsClaim", "groupsPrefix"] {
            if let Some(value) = item.some_text(field) {
                provider[field] = json!(value);
            }
        }
        if let Some(claims) = item.map("requiredClaims").filter(|claims| !claims.is_empty()) {
            provider["requiredClaims"] = json!(claims);
        }
        item.differ("tags", "it gets the cluster's tags, and no others");
        found = Some(provider);
    }
    found
}

fn access_entry(item: &mut Section<'_>) -> Option<Value> {
    let Some(principal) = item.some_text("principalARN") else {
        item.report_mistake("principalARN", "is missing");
        return None;
    };
    let mut entry = json!({"principalArn": principal});
    if let Some(groups) = item.texts("kubernetesGroups") {
        entry["kubernetesGroups"] = json!(groups);
    }
    if let Some(username) = item.some_text("kubernetesUsername") {
        entry["username"] = json!(username);
    }
    if item.has("accessPolicies") {
        let policies = item.sections("accessPolicies").into_iter().filter_map(|policy| access_policy(policy));
        entry["policies"] = json!(policies.collect::<Vec<_>>());
    }
    Some(entry)
}

fn access_policy(mut policy: Section<'_>) -> Option<Value> {
    let Some(arn) = policy.some_text("policyARN") else {
        policy.report_mistake("policyARN", "is missing");
        return None;
    };
    let Some(mut scope) = policy.section("accessScope") else { return Some(json!({"policyArn": arn})) };
    let type_ = match scope.some_text("type").as_deref() {
        Some("namespace") => "Namespace",
        Some("cluster") | None => "Cluster",
        Some(other) => {
            scope.report_mistake("type", format!("{other:?} is neither cluster nor namespace"));
            return None;
        }
    };
    let mut wanted = json!({"type": type_});
    if let Some(namespaces) = scope.texts("namespaces").filter(|namespaces| !namespaces.is_empty()) {
        wanted["namespaces"] = json!(namespaces);
    }
    Some(json!({"policyArn": arn, "scope": wanted}))
}

/// A line of the ConfigMap aws-auth as an equivalent access entry.
fn mapped(item: &mut Section<'_>) -> Option<Value> {
    if let Some(account) = item.some_text("account") {
        let how = format!(
            "the ConfigMap aws-auth is not written: it gave principals of {account} user names, and no group, so no rights but \
             those that a binding in Kubernetes gives to a user name; list principals with such a binding under access.entries"
        );
        item.report_difference("account", how);
    }
    service(item);
    // A principal never has more than one access entry.
    item.flag("noDuplicateARNs");
    let arn = item.some_text("arn");
    let (groups, username) = (item.texts("groups").unwrap_or_default(), item.some_text("username"));
    let arn = arn?;
    let mut entry = json!({"principalArn": arn});
    match username {
        Some(username) if is_username_of_an_entry(&username) => entry["username"] = json!(username),
        Some(username) => {
            let why =
                format!("{username:?}: EKS refuses it in an access entry, and takes the principal's ARN without it");
            item.report_left_out("username", why);
        }
        None => {}
    }
    let (masters, others): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| group == "system:masters");
    let (system, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|group| group.starts_with("system:"));
    if !system.is_empty() {
        let why = format!("{}: EKS refuses system: groups in access entries", system.join(", "));
        item.report_left_out("groups", why);
    }
    if !masters.is_empty() {
        let partition = arn.split(':').nth(1).unwrap_or("aws").to_owned();
        entry["policies"] = json!([{"policyArn": format!("arn:{partition}:eks::aws:{CLUSTER_ADMIN}")}]);
    }
    if !others.is_empty() {
        entry["kubernetesGroups"] = json!(others);
    }
    Some(entry)
}

/// Whether EKS accepts the user name, which `aws-auth` took as it is. See `API_CreateAccessEntry.html`.
fn is_username_of_an_entry(username: &str) -> bool {
    let is_reserved = ["system:", "eks:", "aws:", "amazon:", "iam:"].iter().any(|prefix| username.starts_with(prefix));
    let session = username.find("{{SessionName}}");
    let has_colon = session.is_some_and(|at| username[..at].contains(':'));
    let others = username.replace("{{SessionName}}", "").contains("{{");
    !is_reserved && !others && (session.is_none() || has_colon)
}

/// A service of AWS, in a namespace, for which eksctl also creates a Role and a RoleBinding.
fn service(item: &mut Section<'_>) {
    if item.text_is("serviceName", "emr-containers") {
        let how = "Amazon EMR on EKS creates its access entry itself when you create a virtual cluster, as the authentication \
                   mode accepts access entries: neither the ConfigMap aws-auth nor a RoleBinding is needed";
        item.differ("serviceName", how);
        item.differ("namespace", "is given when you create the virtual cluster; create the namespace in Git");
    }
    for field in ["serviceName", "namespace"] {
        let why = "Keelson writes no ConfigMap aws-auth: list the principals under access.entries, or keep the \
                   ConfigMap in Git";
        item.refuse(field, why);
    }
}

/// `spec.podIdentities`.
pub fn pod_identities(iam: &mut Section<'_>, region: &str) -> Vec<Value> {
    iam.sections("podIdentityAssociations").into_iter().filter_map(|item| pod_identity(item, region)).collect()
}

fn pod_identity(mut item: Section<'_>, region: &str) -> Option<Value> {
    let (Some(namespace), Some(account)) = (item.some_text("namespace"), item.some_text("serviceAccountName")) else {
        item.report_mistake("namespace", "namespace and serviceAccountName must both be set");
        return None;
    };
    let mut identity = json!({"namespace": namespace, "serviceAccount": account});
    match item.some_text("roleARN") {
        Some(role) => {
            identity["roleArn"] = json!(role);
            refuse_settings_of_a_role(&mut item);
        }
        None => match pod_roles::role(&mut item, &pod_roles::OF_ASSOCIATION, region) {
            Some(role) => identity["role"] = role,
            None => {
                item.leave(&format!(
                    "{namespace}/{account} has neither roleARN nor policies: set the role of its Pods under podIdentities"
                ));
                return None;
            }
        },
    }
    if let Some(target) = item.some_text("targetRoleARN") {
        identity["targetRoleArn"] = json!(target);
    }
    if let Some(disabled) = item.flag("disableSessionTags") {
        identity["disableSessionTags"] = json!(disabled);
    }
    item.differ_unless("createServiceAccount", false, "Keelson creates no ServiceAccounts: keep it in Git");
    refuse_the_rest(&mut item);
    Some(identity)
}

/// Refuses what configures a role that eksctl would create, where a role is named.
pub fn refuse_settings_of_a_role(item: &mut Section<'_>) {
    const WHY: &str = "configures a role that eksctl would create, and a role is already set";
    for field in [
        "roleName",
        "permissionsBoundaryARN",
        "permissionPolicyARNs",
        "permissionPolicyName",
        "permissionPolicy",
        "wellKnownPolicies",
    ] {
        item.refuse(field, WHY);
    }
}

/// Refuses the fields of a pod identity association that have no counterpart.
pub fn refuse_the_rest(item: &mut Section<'_>) {
    item.refuse_each(&[
        ("policy", "Keelson does not support a policy on the session"),
        ("tags", "pod identity associations get the cluster's tags"),
    ]);
}
