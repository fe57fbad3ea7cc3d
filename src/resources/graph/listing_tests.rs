//! Compares how each kind is found (its listing in the table of kinds) with how its file marks a resource as owned: what carries an owner
//! tag and is not found by it escapes the last check of a deletion. And that each resource has a kind at all.

use std::path::Path;

use super::ALL;
use crate::resources::graph::kind::Listing;

/// What shows in a file that its resources carry an owner tag, and the listings that find those.
const FOUND_BY: &[(&str, &[&str])] = &[
    ("OwnerTags::in_ec2(", &[".in_ec2("]),
    ("OwnerTags::in_eks(", &[".in_cluster(", ".by_name("]),
    ("OwnerTags::new(Handle::Role(", &[".in_iam("]),
    ("OwnerTags::new(Handle::OidcProvider(", &[".by_record("]),
    ("OwnerTags::new(Handle::LogGroup(", &[".by_name("]),
    ("OwnerTags::new(Handle::Queue(", &[".by_name("]),
    ("OwnerTags::new(Handle::EventRule(", &[".by_name("]),
];

/// What is wrong with the listing of the kind that `code`, a file without white space, defines.
fn problem(code: &str) -> Option<String> {
    let row = code.split("Kind=Kind::new(\"").nth(1)?;
    let row = row.split(".with_actions(").next().unwrap_or_default();
    let name = row.split('"').next().unwrap_or_default();
    let Some((sign, listings)) = FOUND_BY.iter().find(|(sign, _)| code.contains(sign)) else {
        let is_marked = code.contains("fnmarker(");
        return is_marked.then(|| format!("{name} is marked as owned in a way that this test does not know"));
    };
    let is_found = listings.iter().any(|listing| row.contains(listing));
    (!is_found).then(|| format!("{name} carries an owner tag ({sign}..), and its row does not say {listings:?}"))
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn without_white_space(text: &str) -> String {
    text.split("#[cfg(test)]").next().unwrap_or_default().split_whitespace().collect()
}

#[test]
fn what_carries_an_owner_tag_is_found_by_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/resources");
    let codes = files(&folder).into_iter().filter(|path| !path.ends_with("listing_tests.rs"));
    let codes: Vec<String> = codes.map(|path| without_white_space(&std::fs::read_to_string(path).unwrap())).collect();
    let problems: Vec<String> = codes.iter().filter_map(|code| problem(code)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let marked = codes.iter().filter(|code| code.contains("Kind=Kind::new(\"") && code.contains("fnmarker(")).count();
    assert!(marked > 20, "{marked} kinds carry owner tags");
}

#[test]
fn a_kind_with_an_owner_tag_and_without_a_list_is_detected() {
    let code = |listing: &str| {
        without_white_space(&format!(
            "pub const KIND: Kind = Kind::new(\"x\", \"x\", Area::Network){listing}.with_actions(&[]);\n\
             fn marker(&self) {{ Some(OwnerTags::in_ec2(observed, &self.tags)) }}"
        ))
    };
    assert!(problem(&code(".with_parent()")).is_some_and(|problem| problem.starts_with("x carries an owner tag")));
    assert_eq!(problem(&code(".in_ec2(|aws, age| list(aws, age))")), None);
}

/// Files with a resource of a kind that another file defines, and what shows in them that its key is of that kind.
const OF_ANOTHER_FILE: &[(&str, &str)] = &[
    ("deletion/prune.rs", "PrunedKind"),
    ("eks/node_access_entry.rs", "super::access_entry::KIND"),
    ("iam/external_role.rs", "super::role::"),
    ("recovery/retag.rs", "self.item.key"),
];

#[test]
fn each_resource_is_of_a_kind_in_the_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/resources");
    let (mut count, mut problems) = (0, Vec::new());
    for path in files(&folder).into_iter().filter(|path| !path.ends_with("listing_tests.rs")) {
        let code = without_white_space(&std::fs::read_to_string(&path).unwrap());
        if !code.contains("implResourcefor") {
            continue;
        }
        count += 1;
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        let other = OF_ANOTHER_FILE.iter().find(|(file, _)| *file == name);
        let is_of_kind = match other {
            Some((_, sign)) => code.contains(sign),
            None => code.contains("pubconstKIND:Kind=Kind::new("),
        };
        if !is_of_kind {
            problems
                .push(format!("{name} has a resource without a row: no condition, no action, no listing covers it"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(count > 30, "{count} resources");
}

#[test]
fn what_is_no_resource_is_in_no_list() {
    for kind in ALL.iter().filter(|kind| !kind.is_resource) {
        assert!(matches!(kind.listing, Listing::WithParent), "{}", kind.name);
    }
}
