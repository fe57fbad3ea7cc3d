//! Which folders and crates each folder of `src` may use, by the text of `use` items and paths.

use std::fs;
use std::path::Path;

use super::{code, files, source};

/// A folder, the other folders it may use, and the crates it may not use.
struct Rule {
    folder: &'static str,
    may_use: &'static [&'static str],
    never: &'static [Never],
}

/// Crates that a folder may not use. Those of AWS are read from Cargo.toml: a new one is forbidden without a further line.
#[derive(Clone, Copy)]
enum Never {
    /// This crate.
    Crate(&'static str),
    /// `kube` and `k8s_openapi`.
    Kubernetes,
    /// The clients of AWS's services, and their configuration.
    AwsSdk,
    /// Everything of AWS, with what its clients share.
    AnyAws,
}

impl Never {
    fn crates(self) -> Vec<String> {
        match self {
            Self::Crate(name) => vec![name.to_owned()],
            Self::Kubernetes => vec!["kube".to_owned(), "k8s_openapi".to_owned()],
            Self::AwsSdk => aws_crates(|name| name.starts_with("aws_sdk_") || name == "aws_config"),
            // The last is a library for cryptography.
            Self::AnyAws => aws_crates(|name| name != "aws_lc_rs"),
        }
    }
}

/// The crates of AWS in Cargo.toml that are `wanted`, as code names them.
fn aws_crates(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let dependencies = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let names = dependencies.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.replace('-', "_"));
    names.filter(|name| name.starts_with("aws_") && wanted(name)).collect()
}

const RULES: &[Rule] = &[
    Rule { folder: "telemetry", may_use: &[], never: &[Never::Kubernetes, Never::AwsSdk] },
    Rule { folder: "api", may_use: &[], never: &[Never::AnyAws] },
    Rule { folder: "engine", may_use: &[], never: &[Never::Kubernetes, Never::AnyAws] },
    Rule { folder: "aws", may_use: &["engine", "telemetry"], never: &[Never::Kubernetes] },
    Rule { folder: "upgrade", may_use: &["api"], never: &[Never::Kubernetes, Never::AnyAws, Never::Crate("tokio")] },
    Rule { folder: "rollout", may_use: &["api"], never: &[Never::Crate("kube"), Never::AnyAws, Never::Crate("tokio")] },
    Rule { folder: "notify", may_use: &["api", "upgrade"], never: &[Never::Crate("kube"), Never::AwsSdk] },
    Rule {
        folder: "hooks",
        may_use: &["api", "jobs"],
        never: &[Never::Crate("kube"), Never::AnyAws, Never::Crate("tokio")],
    },
    Rule { folder: "jobs", may_use: &["api", "workload"], never: &[Never::AnyAws] },
    Rule { folder: "resources", may_use: &["api", "aws", "engine", "upgrade"], never: &[Never::Kubernetes] },
    Rule { folder: "workload", may_use: &["api", "telemetry"], never: &[Never::AwsSdk] },
    Rule { folder: "agents", may_use: &["api", "telemetry", "workload"], never: &[Never::AnyAws] },
    Rule {
        folder: "controllers",
        may_use: &[
            "agents",
            "api",
            "aws",
            "engine",
            "notify",
            "hooks",
            "jobs",
            "resources",
            "rollout",
            "telemetry",
            "upgrade",
            "workload",
        ],
        never: &[Never::AnyAws],
    },
    Rule { folder: "page", may_use: &["api", "cli", "controllers", "engine"], never: &[Never::AnyAws] },
    Rule {
        folder: "cli",
        may_use: &[
            "agents",
            "api",
            "aws",
            "controllers",
            "engine",
            "notify",
            "page",
            "resources",
            "rollout",
            "telemetry",
            "upgrade",
            "workload",
        ],
        never: &[Never::AnyAws],
    },
];

/// The first path segment after `prefix::` of each path in `text`.
fn first_segments(text: &str, prefix: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &text[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            // `use crate::{a::b, c}`: the first segment of each item at the outermost level.
            let mut depth = 0;
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => words.push(std::mem::take(&mut word)),
                    c if depth == 0 => word.push(c),
                    _ => {}
                }
            }
            words.push(word);
        } else {
            words.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    let first = |word: &String| word.trim().split("::").next().unwrap_or_default().trim().to_owned();
    words.iter().map(first).filter(|word| !word.is_empty()).collect()
}

#[test]
fn folders_use_only_allowed_dependencies() {
    let mut violations = Vec::new();
    for rule in RULES {
        for path in files(&source().join(rule.folder)) {
            let code = code(&path);
            let name = path.strip_prefix(source()).unwrap().display().to_string();
            for used in first_segments(&code, "crate::") {
                if used != rule.folder && !rule.may_use.contains(&used.as_str()) {
                    violations.push(format!("{name} uses crate::{used}"));
                }
            }
            for never in rule.never.iter().flat_map(|never| never.crates()) {
                // In `api` and the like, attributes name kube's derive macros; only paths count.
                if !first_segments(&code, &format!("{never}::")).is_empty() {
                    violations.push(format!("{name} uses {never}"));
                }
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn every_folder_has_a_rule_and_a_description() {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    for entry in fs::read_dir(source()).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(RULES.iter().any(|rule| rule.folder == name), "no rule for src/{name}");
        assert!(lib.contains(&format!("mod {name};")), "src/{name} is not part of the crate");
        let head = fs::read_to_string(path.join("mod.rs")).unwrap();
        for phrase in ["Not allowed here:", "I/O"] {
            assert!(head.contains(phrase), "src/{name}/mod.rs does not contain {phrase:?}");
        }
    }
}

#[test]
fn rule_checks_can_fail() {
    let text = "use crate::{aws::Session, engine::{Key, Plan}};\nlet x = kube::Client::default();";
    assert_eq!(first_segments(text, "crate::"), ["aws", "engine"]);
    assert_eq!(first_segments(text, "kube::"), ["Client"]);
    assert!(first_segments("use x_crate::y;", "crate::").is_empty());
}

#[test]
fn crates_of_aws_are_those_of_the_manifest() {
    let sdk = Never::AwsSdk.crates();
    for name in ["aws_config", "aws_sdk_cloudwatchlogs", "aws_sdk_ec2", "aws_sdk_eks"] {
        assert!(sdk.iter().any(|one| one == name), "{name} is not in {sdk:?}");
    }
    let any = Never::AnyAws.crates();
    assert!(any.iter().any(|one| one == "aws_smithy_types") && !any.iter().any(|one| one == "aws_lc_rs"), "{any:?}");
}
