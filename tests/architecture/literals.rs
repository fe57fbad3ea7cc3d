//! Texts that only certain files may compare with: the names of kinds of resources, and the states that EKS reports.

use std::collections::BTreeMap;
use std::path::Path;

use super::{code, files, source};

/// What EKS reports of control planes, add-ons, profiles and node groups: `src/resources/eks/lifecycle.rs` has a type for it.
const STATES_OF_EKS: &[&str] = &[
    "ACTIVE",
    "CREATING",
    "CREATE_FAILED",
    "DEGRADED",
    "DELETE_FAILED",
    "DELETING",
    "UPDATE_FAILED",
    "UPDATING",
    "VersionRollback",
    "VersionUpdate",
];

/// The code of a file without comments and tests. Nothing follows the tests.
fn own_code(path: &Path) -> String {
    let code = code(path);
    let end = ["\n#[cfg(test)]\nmod ", "\n#[cfg(test)]\n#[path"].iter().filter_map(|start| code.find(start)).min();
    code[..end.unwrap_or(code.len())].to_owned()
}

/// Each file of `src` that is no test, by its path.
fn all_code() -> BTreeMap<String, String> {
    let name = |path: &Path| path.strip_prefix(source()).unwrap().display().to_string();
    let is_test = |name: &str| name.split('/').any(|part| part.trim_end_matches(".rs").contains("tests"));
    let all = files(&source()).into_iter().map(|path| (name(&path), own_code(&path)));
    all.filter(|(name, _)| !is_test(name)).collect()
}

/// The kinds that a file defines, by their names.
fn kinds_in(code: &str) -> Vec<&str> {
    let rows = code.split("Kind::new(").skip(1);
    rows.filter_map(|row| row.trim_start().strip_prefix('"')?.split('"').next()).collect()
}

/// Whether a text between `before` and `after` is compared with, or makes a key.
fn is_compared(before: &str, after: &str) -> bool {
    let (before, after) = (before.trim_end(), after.trim_start());
    let ends = ["==", "!=", "|", "Key::single(", "Key::named(", "kind(),", "of_kind("];
    ends.iter().any(|end| before.ends_with(end)) || ["==", "=>", "|"].iter().any(|start| after.starts_with(start))
}

/// How often `code` compares with one of `names`.
fn comparisons(code: &str, names: &[&str]) -> usize {
    let of = |name: &&str| {
        let text = format!("\"{name}\"");
        code.match_indices(&text).filter(|(at, _)| is_compared(&code[..*at], &code[at + text.len()..])).count()
    };
    names.iter().map(of).sum()
}

#[test]
fn kinds_are_compared_by_their_rows() {
    let all = all_code();
    let kinds: Vec<(&str, &str)> =
        all.iter().flat_map(|(file, code)| kinds_in(code).into_iter().map(|name| (name, file.as_str()))).collect();
    assert!(kinds.len() > 30, "{kinds:?}");
    let mut problems = Vec::new();
    for (file, code) in &all {
        let others: Vec<&str> = kinds.iter().filter(|(_, home)| home != file).map(|(name, _)| *name).collect();
        let found = comparisons(code, &others);
        if found > 0 {
            problems.push(format!(
                "{file} compares {found} times with the name of a kind: use KIND.is_of(&key) or key(), or a constant if the text is \
                 something else"
            ));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn states_of_eks_are_known_to_one_file() {
    let mut problems = Vec::new();
    for (file, code) in all_code() {
        if ["resources/", "aws/"].iter().any(|folder| file.starts_with(folder)) {
            continue;
        }
        let found: Vec<&&str> = STATES_OF_EKS.iter().filter(|text| code.contains(&format!("\"{text}\""))).collect();
        if !found.is_empty() {
            problems.push(format!("{file} names {found:?}: use src/resources/eks/lifecycle.rs"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn comparisons_with_texts_are_detected() {
    let of = |code: &str| comparisons(code, &["vpc", "natGateway"]);
    assert_eq!(of("if key.kind() == \"vpc\" { }"), 1);
    assert_eq!(of("match key.kind() { \"vpc\" => 1, \"natGateway\" | \"x\" => 2 }"), 2);
    assert_eq!(of("matches!(key.kind(), \"natGateway\")"), 1);
    assert_eq!(of("let key = Key::named(\"natGateway\", zone);"), 1);
    assert_eq!(of("section(\"vpc\"); json!({\"vpc\": spec})"), 0);
    assert_eq!(kinds_in("pub const KIND: Kind =\n    Kind::new(\n \"vpc\", \"VPC\")"), ["vpc"]);
}
