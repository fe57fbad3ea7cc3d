//! The table of clusters with their node groups. Pure.

use jiff::Timestamp;

use crate::api::conditions::ConditionType;
use crate::cli::plan::style;
use crate::cli::subject::Subject;
use crate::cli::table::Table;
use crate::cli::time::{format_age, format_between};

/// Longest text of the column of activities.
const MAX_DOING: usize = 60;

/// The table. `namespaces`: with a column of namespaces.
pub fn table(all: &[Subject], wide: bool, namespaces: bool, now: Timestamp) -> String {
    if all.is_empty() {
        return "no EksClusters\n".to_owned();
    }
    let mut heading = if namespaces { vec!["NAMESPACE"] } else { Vec::new() };
    heading.extend(["NAME", "READY", "STATUS", "VERSION", "NODES", "AGE"]);
    if wide {
        heading.extend(["TARGET", "REGION", "ACCOUNT", "TYPES", "GITOPS", "ENDPOINT"]);
    }
    heading.push("DOING");
    let mut table = Table::new(heading);
    for (number, one) in all.iter().enumerate() {
        let mut cells = if namespaces { vec![one.namespace().to_owned()] } else { Vec::new() };
        let name = format!("{}{}", branch(one, all.get(number + 1)), one.name());
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let ready = one.condition(ConditionType::Ready).map_or("Unknown", |ready| ready.status.as_str());
        let age = format_age(one.created(), now);
        cells.extend([name, ready.to_owned(), state(one), text(&one.version), one.nodes.clone(), age]);
        if wide {
            let revision = one.gitops.as_ref().and_then(|gitops| gitops.revision.clone()).unwrap_or_default();
            let types = one.instance_types.join(",");
            cells.extend([text(&one.target_version), text(&one.region), text(&one.account_id)]);
            cells.extend([types, revision, text(&one.endpoint)]);
        }
        cells.push(doing(one, now));
        table.styled_row(style::of_sign(sign(one)), cells);
    }
    table.format("")
}

/// What stands before the name: of a node group, a branch from its cluster. `next`: the row below.
fn branch(one: &Subject, next: Option<&Subject>) -> &'static str {
    let is_sibling = |next: &Subject| next.cluster == one.cluster && next.namespace() == one.namespace();
    match one.cluster {
        None => "",
        Some(_) if next.is_some_and(is_sibling) => "├─ ",
        Some(_) => "└─ ",
    }
}

/// Its reason, and whether it is being deleted.
fn state(one: &Subject) -> String {
    let is_deleted = one.metadata.deletion_timestamp.is_some() && one.reason() != "Deleting";
    if is_deleted { format!("{} (deleted)", one.reason()) } else { one.reason().to_owned() }
}

/// The sign whose colour a row has.
pub fn sign(one: &Subject) -> &'static str {
    match () {
        () if one.is_true(ConditionType::Stalled) => "-",
        () if one.is_true(ConditionType::Reconciling) => "~",
        () => " ",
    }
}

/// What it is doing, and for how long.
fn doing(one: &Subject, now: Timestamp) -> String {
    let text = crate::api::conditions::bounded(one.doing().lines().next().unwrap_or_default(), MAX_DOING);
    match one.expected_end(now) {
        Some(end) if !text.is_empty() => format!("{text} (about {})", format_between(now, end)),
        _ => text,
    }
}
