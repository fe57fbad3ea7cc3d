//! `capabilities`. Pure.

use serde_json::{Value, json};

use super::section::Section;
use crate::api::capability::CapabilityType;

/// `spec.capabilities`.
pub fn capabilities(file: &mut Section<'_>) -> Vec<Value> {
    file.sections("capabilities").into_iter().filter_map(capability).collect()
}

fn capability(mut item: Section<'_>) -> Option<Value> {
    let (name, type_) = (item.some_text("name"), item.some_text("type"));
    for (field, value) in [("name", &name), ("type", &type_)] {
        if value.is_none() {
            item.report_mistake(field, "is missing");
        }
    }
    let (name, type_) = (name?, type_?);
    let Some(type_) = CapabilityType::ALL.into_iter().find(|one| one.in_eks() == type_) else {
        item.report_mistake("type", format!("{type_:?} is none of ACK, KRO, ARGOCD"));
        return None;
    };
    let Some(role) = item.some_text("roleArn") else {
        let entry = format!("{{name: {name}, type: {type_:?}, roleArn: ROLE}}");
        item.leave(&format!(
            "eksctl creates a role for it: create one that trusts capabilities.eks.amazonaws.com, and add {entry} to spec.capabilities"
        ));
        return None;
    };
    let mut wanted = json!({"name": name, "type": type_, "roleArn": role});
    let configuration = item.section("configuration").and_then(|mut section| section.section("argocd"));
    if let Some(argo) = configuration {
        wanted["configuration"] = json!({"argoCd": argo_cd(argo)});
    }
    item.differ_unless("deletePropagationPolicy", "RETAIN", "EKS can only retain the objects");
    item.differ("tags", "capabilities get the cluster's tags, and no others");
    const OF_ROLE: &str = "the role exists already: Keelson does not change it";
    item.refuse_each(&[
        ("accessPolicies", "list the role in access.entries with these policies"),
        ("attachPolicyARNs", OF_ROLE),
        ("attachPolicy", OF_ROLE),
        ("permissionsBoundary", OF_ROLE),
    ]);
    Some(wanted)
}

fn argo_cd(mut section: Section<'_>) -> Value {
    let mut argo = json!({});
    if let Some(namespace) = section.some_text("namespace") {
        argo["namespace"] = json!(namespace);
    }
    if let Some(mut idc) = section.section("awsIdc") {
        argo["awsIdc"] = json!({"idcInstanceArn": idc.text("idcInstanceArn")});
        if let Some(region) = idc.some_text("idcRegion") {
            argo["awsIdc"]["idcRegion"] = json!(region);
        }
    }
    if let Some(ids) = section.section("networkAccess").and_then(|mut access| access.texts("vpceIds")) {
        argo["networkAccess"] = json!({"vpceIds": ids});
    }
    let mut mappings = Vec::new();
    for mut mapping in section.sections("rbacRoleMappings") {
        let Some(role) = mapping.some_text("role").and_then(|role| pascal(&role, &["ADMIN", "EDITOR", "VIEWER"]))
        else {
            mapping.report_mistake("role", "is none of ADMIN, EDITOR, VIEWER");
            continue;
        };
        let mut identities = Vec::new();
        for mut identity in mapping.sections("identities") {
            let type_ = identity.some_text("type").and_then(|type_| pascal(&type_, &["SSO_USER", "SSO_GROUP"]));
            match (identity.some_text("id"), type_) {
                (Some(id), Some(type_)) => identities.push(json!({"id": id, "type": type_})),
                _ => identity.report_mistake("type", "needs an id, and the type SSO_USER or SSO_GROUP"),
            }
        }
        mappings.push(json!({"role": role, "identities": identities}));
    }
    if !mappings.is_empty() {
        argo["rbacRoleMappings"] = json!(mappings);
    }
    argo
}

/// `SSO_USER` as `SsoUser`, if it is one of `known`.
fn pascal(value: &str, known: &[&str]) -> Option<String> {
    let word = |word: &str| {
        let (first, rest) = word.split_at(1);
        first.to_owned() + &rest.to_lowercase()
    };
    known.contains(&value).then(|| value.split('_').map(word).collect())
}
