//! Compares the IAM actions in the table of kinds with the calls in the kinds' files, with the policies under deploy/, and with
//! docs/iam-actions.md, which lists them. `UPDATE_DOCS=1 cargo test --lib actions_tests` writes that list.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// Files that belong to kinds and do not define their rows.
const HELPERS: &[(&str, &[&str])] = &[
    ("deletion/prune_calls.rs", &["accessEntryPruning", "addonPruning", "podIdentityPruning", "fargateProfilePruning"]),
    ("deletion/removal_calls.rs", &["removals"]),
    ("deletion/removed_roles.rs", &["removals"]),
    ("eks/addon_roles.rs", &["addon"]),
    ("eks/cluster_adoption.rs", &["cluster"]),
    ("eks/cluster_create.rs", &["cluster"]),
    ("eks/cluster_request.rs", &["cluster"]),
    ("eks/node_access_entry.rs", &["accessEntry"]),
    ("eks/node_group/newest.rs", &["nodeGroup"]),
    ("eks/node_group/own_template.rs", &["nodeGroup"]),
    ("eks/node_group/owned.rs", &["nodeGroup"]),
    ("eks/node_group/updating.rs", &["nodeGroup"]),
    ("eks/node_template/versions.rs", &["nodeGroup"]),
    ("eks/updates.rs", &["cluster", "certificateAuthority", "addon", "capability", "identityProvider", "nodeGroup"]),
    ("iam/role_diff.rs", &["role"]),
    ("network/private_endpoints.rs", &["vpcEndpoint"]),
    ("iam/role_calls.rs", &["role", "workloadRole"]),
];
/// Files and folders of `src/resources` whose calls are not for one kind, with the reason.
const OF_NO_KIND: &[(&str, &str)] = &[
    ("account_checks/", "for `keelson doctor`"),
    ("aws_validation/", "checks the spec before anything is created"),
    ("deletion/cluster_users.rs", "names what keeps EKS from deleting a cluster"),
    ("deletion/left_behind.rs", "names what is left of a deleted cluster"),
    ("deletion/occupants.rs", "names who uses a VPC before it is deleted"),
    ("eks/cluster_deletion.rs", "whether a cluster of others uses what is deleted"),
    ("eks/lists.rs", "counted for the kinds that read them"),
    ("eks/offered_versions.rs", "whether EKS offers a version"),
    ("tag_calls.rs", "tags: counted for the kinds that set them"),
    ("deletion/blocker_lists.rs", "explains why EC2 refused a deletion"),
    ("deletion/blockers.rs", "explains why EC2 refused a deletion"),
    ("eks/kubernetes_api.rs", "for the way into the cluster; its tags are counted for the kinds that read them"),
    ("eks/upgrade_data.rs", "for the decision about upgrades"),
    ("graph/ownership.rs", "tags: counted for the kinds that release them"),
    ("inventory/", "reads of all kinds"),
    ("recovery/", "tags of all kinds"),
];

/// What shows in a file that it tags its resources (`tag_calls.rs`), and the actions for that.
const TAGGED: &[(&str, &[&str])] = &[
    ("cloud.tag_ec2(", &["ec2:CreateTags", "ec2:DeleteTags"]),
    ("cloud.tag_eks(", &["eks:TagResource", "eks:UntagResource"]),
    ("Handle::Ec2", &["ec2:DeleteTags"]),
    ("OwnerTags::in_ec2(", &["ec2:CreateTags", "ec2:DeleteTags"]),
    ("OwnerTags::in_eks(", &["eks:TagResource", "eks:UntagResource"]),
    ("Handle::Role(", &["iam:TagRole", "iam:UntagRole"]),
    ("Handle::LogGroup(", &["logs:TagResource", "logs:UntagResource"]),
    ("Handle::Queue(", &["sqs:TagQueue", "sqs:UntagQueue"]),
    ("Handle::EventRule(", &["events:TagResource", "events:UntagResource"]),
    ("Handle::OidcProvider(", &["iam:TagOpenIDConnectProvider", "iam:UntagOpenIDConnectProvider"]),
];

type Actions = BTreeSet<String>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The code of a file without tests, comments and white space, with the values of its constants in place of their names.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let own = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = own.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut code: String = lines.collect::<String>().split_whitespace().collect();
    let constants: Vec<(String, String)> = code
        .split("const")
        .filter_map(|part| {
            let (name, value) = part.split_once(":&str=\"")?;
            Some((name.to_owned(), value.split_once('"')?.0.to_owned()))
        })
        .collect();
    for (name, value) in constants {
        code = code.replace(&format!(",{name},"), &format!(",\"{value}\","));
    }
    code
}

fn word(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

/// The actions that `code` passes to `call` and to `all_pages!`.
fn called(code: &str) -> Actions {
    let call = |rest: &str| {
        let rest = rest.strip_prefix("Service::").unwrap_or(rest);
        let (service, rest) = rest.split_once(",\"")?;
        let is_service = ["AutoScaling", "Ec2", "Eks", "Events", "Iam", "Logs", "Sqs", "Ssm", "Sts"].contains(&service);
        is_service.then(|| format!("{}:{}", service.to_lowercase(), word(rest)))
    };
    let pages = |rest: &str| rest.split_once(",\"").map(|(_, action)| format!("eks:{}", word(action)));
    let calls = code.split("call(").skip(1).filter_map(call);
    calls.chain(code.split("all_pages!(").skip(1).filter_map(pages)).collect()
}

/// The functions that follow one of `prefixes` in `code`.
fn used<'c>(code: &'c str, prefixes: &[&str]) -> BTreeSet<&'c str> {
    prefixes.iter().flat_map(|prefix| code.split(prefix).skip(1).map(word)).collect()
}

/// The actions of each function of the files, its calls of others of them included.
fn of_functions(files: &[&str]) -> BTreeMap<String, Actions> {
    let codes: Vec<String> = files.iter().map(|file| code(&root().join("src").join(file))).collect();
    let parts = codes.iter().flat_map(|code| code.split("fn").skip(1));
    let bodies: Vec<(&str, &str)> = parts.map(|part| (word(part), part)).collect();
    let mut all: BTreeMap<String, Actions> = BTreeMap::new();
    // As often as calls are nested.
    for _ in 0..4 {
        for (name, body) in &bodies {
            let nested =
                used(body, &["reads::", "self.", "this."]).into_iter().filter_map(|name| all.get(name)).flatten();
            let found: Actions = nested.cloned().chain(called(body)).collect();
            all.entry((*name).to_owned()).or_default().extend(found);
        }
    }
    all
}

/// The actions of each file of `src/resources`, by path, with those of the shared reads and tags that it uses.
fn by_file() -> BTreeMap<String, Actions> {
    let reads = of_functions(&["aws/snapshots/mod.rs", "aws/snapshots/named.rs", "aws/snapshots/reads.rs"]);
    let lists = of_functions(&["resources/eks/lists.rs", "resources/eks/kubernetes_api.rs"]);
    let folder = root().join("src/resources");
    let (mut open, mut found) = (vec![folder.clone()], BTreeMap::new());
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("actions_tests.rs")
            && !path.ends_with("listing_tests.rs")
        {
            let code = code(&path);
            let shared = used(&code, &["snapshots.", "reads."]).into_iter().filter_map(|name| reads.get(name));
            let listed = used(&code, &["lists::", "kubernetes_api::"]).into_iter().filter_map(|name| lists.get(name));
            let tagged = TAGGED.iter().filter(|(sign, _)| code.contains(sign)).flat_map(|(_, actions)| *actions);
            let own = called(&code).into_iter().chain(tagged.map(|action| (*action).to_owned()));
            let actions = shared.chain(listed).flatten().cloned().chain(own).collect();
            found.insert(path.strip_prefix(&folder).unwrap().display().to_string(), actions);
        }
    }
    found
}

/// The names of the kinds that a file belongs to.
fn kinds_of(file: &str) -> Vec<&'static str> {
    let code = code(&root().join("src/resources").join(file));
    let own = code.split("Kind=Kind::new(\"").skip(1).map(word).filter_map(find).map(|kind| kind.name);
    let helped = HELPERS.iter().filter(|(helper, _)| *helper == file).flat_map(|(_, kinds)| kinds.iter().copied());
    own.chain(helped).collect()
}

#[test]
fn each_kind_lists_exactly_the_actions_of_its_files() {
    let (mut violations, mut called_by_kind) = (Vec::new(), BTreeMap::<&str, Actions>::new());
    for (file, actions) in by_file() {
        let kinds = kinds_of(&file);
        let is_of_no_kind =
            OF_NO_KIND.iter().any(|(path, _)| file == *path || path.ends_with('/') && file.starts_with(path));
        if kinds.is_empty() && !actions.is_empty() && !is_of_no_kind {
            violations.push(format!("{file} is in neither HELPERS nor OF_NO_KIND and calls {actions:?}"));
        }
        let listed: BTreeSet<&str> =
            kinds.iter().filter_map(|kind| find(kind)).flat_map(|kind| kind.actions).copied().collect();
        let missing: Vec<_> = actions.iter().filter(|action| !listed.contains(action.as_str())).collect();
        if !kinds.is_empty() && !missing.is_empty() {
            violations.push(format!("{kinds:?} do not list {missing:?}, which {file} calls"));
        }
        kinds.iter().for_each(|kind| called_by_kind.entry(kind).or_default().extend(actions.iter().cloned()));
    }
    for kind in ALL {
        let called = called_by_kind.remove(kind.name).unwrap_or_default();
        let unused: Vec<_> = kind.actions.iter().filter(|action| !called.contains(**action)).collect();
        if !unused.is_empty() {
            violations.push(format!("{} lists {unused:?}, which none of its files calls", kind.name));
        }
        if !kind.actions.is_sorted() {
            violations.push(format!("the actions of {} are not sorted", kind.name));
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn calls_are_found_in_code() {
    let code = "caller.call(Ec2,\"DescribeVpcs\",OWNED,x).await;aws.call(Service::Iam,\"GetRole\",n,x);all_pages!(aws,&a,\"ListAddons\",x);\
                self.call(other,\"NotAService\")";
    assert_eq!(called(code).into_iter().collect::<Vec<_>>(), ["ec2:DescribeVpcs", "eks:ListAddons", "iam:GetRole"]);
    let reads = of_functions(&["aws/snapshots/mod.rs", "aws/snapshots/named.rs", "aws/snapshots/reads.rs"]);
    assert!(reads["addon_versions"].contains("eks:DescribeAddonVersions"), "through two functions");
    assert!(reads["newest_release"].contains("ssm:GetParameter"));
}

/// The policies of `deploy/` that allow each action to the operator itself.
fn policies() -> BTreeMap<String, BTreeSet<String>> {
    let files = fs::read_dir(root().join("deploy")).unwrap().map(|entry| entry.unwrap().path());
    let is_policy = |name: &str| name.starts_with("iam-policy") && name.ends_with(".json");
    let mut found = BTreeMap::<_, BTreeSet<_>>::new();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !is_policy(&name) {
            continue;
        }
        let policy: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        for statement in policy["Statement"].as_array().unwrap().iter().filter(|one| one["Effect"] == "Allow") {
            if statement["Sid"].as_str().unwrap().starts_with("CheckedByAws") {
                continue;
            }
            let actions = statement["Action"].as_array().cloned().unwrap_or_else(|| vec![statement["Action"].clone()]);
            for action in actions {
                found.entry(action.as_str().unwrap().to_owned()).or_default().insert(name.clone());
            }
        }
    }
    found
}

#[test]
fn policies_allow_the_actions_of_each_kind() {
    let policies = policies();
    for kind in ALL {
        let missing: Vec<_> = kind.actions.iter().filter(|action| !policies.contains_key(**action)).collect();
        assert!(missing.is_empty(), "no policy under deploy/ allows {missing:?}, which the {} needs", kind.label);
    }
}

#[test]
fn page_lists_the_actions_of_each_kind() {
    let page = root().join("docs/iam-actions.md");
    let text = fs::read_to_string(&page).unwrap();
    let mark = "|---|---|\n";
    let head = text.split_inclusive(mark).next().unwrap();
    let rows = ALL.iter().filter(|kind| !kind.actions.is_empty()).map(|kind| {
        let actions: Vec<_> = kind.actions.iter().map(|action| format!("`{action}`")).collect();
        format!("| {} | {} |\n", kind.label, actions.join(", "))
    });
    let wanted = format!("{head}{}", rows.collect::<String>());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(PathBuf::from(&page), &wanted).unwrap();
    }
    assert!(
        fs::read_to_string(&page).unwrap() == wanted,
        "docs/iam-actions.md is stale: UPDATE_DOCS=1 cargo test --lib actions_tests"
    );
}
