//! Architecture rules for `src`: dependencies between folders and between files, module documentation, and file length.

#[path = "architecture/circles.rs"]
mod circles;
#[path = "architecture/folders.rs"]
mod folders;
#[path = "architecture/literals.rs"]
mod literals;
#[path = "architecture/names.rs"]
mod names;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Longer files do more than one job.
const MAX_FILE_LINES: usize = 400;
/// More files that use each other cannot be understood one by one.
const MAX_CIRCLE: usize = 5;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The code without comments: comments may mention anything.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_file_has_a_description_and_a_bounded_length() {
    let mut violations = BTreeMap::new();
    for path in files(&source()) {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        if !text.starts_with("//!") {
            violations.insert(path.clone(), "does not begin with //!".to_owned());
        }
        if lines > MAX_FILE_LINES {
            violations.insert(path, format!("has {lines} lines; split it"));
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

/// Files outside of an agent's own folder, the API and the table of agents that may name an agent, and why.
const NAMES_AN_AGENT: &[(&str, &str)] = &[
    ("cli/controller.rs", "its flags name the Argo CD that clusters are registered in"),
    ("cli/import/eksctl/", "eksctl's own files name it"),
    ("cli/relocate/copied_secrets.rs", "which field of the API names a Secret; the compiler reports a new agent"),
    ("resources/eks/capability", "the capability of EKS, which is no agent of Keelson's, has its name"),
    ("resources/inventory/described/extensions.rs", "the same, in EKS's notation"),
    ("cli/import/terraform/convert.rs", "the same"),
    ("agents/install.rs", "a message recommends a command of its command line"),
    ("agents/validate_source.rs", "a message says what it requires of a Secret"),
];
/// Other spellings of agents than the names of their folders.
const AGENT_SPELLINGS: &[&str] = &["argo cd", "argoproj", "kustomiz"];

/// The agents: the folders of `src/agents`.
fn agents() -> Vec<String> {
    let folders = fs::read_dir(source().join("agents")).unwrap().map(|entry| entry.unwrap().path());
    let folders = folders.filter(|path| path.is_dir() && !files(path).is_empty());
    folders.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// The names of agents in `code`, which may not know any. Tests may: they need an example.
fn named_agents<'a>(code: &str, agents: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_lowercase();
    agents.filter(|agent| code.contains(agent)).collect()
}

#[test]
fn an_agent_is_a_folder_and_a_line() {
    let agents = agents();
    assert!(agents.len() > 1, "{agents:?}");
    let own = |name: &str| {
        name == "agents/mod.rs"
            || name.starts_with("api/")
            || agents.iter().any(|agent| name.starts_with(&format!("agents/{agent}/")))
    };
    let table = code(&source().join("agents/mod.rs"));
    for agent in &agents {
        assert!(table.contains(&format!("&{agent}::")), "src/agents/{agent} has no line in agents::ALL");
    }
    let (mut found, mut excepted) = (Vec::new(), Vec::new());
    for path in files(&source()) {
        let name = path.strip_prefix(source()).unwrap().display().to_string();
        if own(&name) || name.ends_with("tests.rs") {
            continue;
        }
        let spellings = agents.iter().map(String::as_str).chain(AGENT_SPELLINGS.iter().copied());
        let named = named_agents(&code(&path), spellings);
        let exception = NAMES_AN_AGENT.iter().find(|(exception, _)| name.starts_with(exception));
        match exception {
            _ if named.is_empty() => {}
            Some((exception, _)) => excepted.push(*exception),
            None => found.push(format!("{name} names {named:?}: ask the trait in src/agents/agent.rs")),
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    for (exception, why) in NAMES_AN_AGENT {
        assert!(excepted.contains(exception), "{exception} no longer needs its exception ({why})");
    }
}

#[test]
fn names_of_agents_are_detected() {
    let agents = ["flux", "argo cd"];
    let of = |code| named_agents(code, agents.into_iter());
    assert_eq!(of("match agent { Agent::Flux(flux) => 1 }"), ["flux"]);
    assert_eq!(of("format!(\"Argo CD {version}\")"), ["argo cd"]);
    assert!(of("fn agent() {}\n#[cfg(test)]\nmod tests {\n const EXAMPLE: &str = \"flux\";").is_empty());
}

#[test]
fn no_circle_of_files_is_large() {
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(source()).unwrap().display().to_string();
        (name, fs::read_to_string(path).unwrap())
    };
    let files: Vec<_> = files(&source()).iter().map(read).collect();
    let large: Vec<_> = circles::circles(&files).into_iter().filter(|circle| circle.len() > MAX_CIRCLE).collect();
    assert!(large.is_empty(), "files that use each other; move what they share to a file below them: {large:#?}");
}

/// Calls that delete or detach: docs/safety.md lists what each may act on.
const DESTRUCTIVE_VERBS: &[&str] =
    &["Delete", "Detach", "Disassociate", "Release", "Revoke", "Untag", "Remove", "Terminate", "Deregister"];

/// `snake_case` as the name of an AWS action.
fn camel_case(name: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('_').filter(|word| !word.is_empty()).map(word).collect()
}

fn is_destructive(action: &str) -> bool {
    DESTRUCTIVE_VERBS
        .iter()
        .any(|verb| action.strip_prefix(verb).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase())))
}

/// The actions that `code` passes to `.call(`.
fn called_actions(code: &str) -> Vec<String> {
    let name = |(at, _): (usize, &str)| {
        let (_, rest) = code[at..].split_once('"')?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    code.match_indices(".call(").filter_map(name).filter(|action| is_destructive(action)).collect()
}

/// The requests that `code` builds with an SDK: methods without arguments.
fn built_requests(code: &str) -> Vec<String> {
    /// Fields of responses with similar names.
    const FIELDS: [&str; 2] = ["ReleaseVersion", "RemoveTaints"];
    let method = |(at, _): (usize, &str)| {
        let before = code[..at].rsplit(|c: char| !c.is_ascii_lowercase() && c != '_').next()?;
        // Methods on `self` are not SDK calls.
        let of = code[..at - before.len()].strip_suffix('.').filter(|of| !of.ends_with("self"));
        of.map(|_| camel_case(before))
    };
    let built_requests = code.match_indices("()").filter_map(method);
    built_requests.filter(|action| is_destructive(action) && !FIELDS.contains(&action.as_str())).collect()
}

/// Rows of docs/safety.md as "`CALL` `file`".
fn documented_calls() -> Vec<(String, String)> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/safety.md")).unwrap();
    let table =
        page.split("## By what proof something is deleted").nth(1).expect("the chapter").split("\n## ").next().unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.split(" | ").map(|cell| cell.trim().trim_matches('`').to_owned());
        let (call, file) = (cells.next()?, cells.next()?);
        file.ends_with(".rs").then_some((call, file))
    };
    table.lines().filter_map(row).collect()
}

#[test]
fn every_destructive_call_is_documented_with_its_proof() {
    let mut found = Vec::new();
    for path in files(&source()).iter().filter(|path| !path.to_string_lossy().ends_with("_tests.rs")) {
        let (code, file) = (code(path), path.strip_prefix(source()).unwrap().display().to_string());
        let (calls, requests) = (called_actions(&code), built_requests(&code));
        // The SDK spells some words differently: OpenId, OpenID.
        let is_called = |request: &String| calls.iter().any(|call| call.eq_ignore_ascii_case(request));
        let hidden: Vec<_> = requests.iter().filter(|request| !is_called(request)).collect();
        assert!(hidden.is_empty(), "{file} sends {hidden:?} without Caller::call, which checks the lease");
        found.extend(calls.into_iter().map(|call| (call, file.clone())));
        if code.contains(".delete(") && code.contains("DeleteParams") {
            found.push(("delete of Kubernetes".into(), file));
        }
    }
    found.sort();
    found.dedup();
    let mut documented_calls = documented_calls();
    documented_calls.sort();
    assert_eq!(found, documented_calls, "left: in src, right: in docs/safety.md");
}

#[test]
fn destructive_calls_are_detected() {
    let code = "cloud.aws.call(Service::Ec2,\n \"DeleteVpc\", &id, aws.ec2.delete_vpc().vpc_id(id).send()); spec.release_version();";
    assert_eq!(
        (called_actions(code), built_requests(code)),
        (vec!["DeleteVpc".to_owned()], vec!["DeleteVpc".to_owned()])
    );
    assert!(!is_destructive("DescribeVpcs") && !is_destructive("Deleted") && is_destructive("ReleaseAddress"));
}
