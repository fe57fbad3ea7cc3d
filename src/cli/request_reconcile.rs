//! `keelson reconcile`: asks the operator to compare an object with AWS now, by an annotation, and with `--wait` waits for
//! the result. I/O: the management cluster's API.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::approve::pending_plans::{Kind, Target};
use super::connection::{InNamespace, found};
use super::field_managers::MANAGER;
use super::output::{self, Changed, say};
use super::status::{overview, print};
use super::subject::Subject;
use super::watching::Watched;
use crate::api::conditions::ConditionType;
use crate::api::{EksCluster, NodeGroup, RECONCILE_AT_ANNOTATION};

/// How long it waits, unless the user says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Flags of `keelson reconcile`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson reconcile demo --wait      # exits with 0 once it is ready, with 1 if it is stalled
  keelson reconcile nodegroup/demo-spot
  keelson reconcile demo --wait --timeout 20m

It sets an annotation on the object and returns: the operator then compares it with AWS at once, instead of at the next
interval, and changes what its policies allow. It also retries an update of EKS that failed three times.")]
pub struct Args {
    /// The EksCluster, including its NodeGroups; or nodegroup/NAME for a single one.
    name: Target,
    /// Wait until everything in the spec exists and is ready; of an object that is being deleted, until it is gone.
    #[arg(long)]
    wait: bool,
    /// How long to wait; implies --wait [default: 30m].
    #[arg(long, value_parser = super::controller::duration)]
    timeout: Option<Duration>,
    /// Format: the objects with the request; `name`: only their names. What happens is then shown on standard error.
    #[arg(short, long, value_enum)]
    output: Option<Changed>,
    #[command(flatten)]
    place: InNamespace,
}

/// Runs the command.
///
/// # Errors
/// The object cannot be changed, or with `--wait` it is stalled or not ready in time.
pub fn run(args: &Args) -> anyhow::Result<()> {
    super::block_on(reconcile(args))
}

async fn reconcile(args: &Args) -> anyhow::Result<()> {
    let (client, namespace) = args.place.client().await?;
    let requested = Timestamp::now().to_string();
    let (objects, is_deleted) = annotate(&client, &namespace, &args.name, &requested).await?;
    let lines: String = objects.iter().map(|one| format!("{}: reconcile requested\n", one.title)).collect();
    say(args.output, &lines)?;
    if let Some(format) = args.output {
        let names: String = objects.iter().map(|one| format!("{}\n", one.name)).collect();
        format.print(&output::list(objects.into_iter().map(|one| one.object).collect()), &names)?;
    }
    let waits = args.wait || args.timeout.is_some();
    if waits { wait(args, &client, &namespace, &requested, is_deleted).await } else { Ok(()) }
}

/// An object that carries the request.
struct Requested {
    /// `EksCluster team-a/demo`.
    title: String,
    /// `ekscluster.keelson.dev/demo`.
    name: String,
    /// As the API server stores it.
    object: Value,
}

impl Requested {
    fn new<K>(kind: Kind, object: &K) -> anyhow::Result<Self>
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let title = format!("{kind} {}/{}", object.namespace().unwrap_or_default(), object.name_any());
        Ok(Self { title, name: output::name(object), object: output::object(object)? })
    }
}

/// Sets the annotation on the object, and on the node groups of a cluster. Returns them, and whether the object is being
/// deleted.
async fn annotate(
    client: &Client,
    namespace: &str,
    target: &Target,
    requested: &str,
) -> anyhow::Result<(Vec<Requested>, bool)> {
    let Target { kind, name } = target;
    let patch = Patch::Merge(json!({"metadata": {"annotations": {RECONCILE_AT_ANNOTATION: requested}}}));
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let groups = Api::<NodeGroup>::namespaced(client.clone(), namespace);
    if *kind == Kind::NodeGroup {
        let group = found(groups.patch(name, &params, &patch).await, kind, namespace, name)?;
        return Ok((vec![Requested::new(*kind, &group)?], group.metadata.deletion_timestamp.is_some()));
    }
    let clusters = Api::<EksCluster>::namespaced(client.clone(), namespace);
    let cluster = found(clusters.patch(name, &params, &patch).await, kind, namespace, name)?;
    let mut objects = vec![Requested::new(*kind, &cluster)?];
    let of_cluster = ListParams::default().fields(&format!("spec.clusterRef.name={name}"));
    let of_cluster = groups.list_metadata(&of_cluster).await.with_context(|| format!("the NodeGroups of {name}"))?;
    for group in of_cluster.iter().map(|group| group.name_any()) {
        let place = || format!("{} {namespace}/{group}", Kind::NodeGroup);
        let group = groups.patch(&group, &params, &patch).await.with_context(place)?;
        objects.push(Requested::new(Kind::NodeGroup, &group)?);
    }
    Ok((objects, cluster.metadata.deletion_timestamp.is_some()))
}

/// Waits until all objects were reconciled after the request, and are ready; or until the object is gone, if it was
/// being deleted then.
async fn wait(args: &Args, client: &Client, namespace: &str, requested: &str, is_deleted: bool) -> anyhow::Result<()> {
    let timeout = args.timeout.unwrap_or(TIMEOUT);
    let deadline = Instant::now() + timeout;
    let mut watched = Watched::start(client, Some(namespace));
    watched.ready().await?;
    let (mut shown, zone) = (String::new(), TimeZone::system());
    loop {
        let of = watched.subjects(Some(&args.name));
        let Target { kind, name } = &args.name;
        let first = match of.first().filter(|first| first.kind == *kind) {
            Some(first) => first,
            None if is_deleted => return say(args.output, &format!("{kind} {namespace}/{name} is deleted\n")),
            None => bail!("{kind} {namespace}/{name} was deleted meanwhile"),
        };
        let now = Timestamp::now();
        let line = print::line(&overview::overview(first, &of[1..], Vec::new(), now), now, &zone);
        let details = line.split_once(' ').map_or("", |(_, rest)| rest).to_owned();
        // Progress is for people, not for the log of a script.
        if std::io::stderr().is_terminal() && details != shown {
            crate::cli::note(&line);
        }
        shown = details;
        let pending: Vec<&Subject> = of.iter().filter(|one| !is_answered(one, requested)).collect();
        if pending.is_empty() {
            if let Some(stalled) = of.iter().find(|one| is_stopped(one)) {
                bail!("{} is {}: {}", stalled.title(), stalled.reason(), stalled.doing());
            }
            if of.iter().all(|one| one.is_true(ConditionType::Ready)) {
                return say(args.output, &format!("{} is ready\n", first.title()));
            }
        }
        tokio::select! {
            change = watched.changed() => change?,
            () = tokio::time::sleep_until(deadline) => {
                let operator = pending.iter().map(|one| one.title()).collect::<Vec<_>>().join(", ");
                if operator.is_empty() {
                    bail!("not ready after {} s: {shown}", timeout.as_secs());
                }
                bail!("{operator}: not reconciled within {} s. Is the operator running (keelson version)?",
                    timeout.as_secs());
            }
        }
    }
}

/// Whether the operator has acted on the request, for the current spec.
fn is_answered(one: &Subject, requested: &str) -> bool {
    one.is_observed() && one.last_handled_reconcile_at.as_deref() == Some(requested)
}

/// Whether it does not go on by itself.
fn is_stopped(one: &Subject) -> bool {
    !one.is_true(ConditionType::Ready) && !one.is_true(ConditionType::Reconciling)
}
