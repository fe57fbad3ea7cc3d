//! `keelson plan`: previews the plan of a manifest, from nothing, or with `--live` from the state of AWS.

mod document;
mod from_nothing;
mod hints;
mod images;
pub mod live;
mod management;
pub mod manifest;
mod markdown;
pub mod order;
mod plan_summary;
mod planned;
pub mod print;
#[cfg(test)]
mod replacement_tests;
mod rules;
mod schema;
mod sources;
pub mod style;
mod timeline;
mod transitions;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::ValueEnum;

use super::connection::Connection;
use super::errors;
use super::output::{self, Structured};
use crate::agents::validate_source::SourcePolicy;
use document::Document;
pub use from_nothing::{from_nothing, view_from_nothing};
pub use hints::{Hint, hints};
use manifest::Manifest;
pub use plan_summary::{Obstacle, obstacles};
pub use planned::{ManifestCluster, Planned, about, manifest_clusters, named};
pub use sources::read as read_files;

/// Flags of `keelson plan`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson plan -f cluster.yaml
  keelson plan -f clusters/ -f node-groups/ --live --detailed-exitcode
  keelson plan -f clusters/ --live -o markdown > comment.md
  keelson plan -f node-group.yaml --context management

With --context or --kubeconfig, and only then, it reads from the management cluster what the files refer to and do not
contain, such as the EksCluster of a NodeGroup, and the objects as they are now: it refuses a change of a field that
cannot change. Without, the files are checked as new objects; --live still finds what cannot change in AWS.

Exit codes: 0, or 1 if the manifests are invalid or something in the plan cannot be done, such as what belongs to
others or a version that EKS does not offer (known with --live). With --detailed-exitcode also 2: there are changes.")]
pub struct Args {
    /// Manifests: files with YAML documents of EksCluster, NodeGroup and AwsAccount, or folders with such files; `-`
    /// reads standard input.
    #[arg(short, long, required = true, num_args = 1.., value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// Namespace of objects that name none [default: default].
    #[arg(short, long)]
    namespace: Option<String>,
    /// Compare with AWS, read-only: with the credentials of the environment, or the AwsAccount in the files.
    #[arg(long)]
    live: bool,
    /// Format: `markdown` is for a comment on a pull request.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
    /// Exit with 2 if there are changes, and with 0 if there are none.
    #[arg(long)]
    detailed_exitcode: bool,
    /// Allow http:// and loopback Git sources, like the operator's flag of the same name.
    #[arg(long, env = "KEELSON_ALLOW_HTTP_GIT")]
    allow_http_git: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Format of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Markdown,
    Json,
    Yaml,
}

/// Exit code of `--detailed-exitcode` for a plan with changes, as Terraform's.
const CHANGES: u8 = 2;

/// Prints the plan.
///
/// # Errors
/// A manifest is refused, something in the plan cannot be done, or AWS or the management cluster cannot be read.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let answer = match print_plan(args) {
        Ok(answer) => answer,
        Err(error) => {
            if args.output == Format::Markdown {
                // The comment must not show the plan of an earlier commit.
                super::print(&markdown::comment(&[], &[], &[manifest::without_source(&error)], args.live))?;
            }
            return Err(error);
        }
    };
    if !answer.problems.is_empty() {
        bail!("{}", answer.problems.join("\nkeelson: "));
    }
    let code = if args.detailed_exitcode && answer.changes { CHANGES } else { 0 };
    Ok(ExitCode::from(code))
}

/// Prints the plan, and returns it for the exit code.
fn print_plan(args: &Args) -> anyhow::Result<Document> {
    let manifest = read(args)?;
    let sources = SourcePolicy { allow_http: args.allow_http_git };
    let (mut clusters, mut errors) = (Vec::new(), Vec::new());
    for cluster in &manifest_clusters(&manifest, sources)? {
        let planned = if args.live { super::block_on(live::plan(cluster)) } else { from_nothing(cluster) };
        match planned {
            Ok(planned) if manifest.is_context(cluster.cluster) => {
                let mut planned = planned.into_iter();
                let context = planned.next().map(Planned::into_context);
                clusters.push(context.into_iter().chain(planned).collect::<Vec<_>>());
            }
            Ok(planned) => clusters.push(planned),
            Err(error) => errors.push(errors::format_error(&error)),
        }
    }
    let mut document = Document { notes: manifest.notes.clone(), problems: errors.clone(), ..Document::default() };
    clusters.iter().for_each(|planned| document.add(planned, args.live));
    match args.output {
        Format::Text => super::print(&text(&manifest, &clusters, args.live))?,
        Format::Markdown => super::print(&markdown::comment(&clusters, &manifest.notes, &errors, args.live))?,
        Format::Json => output::print(&document, Structured::Json)?,
        Format::Yaml => output::print(&document, Structured::Yaml)?,
    }
    Ok(document)
}

/// The manifest, with what it refers to in the management cluster, if that is given.
fn read(args: &Args) -> anyhow::Result<Manifest> {
    let mut manifest = sources::read(&args.filename, args.namespace.as_deref())?;
    if args.connection.is_given() {
        super::block_on(async { management::complete(&mut manifest, &args.connection.client().await?).await })?;
    }
    if let Some((namespace, name)) = manifest.missing_clusters().first() {
        let place = if args.connection.is_given() { " or in the management cluster" } else { "" };
        let advice = if args.connection.is_given() { "" } else { ", or pass --context to read it from there" };
        bail!("{}{place}: add its file{advice}", manifest::describe_missing(namespace, name));
    }
    manifest.note_references();
    Ok(manifest)
}

fn text(manifest: &Manifest, clusters: &[Vec<Planned>], live: bool) -> String {
    let mut out: String = manifest.notes.iter().map(|note| format!("note: {note}\n")).collect();
    clusters.iter().for_each(|planned| print::cluster(&mut out, planned, live));
    out
}

/// Whether the operator would accept the objects, as far as that can be decided without AWS and the API server.
pub fn check(manifest: &str) -> anyhow::Result<()> {
    manifest_clusters(&Manifest::parse(manifest)?, SourcePolicy::default()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(path: &str) -> String {
        let text = std::fs::read_to_string(format!("{}/examples/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let manifest = Manifest::parse(&text).unwrap();
        let mut out = String::new();
        for cluster in manifest_clusters(&manifest, SourcePolicy::default()).unwrap() {
            print::cluster(&mut out, &from_nothing(&cluster).unwrap(), false);
        }
        anstream::adapter::strip_str(&out).to_string()
    }

    #[test]
    fn plan_of_the_minimal_manifest() {
        insta::assert_snapshot!(planned("minimal.yaml"));
    }

    fn minimal() -> Vec<Planned> {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/minimal.yaml")).unwrap();
        let manifest = Manifest::parse(&text).unwrap();
        let wanted = manifest_clusters(&manifest, SourcePolicy::default()).unwrap();
        from_nothing(&wanted[0]).unwrap()
    }

    #[test]
    fn tag_that_the_account_replaces_is_a_notice() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/minimal.yaml")).unwrap();
        let text = text.replacen("spec:\n", "spec:\n  tags: {owner: me}\n", 1)
            + "---\napiVersion: keelson.dev/v1alpha1\nkind: AwsAccount\nmetadata: {name: default}\nspec:\n  accountId: \
               \"111122223333\"\n  enforcedTags: {owner: platform}\n  allowedNamespaces: [default]\n  \
               allowedRegions: [eu-west-1]\n";
        let manifest = Manifest::parse(&text).unwrap();
        let planned = from_nothing(&manifest_clusters(&manifest, SourcePolicy::default()).unwrap()[0]).unwrap();
        assert!(planned[0].notices[0].contains("AwsAccount default enforces other tags than spec.tags has for owner"));
        assert!(planned[1].notices.is_empty());
    }

    #[test]
    fn account_alone_says_which_files_to_add() {
        let text = "apiVersion: keelson.dev/v1alpha1\nkind: AwsAccount\nmetadata: {name: prod}\nspec: {accountId: \"111122223333\", \
                    allowedNamespaces: [default], allowedRegions: [eu-west-1]}\n";
        let manifest = Manifest::parse(text).unwrap();
        let refused = manifest_clusters(&manifest, SourcePolicy::default()).err().expect("an error").to_string();
        assert!(refused.starts_with("AwsAccount prod alone has no plan") && refused.contains("-f FILE"), "{refused}");
    }

    /// A node group whose nodes are replaced, and the window that this waits for.
    fn replaced(window: Option<planned::ClosedWindow>) -> (String, Document) {
        use crate::engine::{Action, Change, Step, Verdict};
        let mut all = minimal();
        all.truncate(2);
        for planned in &mut all {
            planned.plan.items.iter_mut().for_each(|item| item.verdict = Verdict::Settled);
        }
        let change =
            Change::in_place("node.tags.service", "a", "b").disrupts("replaces its nodes, at most 1 at a time");
        let item = all[1].plan.items.iter_mut().find(|item| item.key.kind() == "nodeGroup").unwrap();
        item.verdict = Verdict::Step(Step { action: Action::Update, changes: vec![change], reason: None });
        all[1].window = window;
        let mut out = String::new();
        print::cluster(&mut out, &all, true);
        let mut document = Document::default();
        document.add(&all, true);
        (anstream::adapter::strip_str(&out).to_string(), document)
    }

    #[test]
    fn replacement_of_nodes_starts_in_its_maintenance_window() {
        let closed = |delay: Option<u64>| {
            let next = "the next opens 2026-12-05T02:00:00+01:00".to_owned();
            planned::ClosedWindow { next, delay: delay.map(std::time::Duration::from_secs) }
        };
        let starts = |document: &Document| document.objects[1].steps[0].starts_after_seconds;
        let replaces = "replaces its nodes, at most 1 at a time: node.tags.service a -> b";
        let window = "nodes are replaced in a maintenance window: the next opens 2026-12-05T02:00:00+01:00";
        let (text, document) = replaced(None);
        assert!(text.contains(replaces) && !text.contains("window"), "{text}");
        assert_eq!(starts(&document), Some(0));
        let (text, document) = replaced(Some(closed(Some(7200))));
        assert!(text.contains(&format!("{window}; {replaces}")) && text.contains("2 h  "), "{text}");
        assert!(text.contains("once a maintenance window opens"), "{text}");
        assert_eq!(starts(&document), Some(7200));
        assert!(document.objects[1].steps[0].details.starts_with(window));
        assert_eq!(starts(&replaced(Some(closed(None))).1), None, "no window opens");
    }

    #[test]
    fn plan_for_programs() {
        let mut document = Document::default();
        document.add(&minimal(), false);
        insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap());
    }

    #[test]
    fn plan_as_a_comment() {
        let notes = ["AwsAccount prod is not in the manifest".to_owned()];
        insta::assert_snapshot!(markdown::comment(&[minimal()], &notes, &[], false));
        let refused = markdown::comment(&[], &[], &["spec.region: must be <a region>".to_owned()], true);
        assert!(
            refused.contains("it cannot be applied as it is") && refused.contains("&#60;a region&#62;"),
            "{refused}"
        );
    }

    #[test]
    fn cluster_that_is_only_context_is_not_part_of_the_answer() {
        let mut planned = minimal().into_iter();
        let context = planned.next().map(Planned::into_context);
        let all: Vec<_> = context.into_iter().chain(planned).collect();
        let mut document = Document::default();
        document.add(&all, false);
        let named: Vec<_> = document.objects.iter().map(|object| object.object.as_str()).collect();
        assert_eq!((named, document.changes), (vec!["NodeGroup default/demo-default"], true));
        let mut out = String::new();
        print::cluster(&mut out, &all, false);
        assert!(!out.contains("EksCluster"), "{out}");
    }

    #[test]
    fn problems_make_a_plan_that_cannot_be_applied() {
        let mut all = minimal();
        all[0].problems.push("spec.version: EKS offers no Kubernetes 1.99".to_owned());
        let mut document = Document::default();
        document.add(&all, true);
        assert_eq!(document.problems, ["EksCluster default/demo: spec.version: EKS offers no Kubernetes 1.99"]);
    }

    #[test]
    fn plan_on_an_existing_network_creates_no_network() {
        let text = planned("existing-network.yaml");
        assert!(!text.contains("VPC") && text.contains("control plane"), "{text}");
    }

    #[test]
    fn every_example_cluster_has_a_plan() {
        fn manifests(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    manifests(&path, found);
                } else if path.extension().is_some_and(|extension| extension == "yaml") {
                    found.push(path);
                }
            }
        }
        let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples"));
        let mut found = Vec::new();
        manifests(folder, &mut found);
        let has_cluster = |path: &std::path::PathBuf| {
            std::fs::read_to_string(path).unwrap().lines().any(|line| line == "kind: EksCluster")
        };
        found.retain(has_cluster);
        assert!(found.len() >= 7, "{found:?}");
        for path in found {
            let text = planned(path.strip_prefix(folder).unwrap().to_str().unwrap());
            assert!(text.contains("control plane"), "{}: {text}", path.display());
        }
    }

    #[test]
    fn specs_that_the_operator_refuses_are_refused() {
        let manifest = |change: fn(&str) -> String| {
            let text =
                std::fs::read_to_string(format!("{}/examples/minimal.yaml", env!("CARGO_MANIFEST_DIR"))).unwrap();
            Manifest::parse(&change(&text)).and_then(|m| manifest_clusters(&m, SourcePolicy::default()).map(drop))
        };
        let refused = |change| manifest(change).unwrap_err().to_string();
        let url = refused(|text| text.replace("https://github.com/acme/fleet", "file:///etc"));
        assert!(url.contains("spec.gitops.flux.source.git.url"), "{url}");
        let scaling = refused(|text| text.replace("min: 2, max: 4", "min: 5, max: 4"));
        assert!(
            scaling.contains("NodeGroup demo-default") && scaling.contains("spec.scaling: min must not be above max"),
            "{scaling}"
        );
        let unsupported = refused(|text| {
            text.replace("min: 2, max: 4}", "min: 2, max: 4}\n  roleArn: arn:aws:iam::111122223333:role/nodes\n  additionalRolePolicies: [arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore]")
        });
        assert!(unsupported.contains("spec.additionalRolePolicies together with spec.roleArn"), "{unsupported}");
    }
}
