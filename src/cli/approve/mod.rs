//! `keelson approve`: shows the plans that wait, asks for confirmation, and approves them by a PlanApproval or an
//! annotation. I/O: the management cluster's API and the terminal.

pub mod pending_plans;
mod write_approvals;

use std::fmt::Write as _;

use anyhow::bail;

use super::confirm;
use super::connection::InNamespace;
use super::output::{self, Changed};
use super::plan::print;
use pending_plans::{ApprovalAnnotation, ApprovalState, Planned, Target};
use write_approvals::{Objects, Written};

/// How often objects that change meanwhile are read again.
const MAX_ATTEMPTS: usize = 20;

/// Flags of `keelson approve`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson approve demo               # shows the plans, and asks
  keelson approve demo --hash 3f9a1c2098765432
  keelson approve nodegroup/demo-spot -n team-a --yes
  keelson approve demo --hash 3f9a1c2098765432 -o name")]
pub struct Args {
    /// The EksCluster, including its NodeGroups; or nodegroup/NAME for a single one.
    name: Target,
    /// Approve only the plan with this hash, without asking.
    #[arg(long)]
    hash: Option<String>,
    /// Approve the plans that are shown, without asking.
    #[arg(short, long)]
    yes: bool,
    /// Approve by an annotation on the object instead of a PlanApproval: for users who may write the object and may
    /// not create PlanApprovals. An operator with --require-approval-objects ignores it.
    #[arg(long)]
    annotation: bool,
    /// Format: the PlanApprovals, or with --annotation the objects; `name`: only their names. The plans are then shown
    /// on standard error.
    #[arg(short, long, value_enum)]
    output: Option<Changed>,
    #[command(flatten)]
    place: InNamespace,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    super::block_on(approve(args))
}

async fn approve(args: &Args) -> anyhow::Result<()> {
    let mut written = Vec::new();
    let outcome = approve_all(args, &mut written).await;
    if let Some(format) = args.output {
        // Also what was approved before an error.
        let (document, names) = document(written);
        format.print(&document, &names)?;
    }
    outcome
}

/// What was approved, as a list and as names.
fn document(written: Vec<Written>) -> (serde_json::Value, String) {
    let names = written.iter().map(|one| format!("{}\n", one.name)).collect();
    (output::list(written.into_iter().map(|one| one.object).collect()), names)
}

/// Prints what is for people: with `-o`, on standard error.
fn say(args: &Args, text: &str) -> anyhow::Result<()> {
    match args.output {
        None => super::print(text),
        Some(_) if text.is_empty() => Ok(()),
        Some(_) => {
            super::note(&anstream::adapter::strip_str(text.trim_end()).to_string());
            Ok(())
        }
    }
}

/// Approves what waits, and adds it to `all`.
async fn approve_all(args: &Args, all: &mut Vec<Written>) -> anyhow::Result<()> {
    let (client, namespace) = args.place.client().await?;
    let objects = Objects { client, namespace };
    let approver = if args.annotation { None } else { Some(objects.approver().await) };
    let mut confirmed: Option<Vec<String>> = None;
    for _ in 0..MAX_ATTEMPTS {
        let mut found = objects.read(&args.name).await?;
        if approver.is_some() {
            found.iter_mut().for_each(Planned::ignore_annotations);
        }
        let waiting = waiting(&found, args.hash.as_deref())?;
        if waiting.is_empty() {
            return say(args, &nothing_waits(&found));
        }
        let hashes: Vec<_> = waiting.iter().map(|(object, _)| describe(object)).collect();
        if confirmed.as_ref() != Some(&hashes) {
            say(args, &plans(&waiting))?;
            confirm(args, confirmed.is_some())?;
            confirmed = Some(hashes);
        }
        let mut changed = false;
        for (object, annotation) in &waiting {
            if approver.is_none() && !object.takes_annotations() {
                bail!(
                    "{}: the operator accepts no approval by annotation (--require-approval-objects): approve without \
                     --annotation, or ask a user with the ClusterRole keelson-approve",
                    object.title()
                );
            }
            let written = match &approver {
                Some(by) => Some(objects.approve(object, by.as_deref()).await?),
                None => objects.annotate(object, annotation).await?,
            };
            let Some(written) = written else {
                changed = true;
                continue;
            };
            all.push(written);
            let how = if approver.is_some() { "" } else { " (by annotation)" };
            say(args, &format!("approved: {}{how}\n", describe(object)))?;
        }
        if !changed {
            return say(args, &next(&args.name, &objects.namespace, &waiting));
        }
    }
    bail!("the objects change faster than they can be approved: try again")
}

/// `EksCluster default/demo, plan 3f9a1c2098765432`.
fn describe(object: &Planned) -> String {
    let what = if object.release.is_some() { "release of its deletion" } else { "plan" };
    format!("{}, {what} {}", object.title(), object.hash())
}

/// What follows the approval of a new cluster: its node groups have plans once it exists.
fn next(target: &Target, namespace: &str, approved: &[(&Planned, ApprovalAnnotation)]) -> String {
    if !approved.iter().any(|(object, _)| object.is_new_cluster()) {
        return String::new();
    }
    let name = &target.name;
    format!(
        "next: once the cluster exists, the plans of its NodeGroups wait: keelson status {name} -n {namespace} -w shows \
         when, and keelson approve {name} -n {namespace} again approves them\n"
    )
}

/// The plans that wait, each with the approval that it needs.
fn waiting<'o>(found: &'o [Planned], hash: Option<&str>) -> anyhow::Result<Vec<(&'o Planned, ApprovalAnnotation)>> {
    let mut waiting = Vec::new();
    for object in found {
        match object.standing() {
            ApprovalState::Waits(annotation) => waiting.push((object, annotation)),
            ApprovalState::Outdated => {
                bail!("{}: its spec is newer than its plan: wait for the new plan", object.title())
            }
            ApprovalState::Approved | ApprovalState::Nothing(_) => {}
        }
    }
    if let Some(hash) = hash
        && !waiting.is_empty()
    {
        let others: Vec<_> = waiting.iter().map(|(object, _)| describe(object)).collect();
        waiting.retain(|(object, _)| object.hash() == hash);
        if waiting.is_empty() {
            bail!("no plan {hash} waits for approval; waiting are: {}", others.join("; "));
        }
    }
    Ok(waiting)
}

fn nothing_waits(found: &[Planned]) -> String {
    let line = |object: &Planned| match object.standing() {
        ApprovalState::Approved => format!("{}: approved, and not yet processed by the operator\n", describe(object)),
        ApprovalState::Nothing(ready_message) => {
            format!("{}: nothing waits for approval; {ready_message}\n", object.title())
        }
        ApprovalState::Waits(_) | ApprovalState::Outdated => String::new(),
    };
    found.iter().map(line).collect()
}

/// The plans, as they are shown before the question.
fn plans(waiting: &[(&Planned, ApprovalAnnotation)]) -> String {
    let mut out = String::new();
    for (object, _) in waiting {
        if let Some(obstacle) = object.obstacle() {
            let _ = writeln!(out, "{}: {obstacle}", object.title());
        }
        let title = object.end().map_or_else(|| describe(object), |end| format!("{}, {end}", describe(object)));
        print::status(&mut out, &title, &object.plan);
    }
    out
}

/// Asks for confirmation on a terminal. `again`: the plans changed after the user confirmed them.
fn confirm(args: &Args, again: bool) -> anyhow::Result<()> {
    let asks = !args.yes && args.hash.is_none();
    if again && !asks {
        bail!("a plan changed during its approval: review it, and approve again");
    }
    if !asks {
        return Ok(());
    }
    let question = if again { "The plan changed. Approve?" } else { "Approve?" };
    let instead = "review the plan, and approve it with --hash HASH, or everything that waits with --yes";
    if confirm::ask(question, instead)? { Ok(()) } else { bail!("not approved") }
}

#[cfg(test)]
mod tests {
    use super::pending_plans::tests::cluster;
    use super::{Planned, Written, document, next, nothing_waits, output, plans, waiting};
    use serde_json::{Value, json};

    #[test]
    fn a_plan_that_releases_deletes_nothing() {
        let end = |actions: &[&str]| {
            let step = |action: &&str| json!({"action": action, "resource": "nodeGroup/a", "state": "Pending"});
            let steps: Vec<Value> = actions.iter().map(step).collect();
            cluster(|object| {
                object["metadata"]["deletionTimestamp"] = json!("2026-11-21T10:00:00Z");
                object["status"]["plan"]["steps"] = json!(steps);
            })
            .end()
        };
        assert_eq!(end(&["Release"]), Some("to be released: it stays in AWS"));
        assert_eq!(end(&["Delete", "Release"]), Some("to be deleted, but for what is released"));
        assert_eq!((end(&["Delete"]), end(&[])), (Some("to be deleted"), Some("to be deleted")));
        assert_eq!(cluster(|_| ()).end(), None);
        let planned = cluster(|object| {
            object["status"]["plan"]["steps"] =
                json!([{"action": "Release", "resource": "nodeGroup/a", "state": "Pending"}]);
        });
        let mut out = String::new();
        crate::cli::plan::print::status(&mut out, "x", &planned.plan);
        let text = anstream::adapter::strip_str(&out).to_string();
        assert!(text.contains("\n  ^ node group a  to be released: it stays in AWS"), "{text}");
    }

    #[test]
    fn what_belongs_to_others_is_said_above_the_plan() {
        let foreign = cluster(|object| object["status"]["conditions"][0]["reason"] = json!("NotOwned"));
        let why = "NotOwned: plan 3f9a1c20 waits; approving does not solve it; see keelson recover";
        assert_eq!(foreign.obstacle().as_deref(), Some(why));
        assert_eq!(cluster(|_| ()).obstacle(), None);
    }

    #[test]
    fn text_for_people() {
        let found: [Planned; 1] = [cluster(|object| {
            object["status"]["plan"]["steps"] = json!([
                {"action": "Create", "resource": "cluster", "state": "Pending", "expectedSeconds": 480},
                {"action": "Update", "resource": "addon/coredns", "state": "Blocked", "reason": "no nodes"},
                {"action": "Delete", "resource": "natGateway/eu-west-1a", "state": "Running", "expectedSeconds": 65},
            ]);
            object["status"]["plan"]["omittedSteps"] = json!(2);
        })];
        let ready = cluster(|object| {
            object["status"]["conditions"][0]["reason"] = json!("Available");
            object["status"]["conditions"][0]["message"] = json!("Kubernetes 1.34");
        });
        let waiting = waiting(&found, None).unwrap();
        let after = next(&"demo".parse().unwrap(), "default", &waiting);
        let text = [plans(&waiting), after, nothing_waits(&[ready])].join("---\n");
        insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string());
    }

    #[test]
    fn answer_for_programs() {
        let object = json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "PlanApproval",
            "metadata": {"name": "demo-x7x2k", "namespace": "default", "managedFields": [{"manager": "keelson"}]},
            "spec": {"clusterRef": {"name": "demo"}, "hash": "3f9a1c20", "approvedBy": "alice"},
        });
        let approval: crate::api::PlanApproval = serde_json::from_value(object).unwrap();
        let (answer, names) = document(vec![Written::of(&approval).unwrap()]);
        insta::assert_snapshot!(output::format(&answer, output::Structured::Json).unwrap());
        assert_eq!(names, "planapproval.keelson.dev/demo-x7x2k\n");
        assert_eq!(document(Vec::new()).0["items"], json!([]));
    }

    #[test]
    fn cluster_that_is_created_is_new() {
        let creates = |resource: &str| {
            let step = json!({"action": "Create", "resource": resource, "state": "Pending"});
            cluster(|object| object["status"]["plan"]["steps"] = json!([step])).is_new_cluster()
        };
        assert!(creates("cluster") && !creates("addon/coredns") && !cluster(|_| ()).is_new_cluster());
    }
}
