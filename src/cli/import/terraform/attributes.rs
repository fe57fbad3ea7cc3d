//! Attributes of the AWS provider that need no place in a manifest, and why others have none. Pure.

use std::cell::RefCell;

use serde_json::{Map, Value, json};

use super::state::Instance;
use crate::cli::import::section::{Origin, Remark, Report, Section};

/// The file is a state of Terraform.
pub static TERRAFORM: Origin =
    Origin { unknown: "unknown to Keelson: an attribute of another version of the AWS provider", reason: |_| None };

/// What AWS sets, or Terraform alone needs.
const COMPUTED: [&str; 32] = [
    "access_entry_arn",
    "arn",
    "associated_at",
    "association_arn",
    "association_id",
    "bootstrap_cluster_creator_admin_permissions",
    "bootstrap_self_managed_addons",
    "certificate_authority",
    "cluster_id",
    "cluster_name",
    "cluster_security_group_id",
    "created_at",
    "elastic_load_balancing",
    "endpoint",
    "external_id",
    "id",
    "identity",
    "modified_at",
    "name_prefix",
    "node_group_name_prefix",
    "platform_version",
    "region",
    "resources",
    "service_ipv6_cidr",
    "status",
    "storage_config",
    "tags_all",
    "timeouts",
    "tags",
    "vpc_id",
    "resolve_conflicts",
    "resolve_conflicts_on_create",
];

/// Attributes without which the manifest still changes nothing.
const OPTIONAL: [&str; 7] =
    ["configuration_values", "kubernetes_groups", "labels", "tags", "tags_all", "taint", "user_name"];
const SENSITIVE: &str =
    "is marked as sensitive in the state, and not printed: the manifest does not manage it until you write it there";
const NEEDED: &str = "is marked as sensitive in the state, and not printed; without it, the manifest would change the cluster: \
                      use keelson import --name, which reads AWS";

/// The attributes of a resource, to be taken one by one.
pub fn section<'r>(of: &Instance, report: &'r RefCell<Report>) -> Section<'r> {
    let mut values = of.values.clone();
    // With the tags of the provider's configuration.
    if let Some(all) = values.remove("tags_all") {
        values.insert("tags".to_owned(), all);
    }
    let section = Section::root(&of.address, values, report, &TERRAFORM);
    for name in &of.sensitive {
        match name.as_str() {
            name if OPTIONAL.contains(&name) => section.report_left_out(name, SENSITIVE),
            name if COMPUTED.contains(&name) => {}
            name => section.report_mistake(name, NEEDED),
        }
    }
    section
}

/// Reports tags of a part of the cluster that the cluster itself does not have: only node groups have tags of their own in a manifest.
pub fn report_tags(of: &Instance, cluster: &Instance, report: &RefCell<Report>) {
    let tags = |one: &Instance| {
        let all = one.values.get("tags_all").or_else(|| one.values.get("tags"));
        all.and_then(Value::as_object).cloned().unwrap_or_default()
    };
    let of_cluster = tags(cluster);
    let own = tags(of).into_iter().filter(|(key, value)| of_cluster.get(key) != Some(value));
    let own: Vec<_> = own.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    if !own.is_empty() {
        let why = "stay as they are: the manifest has spec.tags for all resources of a cluster, and no others here";
        let remark = Remark { path: format!("{}.tags", of.address), what: format!("{} {why}", own.join(", ")) };
        report.borrow_mut().left_out.push(remark);
    }
}

/// Ends a section: what is left of it is unknown, except for what is computed.
pub fn end(mut section: Section<'_>) {
    for name in section.names().iter().filter(|name| COMPUTED.contains(&name.as_str())) {
        section.value(name);
    }
}

/// Takes attributes, and returns them as EKS names them.
pub fn take(section: &mut Section<'_>, names: &[&str]) -> Map<String, Value> {
    names.iter().filter_map(|name| Some((camel_case(name), section.value(name)?))).collect()
}

/// A block that can be there once, as EKS names its attributes.
pub fn block(section: &mut Section<'_>, name: &str, attributes: &[&str]) -> Option<Value> {
    let mut block = section.sections(name).into_iter().next()?;
    let taken = take(&mut block, attributes);
    end(block);
    Some(Value::Object(taken))
}

/// Puts a block into `into`, if there is one.
pub fn move_block(section: &mut Section<'_>, into: &mut Map<String, Value>, name: &str, attributes: &[&str]) {
    if let Some(block) = block(section, name, attributes) {
        into.insert(camel_case(name), block);
    }
}

/// Puts a list of blocks into `into`, as `field`.
pub fn move_blocks(
    section: &mut Section<'_>,
    into: &mut Map<String, Value>,
    (name, field): (&str, &str),
    attributes: &[&str],
) {
    let blocks = section.sections(name).into_iter().map(|mut block| {
        let taken = take(&mut block, attributes);
        end(block);
        Value::Object(taken)
    });
    into.insert(field.to_owned(), json!(blocks.collect::<Vec<_>>()));
}

/// `subnet_ids` becomes `subnetIds`.
fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let (head, tail) = part.split_at(part.len().min(1));
        text + &head.to_uppercase() + tail
    })
}
