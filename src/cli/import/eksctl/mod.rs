//! `keelson import --eksctl`: converts an eksctl ClusterConfig to an EksCluster and NodeGroups, to create the same
//! cluster anew. Each field is converted, or reported with the reason why not. I/O: the file, standard output and
//! standard error.

mod access;
mod addon_policies;
mod addons;
mod ami;
mod bottlerocket;
mod boundaries;
mod capabilities;
mod cluster_config;
mod control_plane;
mod flux;
mod instance_selector;
mod karpenter;
mod network;
mod node;
mod node_group;
mod node_role;
mod own_fields;
mod pod_roles;
mod self_managed;
mod service_accounts;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_examples;
#[cfg(test)]
mod tests_leaves;
#[cfg(test)]
mod tests_node_groups;
mod version;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::next_steps::Needs;
use super::section::{Report, Section};
use super::{ObjectPlacement, section, write_manifest};
use crate::api::KubernetesVersion;
use crate::api::account::DEFAULT_ACCOUNT;
use crate::aws::tags::is_reserved;
use crate::cli::plan::manifest::Manifest;
use crate::controllers::account::named;

/// What the user decides beside the file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The version of the cluster, whatever the file says.
    pub version: Option<KubernetesVersion>,
    /// Whether `nodeGroups` become managed node groups.
    pub self_managed_as_managed: bool,
}

/// Prints the manifest, and on standard error what is not converted and what to do next.
pub fn run(path: &Path, placing: &ObjectPlacement, options: &Options) -> anyhow::Result<()> {
    let text = crate::cli::read(path)?;
    let converted = convert(&text, placing, options).with_context(|| path.display().to_string())?;
    let Converted { objects, report } = converted;
    let comments = comments(&report);
    for comment in &comments {
        crate::cli::note(comment);
    }
    let manifest = write_manifest::manifest(&comments, &objects)?;
    crate::cli::print_document(&manifest)?;
    check(&manifest, placing).context("the manifest is invalid: correct it before you apply it")?;
    crate::cli::note(&needs(&manifest)?.describe_new(placing));
    Ok(())
}

/// What the AwsAccount of the objects must allow.
fn needs(manifest: &str) -> anyhow::Result<Needs> {
    let Manifest { clusters, groups, .. } = Manifest::parse(manifest)?;
    let mut needs = Needs::default();
    clusters.iter().for_each(|cluster| needs.add(named::by_cluster(&cluster.spec)));
    groups.iter().for_each(|group| needs.add(named::by_node_group(&group.spec)));
    Ok(needs)
}

/// Whether the operator would accept the objects with an AwsAccount that allows whatever they name: what it must allow is among the
/// remarks.
fn check(manifest: &str, placing: &ObjectPlacement) -> anyhow::Result<()> {
    const LISTS: [&str; 12] = [
        "allowedCapacityReservationIds",
        "allowedElasticIpAllocationIds",
        "allowedImageIds",
        "allowedKmsKeyArns",
        "allowedLaunchTemplateIds",
        "allowedNamespaces",
        "allowedPlacementGroups",
        "allowedPolicyArns",
        "allowedRoleArns",
        "allowedSecurityGroupIds",
        "allowedVpcIds",
        "allowedWorkloadPolicies",
    ];
    let mut spec = json!({
        "accountId": "111122223333",
        "allowInlinePolicies": true,
        "workloadPermissionsBoundaryArn": "arn:aws:iam::111122223333:policy/boundary",
    });
    LISTS.iter().for_each(|list| spec[*list] = json!(["*"]));
    let name = placing.account_ref.as_deref().unwrap_or(DEFAULT_ACCOUNT);
    let account =
        json!({"apiVersion": "keelson.dev/v1alpha1", "kind": "AwsAccount", "metadata": {"name": name}, "spec": spec});
    crate::cli::plan::check(&format!("{manifest}---\n{account}\n"))
}

/// The objects, and the remarks about them.
struct Converted {
    objects: Vec<Value>,
    report: Report,
}

fn convert(text: &str, placing: &ObjectPlacement, options: &Options) -> anyhow::Result<Converted> {
    let mut documents: Vec<Value> = serde_saphyr::from_multiple(text).context("is not YAML")?;
    documents.retain(|document| !document.is_null());
    if documents.len() != 1 {
        bail!("must hold one document, an eksctl ClusterConfig; it holds {}", documents.len());
    }
    converted(documents.remove(0), placing, options)
}

fn converted(mut document: Value, placing: &ObjectPlacement, options: &Options) -> anyhow::Result<Converted> {
    let mut report = Report::default();
    boundaries::take(&mut document, &mut report, placing.account_ref.as_deref().unwrap_or("default"));
    let role_access = service_accounts::RoleAccess::of(&document);
    let Value::Object(mut fields) = document else { bail!("holds no mapping, and so no eksctl ClusterConfig") };
    for (field, wanted) in [("apiVersion", "eksctl.io/v1alpha5"), ("kind", "ClusterConfig")] {
        match fields.remove(field) {
            Some(Value::String(text)) if text == wanted => {}
            Some(other) => bail!("{field}: {other} is not {wanted}, which is what can be converted"),
            None => bail!("{field}: is missing; {wanted} can be converted"),
        }
    }
    let report = RefCell::new(report);
    let objects = cluster_config::objects(
        Section::root("", fields, &report, &own_fields::EKSCTL),
        placing,
        options,
        &role_access,
    );
    let report = report.into_inner();
    if !report.wrong.is_empty() {
        bail!("nothing is converted:\n{}", section::describe(&report.wrong));
    }
    Ok(Converted { objects, report })
}

/// The comments above the objects.
fn comments(report: &Report) -> Vec<String> {
    let mut comments = vec![
        "From an eksctl ClusterConfig, by `keelson import --eksctl`, to create such a cluster anew.\n\
         To adopt a running cluster unchanged, use `keelson import --region REGION --name NAME`."
            .to_owned(),
    ];
    comments.extend(report.describe());
    comments
}

/// Tags, without those that AWS and Keelson set themselves.
fn tags(section: &mut Section<'_>, field: &str) -> BTreeMap<String, String> {
    let mut tags = section.map(field).unwrap_or_default();
    for key in tags.keys().filter(|key| is_reserved(key)) {
        section.report_left_out(&format!("{field}.{key}"), "AWS or Keelson sets such tags");
    }
    tags.retain(|key, _| !is_reserved(key));
    tags
}
