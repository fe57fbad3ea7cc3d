//! `keelson import --terraform`: the manifest of clusters that Terraform manages, whose plan is to adopt them unchanged; and what Terraform
//! must forget. I/O: the state, standard output and standard error.
//!
//! AWS is not asked: the state says what there is. Its resources become descriptions in EKS's notation, and these the same objects that
//! `keelson import --name` writes.

mod address;
mod attributes;
mod convert;
mod directory;
mod kept;
mod next;
mod state;
mod state_resource;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::ObjectPlacement;
use super::adopted::{self, Shared};
use super::converted::Converted;
use super::section::{self, Report};
use crate::resources::inventory::described::{self, Description};
use attributes::{report_tags, section};
use state::Instance;
use state_resource::Member;

/// Prints the manifest, and on standard error what is not converted and what to do next. `name`: only the cluster of that name in EKS.
pub fn run(path: &Path, name: Option<&str>, placing: &ObjectPlacement) -> anyhow::Result<()> {
    let file = directory::state_file(path)?;
    let text = crate::cli::read(&file)?;
    let converted = convert(&text, name, placing).with_context(|| file.display().to_string())?;
    converted.print()
}

fn convert(text: &str, name: Option<&str>, placing: &ObjectPlacement) -> anyhow::Result<Converted> {
    let instances = state::read(text)?;
    let clusters = clusters(&instances, name)?;
    let (mut shared, mut converted) = (Shared::default(), Converted::default());
    let mut owned: Vec<(Member, &Instance)> = Vec::new();
    for cluster in clusters {
        let report = RefCell::new(Report::default());
        let (description, members) = describe(cluster, &instances, &report);
        let report = report.into_inner();
        if !report.wrong.is_empty() {
            bail!("nothing is converted:\n{}", section::describe(&report.wrong));
        }
        let inventory = described::inventory(&description);
        if let Some(owner) = inventory.owner() {
            bail!(
                "cluster {} belongs to {owner}: it already has a manifest. --name selects another one",
                inventory.name()
            );
        }
        let region = inventory.arn().split(':').nth(3).unwrap_or_default().to_owned();
        let adopted = adopted::objects(&inventory, &region, placing, &mut shared)?;
        owned.extend(members.into_iter().filter(|(member, _)| member.is_owned(&adopted)));
        converted.add(&inventory, &adopted, &report, "from a state of Terraform, by `keelson import --terraform`")?;
    }
    let is_owned = |instance: &&Instance| owned.iter().any(|(_, one)| one.address == instance.address);
    let kept: Vec<_> = instances.iter().filter(|instance| !is_owned(instance)).collect();
    converted.next = next::describe(&owned, &kept, &shared.needs, placing);
    Ok(converted)
}

/// The clusters of the state, or the one of that name.
fn clusters<'s>(instances: &'s [Instance], name: Option<&str>) -> anyhow::Result<Vec<&'s Instance>> {
    let all: Vec<_> = instances.iter().filter(|instance| instance.type_ == "aws_eks_cluster").collect();
    let names = || all.iter().map(|cluster| cluster.text("name")).collect::<Vec<_>>().join(", ");
    if all.is_empty() {
        bail!("holds no aws_eks_cluster: pass the state that has the cluster");
    }
    let found: Vec<_> =
        all.iter().copied().filter(|cluster| name.is_none_or(|name| cluster.text("name") == name)).collect();
    if found.is_empty() {
        bail!("holds no cluster {}; it holds {}", name.unwrap_or_default(), names());
    }
    let twice = found
        .iter()
        .find(|one| found.iter().any(|other| other.address != one.address && other.text("name") == one.text("name")));
    if let Some(twice) = twice {
        bail!(
            "holds two clusters named {}, whose parts cannot be distinguished: use keelson import --name {0} --region REGION",
            twice.text("name")
        );
    }
    Ok(found)
}

/// A cluster in EKS's notation, and the resources that are in it.
fn describe<'s>(
    cluster: &'s Instance,
    instances: &'s [Instance],
    report: &RefCell<Report>,
) -> (Description, Vec<(Member, &'s Instance)>) {
    let name = cluster.text("name");
    let is_entry = |one: &Instance| one.type_ == "aws_eks_access_entry" && one.text("cluster_name") == name;
    let has_entries = instances.iter().any(is_entry);
    let (value, issuer) = convert::cluster(section(cluster, report), has_entries);
    let mut description = Description { cluster: value, ..Description::default() };
    let members = instances.iter().filter_map(|one| Some((Member::of(one, name, &issuer)?, one)));
    let members: Vec<_> = members.collect();
    let mut policies = Vec::new();
    for (member, instance) in &members {
        let of = || section(instance, report);
        if !matches!(member, Member::Cluster | Member::NodeGroup { .. }) {
            report_tags(instance, cluster, report);
        }
        match member {
            Member::Cluster => {}
            Member::AccessPolicy { principal } => policies.push((principal, convert::access_policy(of()))),
            Member::AccessEntry { .. } => description.access_entries.push(convert::access_entry(of())),
            Member::PodIdentity { .. } => description.pod_identities.push(convert::pod_identity(of())),
            Member::Addon { .. } => description.addons.push(convert::addon(of())),
            Member::FargateProfile { .. } => description.fargate_profiles.push(convert::fargate_profile(of())),
            Member::Capability { .. } => description.capabilities.push(convert::capability(of())),
            Member::IdentityProvider => description.identity_provider = convert::identity_provider(of()),
            Member::NodeGroup { .. } => description.node_groups.push(convert::node_group(of())),
            Member::OidcProvider => description.oidc_provider = true,
            Member::LogGroup => {
                let days = instance.values.get("retention_in_days").and_then(Value::as_i64).filter(|days| *days != 0);
                let key = Some(instance.text("kms_key_id").to_owned()).filter(|key| !key.is_empty());
                description.log_retention = days.and_then(|days| Some((days.try_into().ok()?, key)));
            }
        }
    }
    for (principal, policy) in policies {
        for entry in description.access_entries.iter_mut().filter(|entry| entry["principalArn"] == **principal) {
            if let Some(all) = entry["policies"].as_array_mut() {
                all.push(json!(policy));
            }
        }
    }
    (description, members)
}
