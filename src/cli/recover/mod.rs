//! `keelson recover`: compares what carries Keelson's tags in AWS with the existing objects, and sets the annotation
//! by which objects take over what earlier objects of the same name owned. I/O: the management cluster's API; reads
//! from AWS, with the credentials of the environment.

mod document;
mod places;
mod verdicts;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::approve::pending_plans::{Kind, Target};
use super::connection::InNamespace;
use super::output::Changed;
use super::reading;
use crate::api::{AwsAccount, EksCluster, NodeGroup, RECOVER_ANNOTATION};
use crate::aws::{Identity, MaxStaleness};
use crate::controllers::account::{self, Request};
use crate::controllers::runtime::installation;
use crate::resources::inventory::{self, tagged_resources};
use crate::resources::recovery::takeover::TaggedResource;
use document::{Document, State};
use verdicts::{Line, Object, Verdict};

/// Flags of `keelson recover`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson recover                    # lists only
  keelson recover --all --dry-run
  keelson recover nodegroup/demo-spot -n team-a
  keelson recover -o json | jq '.resources[].verdict'")]
pub struct Args {
    /// The EksCluster or nodegroup/NAME that takes over what an earlier object of its name owned. Without it, and
    /// without --all, the command only lists.
    #[arg(conflicts_with = "all")]
    name: Option<Target>,
    /// Every object takes over what an earlier object of its name owned.
    #[arg(long)]
    all: bool,
    /// List only.
    #[arg(long)]
    dry_run: bool,
    /// List each resource.
    #[arg(short, long)]
    verbose: bool,
    /// UID of the earlier object, if there were several.
    #[arg(long, requires = "name")]
    uid: Option<String>,
    /// Also search these regions of every AwsAccount, besides those in which objects are, and those of
    /// spec.allowedRegions or, without it, AWS_REGION.
    #[arg(long, value_delimiter = ',')]
    region: Vec<String>,
    /// Namespace of the operator: its ConfigMap holds the installation's id.
    #[arg(long, default_value = "keelson-system")]
    operator_namespace: String,
    /// Id of this installation [default: the one in the ConfigMap keelson-installation].
    #[arg(long, value_parser = installation::parse)]
    installation_id: Option<String>,
    /// Use the credentials of the environment for objects that have no AwsAccount, like the operator's flag of the
    /// same name.
    #[arg(long, env = "KEELSON_ALLOW_AMBIENT_ACCOUNT")]
    allow_ambient_account: bool,
    /// Format: what was found in AWS, and the objects that take something over or can; `name`: only their names.
    #[arg(short, long, value_enum)]
    output: Option<Changed>,
    #[command(flatten)]
    place: InNamespace,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    super::block_on(recover(args))
}

/// The objects of the management cluster.
struct Cluster {
    clusters: Vec<EksCluster>,
    groups: Vec<NodeGroup>,
    accounts: Vec<AwsAccount>,
}

async fn recover(args: &Args) -> anyhow::Result<()> {
    let client = args.place.connection.client().await?;
    let installation = installation_id(args, &client).await?;
    let all = read(&client).await?;
    let objects: Vec<Object> =
        all.clusters.iter().map(Object::from).chain(all.groups.iter().map(Object::from)).collect();
    let mut lines = Vec::new();
    let searched = places(args, &all);
    for (identity, region) in &searched {
        let account = identity.account_id.clone().unwrap_or_else(|| "of the environment".to_owned());
        match found(identity, region).await {
            Ok((account_id, found)) => {
                let place = format!("{account_id} {region}");
                lines.extend(verdicts::lines(&place, &found, &objects, installation.as_deref()));
            }
            // A closed account must not prevent recovery in the others.
            Err(error) => crate::cli::note(&format!("account {account}, {region} is left out: {error:#}")),
        }
    }
    if args.output.is_none() {
        super::print(&if args.verbose { verdicts::details(&lines) } else { verdicts::table(&lines) })?;
    }
    let searched = places::describe(&searched);
    let found = Found { lines: &lines, installation: installation.as_deref(), searched: &searched };
    let chosen = select(args, &client, &objects, &found)?;
    let mut document = Document::new(&lines, installation.as_deref());
    if args.dry_run || chosen.is_empty() {
        for (number, uids) in verdicts::recoverable(&lines) {
            document.add(&objects[number], uids.into_iter().collect(), State::Recoverable);
        }
        match args.output {
            Some(format) => format.print(&document, &document.names())?,
            None => super::print(&hint(&found))?,
        }
        let other = verdicts::other_installations(&lines, None);
        if args.all && !args.dry_run && !other.is_empty() {
            bail!("nothing was taken over: {}", verdicts::describe_other_installations(&other, found.installation));
        }
        return Ok(());
    }
    let now = Timestamp::now().as_second();
    let next = next(&chosen, &objects);
    let mut outcome = Ok(());
    for (object, uid) in chosen {
        let name = format!("{} -n {}", object.argument, object.namespace);
        let (state, text) = match verdicts::text(object, &uid, now) {
            Some(text) => {
                outcome = annotate(&client, object, &text).await.with_context(|| name.clone());
                if outcome.is_err() {
                    break;
                }
                let text = format!("{name}: takes over what UID {uid} owned ({RECOVER_ANNOTATION}: {text})\n");
                (State::Requested, text)
            }
            None => {
                (State::AlreadyRequested, format!("{name}: is already annotated to take over what UID {uid} owned\n"))
            }
        };
        document.add(object, vec![uid], state);
        if args.output.is_none() {
            super::print(&text)?;
        }
    }
    match args.output {
        // Also what was done before an error.
        Some(format) => format.print(&document, &document.names())?,
        None if outcome.is_ok() => super::print(&next)?,
        None => {}
    }
    outcome
}

/// The approvals that what was chosen waits for, a line for each cluster.
fn next(chosen: &[(&Object, String)], objects: &[Object]) -> String {
    let mut clusters: Vec<&Object> = Vec::new();
    for (object, _) in chosen {
        let is_its = |other: &&Object| other.node_group.is_none() && other.cluster == object.cluster;
        let cluster = objects.iter().find(is_its).filter(|cluster| cluster.needs_approval);
        clusters.extend(cluster.filter(|cluster| !clusters.iter().any(|one| one.uid == cluster.uid)));
    }
    let line = |cluster: &Object| {
        let name = cluster.cluster.rsplit('/').next().unwrap_or_default();
        format!(
            "next: the plan of {name} waits for approval, and after it those of its NodeGroups: keelson approve {name} \
             -n {}, and the same again\n",
            cluster.namespace
        )
    };
    clusters.into_iter().map(line).collect()
}

async fn installation_id(args: &Args, client: &Client) -> anyhow::Result<Option<String>> {
    /// The operator's default, unless its Lease has another name.
    const NAME: &str = "keelson-installation";
    if args.installation_id.is_some() {
        return Ok(args.installation_id.clone());
    }
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &args.operator_namespace);
    let place = || format!("ConfigMap {}/{NAME} (--operator-namespace, --installation-id)", args.operator_namespace);
    let found = api.get_opt(NAME).await.with_context(place)?;
    let id = found.and_then(|found| found.data?.remove(installation::ID));
    if id.is_none() {
        bail!("{} does not exist: start the operator first, which creates it", place());
    }
    Ok(id)
}

/// Reads all of them: resources of an object that is missed would count as having no owner.
async fn read(client: &Client) -> anyhow::Result<Cluster> {
    let all = ListParams::default();
    let clusters = Api::<EksCluster>::all(client.clone()).list(&all).await.context("EksClusters of all namespaces")?;
    let groups = Api::<NodeGroup>::all(client.clone()).list(&all).await.context("NodeGroups of all namespaces")?;
    let accounts = Api::<AwsAccount>::all(client.clone()).list(&all).await.context("AwsAccounts")?;
    Ok(Cluster { clusters: clusters.items, groups: groups.items, accounts: accounts.items })
}

/// What was found in AWS.
struct Found<'a> {
    lines: &'a [Line],
    installation: Option<&'a str>,
    /// Which accounts and regions were searched.
    searched: &'a str,
}

/// The accounts and regions to search.
fn places(args: &Args, all: &Cluster) -> BTreeSet<(Identity, String)> {
    let find = |name: &str| all.accounts.iter().find(|one| one.name_any() == name).map(|one| one.spec.clone());
    let mut places = BTreeSet::new();
    for cluster in &all.clusters {
        match account::grant(&Request::of(cluster), args.allow_ambient_account, find) {
            Ok(grant) => {
                places.insert((grant.identity, cluster.spec.region.clone()));
            }
            Err(refusal) => crate::cli::note(&format!(
                "EksCluster {}/{} is left out: {}",
                cluster.namespace().unwrap_or_default(),
                cluster.name_any(),
                refusal.message
            )),
        }
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let environment = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    for account in &all.accounts {
        let identity = account::identity(&account.name_any(), &account.spec);
        let regions = places::regions(&account.spec, &args.region, environment.as_deref());
        places.extend(regions.into_iter().map(|region| (identity.clone(), region)));
        if !places.iter().any(|(other, _)| *other == identity) {
            crate::cli::note(&format!(
                "AwsAccount {} is left out, as no EksCluster, no spec.allowedRegions and no AWS_REGION names a region: \
                 pass --region",
                account.name_any()
            ));
        }
    }
    places
}

/// Everything in an account and region that carries an owner's tag, and the account's id.
async fn found(identity: &Identity, region: &str) -> anyhow::Result<(String, Vec<TaggedResource>)> {
    let aws = &reading::session(identity, region).await?;
    let mut found = tagged_resources::in_account(aws, MaxStaleness::now()).await?;
    for name in inventory::clusters(aws).await? {
        if let Some((_, more)) = tagged_resources::in_cluster(aws, &name).await? {
            found.extend(more);
        }
        found.extend(tagged_resources::node_groups(aws, &name).await?);
    }
    let known: BTreeSet<String> = found.iter().map(|one| one.id.clone()).collect();
    let providers = tagged_resources::oidc_providers(aws).await?;
    found.extend(providers.into_iter().filter(|one| !known.contains(&one.id)));
    Ok((aws.account_id.to_string(), found))
}

/// The objects that take something over, each with the earlier UID.
fn select<'o>(
    args: &Args,
    client: &Client,
    objects: &'o [Object],
    found: &Found<'_>,
) -> anyhow::Result<Vec<(&'o Object, String)>> {
    let recoverable: BTreeMap<usize, BTreeSet<String>> = verdicts::recoverable(found.lines);
    let named = match &args.name {
        None if args.all => None,
        None => return Ok(Vec::new()),
        Some(target) => {
            let namespace = args.place.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
            let kind = if target.kind == Kind::EksCluster { "ekscluster" } else { "nodegroup" };
            let argument = format!("{kind}/{}", target.name);
            let is_it = |object: &Object| (&object.argument, &object.namespace) == (&argument, &namespace);
            let Some(number) = objects.iter().position(is_it) else {
                bail!(
                    "{argument} does not exist in namespace {namespace}: apply it first; it takes over once it exists"
                )
            };
            let Some(uids) = recoverable.get(&number) else {
                let why = verdicts::describe_nothing(found.lines, number, found.installation, found.searched);
                bail!("{argument} -n {namespace}: {why}");
            };
            if let Some(uid) = args.uid.as_ref().filter(|uid| !uids.contains(*uid)) {
                let uids = uids.iter().cloned().collect::<Vec<_>>().join(", ");
                bail!("{argument} -n {namespace}: nothing in AWS of this name carries UID {uid}; it carries {uids}");
            }
            Some(number)
        }
    };
    let mut chosen = Vec::new();
    for (number, object) in objects.iter().enumerate().filter(|(number, _)| named.is_none_or(|one| one == *number)) {
        let uids: Vec<String> = match &args.uid {
            Some(uid) => vec![uid.clone()],
            None => recoverable.get(&number).into_iter().flatten().cloned().collect(),
        };
        match uids.as_slice() {
            [] => {}
            [uid] => chosen.push((object, uid.clone())),
            // A recovery also takes over what carries the object's own UID.
            [one, other] if *one == object.uid => chosen.push((object, other.clone())),
            [one, other] if *other == object.uid => chosen.push((object, one.clone())),
            several => bail!(
                "{} -n {}: several objects had this name, with UIDs {}: choose one with --uid",
                object.argument,
                object.namespace,
                several.join(", ")
            ),
        }
    }
    Ok(chosen)
}

fn hint(found: &Found<'_>) -> String {
    let objects = verdicts::recoverable(found.lines).len();
    let mut text = match objects {
        0 => "nothing can be taken over\n".to_owned(),
        1 => "one object can take over what an earlier one of its name owned; nothing was changed\n".to_owned(),
        many => {
            format!("{many} objects can take over what earlier ones of their names owned; nothing was changed\n")
        }
    };
    let other = verdicts::other_installations(found.lines, None);
    if !other.is_empty() {
        text.push_str(&verdicts::describe_other_installations(&other, found.installation));
        text.push('\n');
    }
    if found.lines.iter().any(|line| line.verdict == Verdict::Orphaned) {
        text.push_str("to take over what is orphaned, apply the object of that name first, and run this again\n");
    }
    format!("{text}{}\n", found.searched)
}

/// Sets the annotation on exactly this object.
async fn annotate(client: &Client, object: &Object, text: &str) -> anyhow::Result<()> {
    let name = object.argument.split('/').nth(1).unwrap_or_default();
    let body = json!({"metadata": {"uid": object.uid, "annotations": {RECOVER_ANNOTATION: text}}});
    let (params, patch) = (PatchParams::default(), Patch::Merge(body));
    match object.node_group {
        None => Api::<EksCluster>::namespaced(client.clone(), &object.namespace)
            .patch(name, &params, &patch)
            .await
            .map(drop)?,
        Some(_) => Api::<NodeGroup>::namespaced(client.clone(), &object.namespace)
            .patch(name, &params, &patch)
            .await
            .map(drop)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approval_that_follows_is_named_once_for_each_cluster() {
        let cluster = |name: &str, policy: &str| -> Object {
            let object = json!({
                "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
                "metadata": {"name": name, "namespace": "team", "uid": name},
                "spec": {"region": "eu-west-1", "version": "1.34", "changePolicy": policy},
            });
            Object::from(&serde_json::from_value::<EksCluster>(object).unwrap())
        };
        let group = |of: &str| -> Object {
            let object = json!({
                "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup",
                "metadata": {"name": format!("{of}-default"), "namespace": "team", "uid": format!("{of}-default")},
                "spec": {"clusterRef": {"name": of}, "scaling": {"min": 1, "max": 2}},
            });
            Object::from(&serde_json::from_value::<NodeGroup>(object).unwrap())
        };
        let objects = [cluster("shop", "Approval"), cluster("free", "Automatic"), group("shop"), group("free")];
        let chosen: Vec<_> = objects.iter().map(|object| (object, "old".to_owned())).collect();
        let text = next(&chosen, &objects);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("keelson approve shop -n team"), "{text}");
        assert_eq!(next(&chosen[2..3], &objects), text, "the node group alone");
        assert_eq!(next(&chosen[1..2], &objects), "");
    }
}
