//! How often the same file name occurs in `src`: a name that many folders have does not say what is in the file.

use std::collections::BTreeMap;

use super::{files, source};

/// A name may occur twice, in parallel folders.
const MAX_SAME: usize = 2;

/// Names of which Rust or the habit of this code decides.
fn is_given(name: &str) -> bool {
    ["mod.rs", "tests.rs"].contains(&name)
}

/// What is wrong with how often names occur.
fn problems(counts: &BTreeMap<String, usize>) -> Vec<String> {
    let more = counts.iter().filter(|(name, count)| !is_given(name) && **count > MAX_SAME);
    more.map(|(name, count)| format!("{count} files are named {name}: say in the name what is in the new one"))
        .collect()
}

#[test]
fn file_names_say_what_is_in_the_file() {
    let mut counts = BTreeMap::<String, usize>::new();
    for path in files(&source()) {
        *counts.entry(path.file_name().unwrap().to_string_lossy().into_owned()).or_default() += 1;
    }
    let problems = problems(&counts);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn names_that_occur_too_often_are_detected() {
    let counts = |name: &str, count| BTreeMap::from([(name.to_owned(), count)]);
    assert_eq!(problems(&counts("status.rs", 3)).len(), 1);
    assert_eq!(problems(&counts("status.rs", 2)).len(), 0);
    assert_eq!(problems(&counts("mod.rs", 70)).len(), 0);
}
