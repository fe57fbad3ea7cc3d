//! What a node group's launch template changes: another version of the user's, or other contents of the one that Keelson created.
//! Either replaces the nodes. Pure.

use aws_sdk_eks::types::LaunchTemplateSpecification;

use super::Target;
use super::observed_node_group::{Detail, LaunchTemplate, OwnTemplate};
use crate::api::node_group::NodeGroupSpec;
use crate::engine::Change;
use crate::resources::eks::node_template::content::{Content, Efa};
use crate::resources::eks::node_template::differences::{self, WHOLE};

const OTHER_TEMPLATE: &str =
    "EKS gives a node group no other launch template: create a new NodeGroup, and delete this one";

/// The launch template to update to.
#[derive(Clone, Debug, PartialEq)]
pub enum NextTemplate {
    /// A version of the user's.
    Version(LaunchTemplateSpecification),
    /// A version of Keelson's with the desired contents: these fields differ.
    Contents(Vec<String>),
}

/// The next launch template; `None` if it stays, or nodes may not be replaced now.
pub fn next(spec: &NodeGroupSpec, target: &Target, current: &Detail) -> Option<NextTemplate> {
    if !target.replace {
        return None;
    }
    if spec.node.is_some() {
        let fields: Vec<_> = own_changes(target, current).into_iter().map(|change| change.field).collect();
        return (!fields.is_empty()).then_some(NextTemplate::Contents(fields));
    }
    let wanted = spec.launch_template.as_ref()?;
    let version = wanted.version.as_ref()?;
    let LaunchTemplate { id, version: observed } = current.launch_template.as_ref()?;
    let differs = wanted.id.as_ref() == Some(id) && version != observed;
    let specification = || LaunchTemplateSpecification::builder().id(id).version(version).build();
    differs.then(|| NextTemplate::Version(specification()))
}

/// The same as a message.
pub fn describe(next: &NextTemplate) -> String {
    match next {
        NextTemplate::Version(template) => {
            format!("version {} of the launch template", template.version().unwrap_or_default())
        }
        NextTemplate::Contents(fields) => format!("a new version of the launch template ({})", fields.join(", ")),
    }
}

/// The desired contents, with what only EC2 knows.
pub fn desired(target: &Target, current: &Detail) -> Option<Content> {
    let wanted = target.node.clone()?;
    Some(match current.efa_cards {
        Some(cards) => wanted.with_cards(cards),
        None => wanted,
    })
}

/// The fields of the contents that differ.
fn own_changes(target: &Target, current: &Detail) -> Vec<Change> {
    let Some(mut wanted) = desired(target, current) else { return Vec::new() };
    match &current.own_template {
        OwnTemplate::Unknown => Vec::new(),
        OwnTemplate::VersionGone => {
            let version = current.launch_template.as_ref().map_or("", |template| &template.version);
            vec![Change::in_place(WHOLE, format!("version {version}, which was deleted"), "a new version")]
        }
        OwnTemplate::Contents(contents) => {
            // How many cards there are could not be read: nodes are not replaced for that.
            if wanted.efa == Efa::AsManyAsPossible && contents.efa != Efa::None {
                wanted.efa = contents.efa;
            }
            differences::differences(contents, &wanted)
        }
    }
}

/// The changes of the launch template, as far as nodes may be replaced now.
pub fn changes(spec: &NodeGroupSpec, target: &Target, current: &Detail) -> Vec<Change> {
    match next(spec, target, current) {
        None => Vec::new(),
        Some(NextTemplate::Contents(_)) => own_changes(target, current),
        Some(NextTemplate::Version(template)) => {
            let observed = current.launch_template.as_ref().map_or("", |template| &template.version);
            vec![Change::in_place("launchTemplate.version", observed, template.version().unwrap_or_default())]
        }
    }
}

/// Whether the change is one of the launch template.
pub fn is_of_template(change: &Change) -> bool {
    change.field == WHOLE || change.field == "launchTemplate.version" || change.field.starts_with(differences::PREFIX)
}

/// A node group that has another launch template than the one that Keelson created, whose id is `own`, or none.
pub fn other_template(spec: &NodeGroupSpec, own: Option<&str>, current: &Detail) -> Option<Change> {
    let has = current.launch_template.as_ref().map(|template| template.id.as_str());
    if spec.node.is_none() || own.is_some() && has == own {
        return None;
    }
    let text = |id: Option<&str>, none: &str| id.map_or_else(|| none.to_owned(), |id| format!("launch template {id}"));
    let (from, to) = (text(has, "no launch template"), text(own, "a launch template that Keelson creates"));
    Some(Change::forbidden(WHOLE, from, to, OTHER_TEMPLATE))
}

#[cfg(test)]
#[path = "template_changes_tests.rs"]
mod tests;
