//! How often the same file name occurs in `src`: a name that many folders have does not say what is in the file.

use std::collections::BTreeMap;

use super::{files, source};

/// A name may occur twice, in parallel folders.
const MAX_SAME: usize = 2;

/// Names that occurred more often when this rule was written. The numbers may only become smaller.
const KNOWN: &[(&str, usize)] = &[
    ("access.rs", 3),
    ("cluster.rs", 4),
    ("fleet.rs", 3),
    ("graph.rs", 3),
    ("hooks.rs", 3),
    ("live.rs", 3),
    ("member.rs", 3),
    ("names.rs", 3),
    ("network.rs", 4),
    ("node_group.rs", 3),
    ("ownership.rs", 3),
    ("preflight.rs", 3),
    ("print.rs", 3),
    ("reconcile.rs", 3),
    ("secrets.rs", 3),
    ("status.rs", 3),
    ("verdict.rs", 3),
    ("waiting.rs", 4),
    ("workload_role.rs", 3),
    ("write.rs", 3),
];

/// Names of which Rust or the habit of this code decides.
fn is_given(name: &str) -> bool {
    ["mod.rs", "tests.rs"].contains(&name)
}

/// What is wrong with how often names occur.
fn problems(counts: &BTreeMap<String, usize>, known: &[(&str, usize)]) -> Vec<String> {
    let allowed = |name: &str| known.iter().find(|(one, _)| *one == name).map_or(MAX_SAME, |(_, count)| *count);
    let more = counts.iter().filter(|(name, count)| !is_given(name) && **count > allowed(name));
    let more =
        more.map(|(name, count)| format!("{count} files are named {name}: say in the name what is in the new one"));
    let fewer = known.iter().filter_map(|(name, count)| {
        let found = counts.get(*name).copied().unwrap_or_default();
        (found < *count)
            .then(|| format!("only {found} files are named {name}: lower its number in KNOWN, or remove it"))
    });
    more.chain(fewer).collect()
}

#[test]
fn file_names_say_what_is_in_the_file() {
    let mut counts = BTreeMap::<String, usize>::new();
    for path in files(&source()) {
        *counts.entry(path.file_name().unwrap().to_string_lossy().into_owned()).or_default() += 1;
    }
    let problems = problems(&counts, KNOWN);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn names_that_occur_more_or_less_often_are_detected() {
    let counts = |name: &str, count| BTreeMap::from([(name.to_owned(), count)]);
    assert_eq!(problems(&counts("status.rs", 3), &[]).len(), 1);
    assert_eq!(problems(&counts("status.rs", 3), &[("status.rs", 3)]).len(), 0);
    assert_eq!(problems(&counts("status.rs", 2), &[("status.rs", 3)]).len(), 1);
    assert_eq!(problems(&counts("mod.rs", 70), &[]).len(), 0);
}
