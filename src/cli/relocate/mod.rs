//! `keelson move`: moves EksClusters with their NodeGroups, AwsAccounts and Secrets to another management cluster.
//! Only tags are written to AWS, by the operators of both. I/O: the APIs of both management clusters.
//!
//! Each step checks first whether it is done, so that an interrupted move can be run again with the same result.

mod abort;
mod checks;
mod copied_secrets;
mod copies;
mod move_waits;
mod takeover_checks;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::connection::Connection;
use crate::api::listing::counted;
use crate::api::policy::ChangePolicy;
use crate::api::{AwsAccount, EksCluster, HAND_OVER_ANNOTATION, NodeGroup};
use crate::controllers::runtime::apply::{self, Kind};
use crate::controllers::runtime::installation;
use copied_secrets::References;
use copies::{ABORTED, MovedObject, SUSPENDED_BEFORE};
use move_waits::{Side, Wait};

/// Polling interval.
const POLL: Duration = Duration::from_millis(500);

/// How long an operator that starts may take to hold its Lease.
const OPERATOR_START: Duration = Duration::from_secs(20);

/// Flags of `keelson move`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson move --to new.kubeconfig --dry-run
  keelson move --to new.kubeconfig -n team-a
  keelson move --to new.kubeconfig --abort")]
pub struct Args {
    /// Kubeconfig of the management cluster to move to. KUBECONFIG, or --kubeconfig, is that of the one to move from.
    #[arg(long)]
    to: PathBuf,
    /// Context of that kubeconfig [default: its current one].
    #[arg(long)]
    to_context: Option<String>,
    /// Move the EksClusters of this namespace only.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Show what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Undo a move whose clusters were not taken over yet: delete the objects in the other cluster, take the resources
    /// back here, and resume.
    #[arg(long)]
    abort: bool,
    /// Namespace of the operator in both clusters: its ConfigMap holds the installation's id.
    #[arg(long, default_value = "keelson-system")]
    operator_namespace: String,
    /// How many seconds to wait for an operator to process one object. One that waits for a person does not hold up the
    /// others.
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    #[command(flatten)]
    connection: Connection,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    super::block_on(relocate(args))
}

struct Move {
    from: Client,
    to: Client,
    /// Id of the target installation.
    installation: String,
    /// Namespace of the operator in both.
    operator_namespace: String,
    timeout: Duration,
    /// The lines that were printed: a cluster that waits is polled.
    said: RefCell<BTreeSet<String>>,
}

async fn relocate(args: &Args) -> anyhow::Result<()> {
    let from = args.connection.client().await.context("the management cluster to move from")?;
    let to = target(args).await?;
    let (here, there) = (id(&from, args, "KUBECONFIG").await?, id(&to, args, "--to").await?);
    if here == there {
        bail!("both management clusters are installation {here}: give the new one another --installation-id");
    }
    let clusters = match &args.namespace {
        Some(namespace) => Api::<EksCluster>::namespaced(from.clone(), namespace),
        None => Api::all(from.clone()),
    };
    let clusters = clusters.list(&ListParams::default()).await.context("EksClusters")?.items;
    if clusters.is_empty() {
        return super::print("there is no EksCluster to move\n");
    }
    let timeout = Duration::from_secs(args.timeout);
    let operator_namespace = args.operator_namespace.clone();
    let the = Move { from, to, installation: there, operator_namespace, timeout, said: RefCell::default() };
    if args.abort {
        super::print(&format!("undoing the move from installation {here} to installation {}\n", the.installation))?;
        return the.abort_all(&clusters, args.dry_run).await;
    }
    let accounts = accounts_of(&clusters);
    super::print(&format!("from installation {here} to installation {}\n", the.installation))?;
    // An object without a finalizer owns nothing in AWS, and needs no operator to move.
    if clusters.iter().any(apply::has_finalizer)
        && let Some(missing) = the.operator_still_missing(args.dry_run).await?
    {
        let message = format!("--to: {missing}. Start it first, as nothing could take the clusters over");
        if !args.dry_run {
            bail!("{message}. Nothing was changed");
        }
        the.say(&message)?;
    }
    the.check(accounts.keys().map(String::as_str), &clusters).await?;
    for (name, users) in &accounts {
        the.account(name, users, args.dry_run).await?;
    }
    if args.dry_run {
        for cluster in &clusters {
            the.prepare(cluster, true).await.with_context(|| title(cluster))?;
        }
        return super::print("nothing was changed\n");
    }
    the.move_all(&clusters).await?;
    super::print(
        "moved. The EksClusters here are suspended, their NodeGroups with them, and none has a finalizer: delete them, which \
         deletes nothing in AWS\n",
    )
}

/// The names of the AwsAccounts, each with the clusters that name it.
fn accounts_of(clusters: &[EksCluster]) -> BTreeMap<String, Vec<&EksCluster>> {
    let mut found: BTreeMap<String, Vec<&EksCluster>> = BTreeMap::new();
    for cluster in clusters {
        found.entry(cluster.spec.account_name().to_owned()).or_default().push(cluster);
    }
    found
}

async fn target(args: &Args) -> anyhow::Result<Client> {
    let read = || format!("{} (--to)", args.to.display());
    let kubeconfig = Kubeconfig::read_from(&args.to).with_context(read)?;
    let options = KubeConfigOptions { context: args.to_context.clone(), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.with_context(read)?;
    Ok(Client::try_from(config)?)
}

async fn id(client: &Client, args: &Args, of: &str) -> anyhow::Result<String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &args.operator_namespace);
    let place = || format!("{of}: ConfigMap {}/keelson-installation (--operator-namespace)", args.operator_namespace);
    let found = api.get_opt("keelson-installation").await.with_context(place)?;
    let id = found.and_then(|found| found.data?.remove(installation::ID));
    id.with_context(|| format!("{} does not exist: install and start the operator there first", place()))
}

fn name_of<K: ResourceExt>(object: &K) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// `EksCluster default/demo`.
fn title<K: Kind>(object: &K) -> String {
    format!("{} {}", K::NAME, name_of(object))
}

impl Move {
    /// Prints a line, once.
    fn say(&self, text: &str) -> anyhow::Result<()> {
        if !self.said.borrow_mut().insert(text.to_owned()) {
            return Ok(());
        }
        super::print(&format!("  {text}\n"))
    }

    /// The management cluster of that side.
    fn client(&self, side: Side) -> &Client {
        match side {
            Side::Here => &self.from,
            Side::There => &self.to,
        }
    }

    /// The AwsAccount here, which `users` name.
    async fn account(&self, name: &str, users: &[&EksCluster], dry_run: bool) -> anyhow::Result<()> {
        let Some((here, there)) = self.account_in_both(name).await? else { return Ok(()) };
        if there.is_some() {
            return self.say(&format!("AwsAccount {name}: exists"));
        }
        // Anybody may name any AwsAccount in a spec.
        if !users.iter().any(|cluster| copies::uses_account(cluster, &here)) {
            return self
                .say(&format!("AwsAccount {name}: not copied, as it is open to none of the EksClusters that name it"));
        }
        self.say(&format!("AwsAccount {name}: created there"))?;
        if !dry_run {
            let to = Api::<AwsAccount>::all(self.to.clone());
            to.create(&PostParams::default(), &copies::account(&here)).await?;
        }
        Ok(())
    }

    /// What a cluster needs there before it is moved: its namespace and its Secrets.
    async fn prepare(&self, cluster: &EksCluster, dry_run: bool) -> anyhow::Result<Vec<NodeGroup>> {
        let namespace = cluster.namespace().unwrap_or_default();
        let groups = self.node_groups(cluster).await?;
        let secrets = References::of(&cluster.spec);
        let approvals = if cluster.spec.change_policy == ChangePolicy::Approval {
            ". changePolicy is Approval: the tags of each object are a plan that waits for its approval, here and then there"
        } else {
            ""
        };
        self.say(&format!(
            "EksCluster {}, {}, {}: suspended and handed over here, taken over there{approvals}",
            name_of(cluster),
            counted(groups.len(), "NodeGroup"),
            counted(secrets.len(), "Secret")
        ))?;
        if !dry_run {
            self.namespace(&namespace).await?;
        }
        self.secrets(&namespace, &secrets, dry_run).await?;
        Ok(groups)
    }

    /// Starts the move of a cluster with its node groups: asks the operator here to hand them over.
    async fn start(&self, cluster: &EksCluster) -> anyhow::Result<()> {
        let groups = self.prepare(cluster, false).await?;
        // Suspended permanently before anything is handed over, so that two operators never work on it.
        self.ask(cluster, true).await?;
        for group in &groups {
            self.ask(group, false).await?;
        }
        Ok(())
    }

    /// Continues the move of a cluster with its node groups as far as it goes: once all are handed over here, they are
    /// taken over there, and then the finalizers here are removed. Returns what it waits for; nothing: it is moved.
    async fn advance(&self, cluster: &EksCluster) -> anyhow::Result<Vec<Wait>> {
        // All of them first: what cannot be handed over is found before anything is created there.
        let mut waits = Vec::new();
        let here = self.handed_over(cluster, &mut waits).await?;
        let mut groups = Vec::new();
        for group in self.node_groups(cluster).await? {
            groups.push(self.handed_over(&group, &mut waits).await?);
        }
        if !waits.is_empty() {
            return Ok(waits);
        }
        waits.extend(self.take_over(&here, copies::cluster(&here)).await?);
        if !waits.is_empty() {
            return Ok(waits);
        }
        for group in &groups {
            waits.extend(self.take_over(group, copies::node_group(group)).await?);
        }
        if !waits.is_empty() {
            return Ok(waits);
        }
        for group in &groups {
            self.remove_finalizer(group).await?;
        }
        self.remove_finalizer(&here).await?;
        Ok(waits)
    }

    async fn namespace(&self, name: &str) -> anyhow::Result<()> {
        let api = Api::<Namespace>::all(self.to.clone());
        if api.get_opt(name).await?.is_none() {
            let namespace = Namespace { metadata: copies::meta(name, None), ..Namespace::default() };
            api.create(&PostParams::default(), &namespace).await?;
        }
        Ok(())
    }

    /// Why no operator runs there, after it had time to start.
    async fn operator_still_missing(&self, dry_run: bool) -> anyhow::Result<Option<String>> {
        let started = std::time::Instant::now();
        let wait = if dry_run { Duration::ZERO } else { OPERATOR_START.min(self.timeout) };
        loop {
            let missing = self.operator_missing(Side::There).await?;
            if missing.is_none() || started.elapsed() >= wait {
                return Ok(missing);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Why no operator runs on that side; `None`: one does.
    async fn operator_missing(&self, side: Side) -> anyhow::Result<Option<String>> {
        let missing = checks::unheld_lease(self.client(side), &self.operator_namespace).await?;
        Ok(missing.map(|lease| format!("no operator runs {side}: its Lease {lease} is not held")))
    }

    /// Asks the operator here to hand over its resources. Suspends it if `suspends`.
    async fn ask<K: Movable>(&self, object: &K, suspends: bool) -> anyhow::Result<()> {
        let api = K::in_namespace(&self.from, object);
        let name = object.name_any();
        let now = api.get(&name).await?;
        let before = copies::suspended_before(&now).unwrap_or_else(|| now.is_suspended()).to_string();
        let annotations = json!({HAND_OVER_ANNOTATION: self.installation, SUSPENDED_BEFORE: before, ABORTED: null});
        let mut patch = json!({"metadata": {"uid": now.uid(), "annotations": annotations}});
        if suspends {
            patch["spec"] = json!({"suspend": true});
        }
        api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// The object as it is now. Adds to `waits` if the operator here has not handed over its resources yet.
    async fn handed_over<K: Movable>(&self, object: &K, waits: &mut Vec<Wait>) -> anyhow::Result<K> {
        let now = K::in_namespace(&self.from, object).get(&object.name_any()).await?;
        // Without the finalizer it owns nothing in AWS, or was moved before.
        if apply::has_finalizer(&now) && now.handed_over_to() != Some(&self.installation) {
            waits.push(Wait::of(&now, Side::Here, "hand it over"));
        }
        Ok(now)
    }

    /// Creates it there. Returns what it waits for until the operator there has taken over its resources.
    async fn take_over<K: Movable>(&self, here: &K, copy: K) -> anyhow::Result<Option<Wait>> {
        let (api, name) = (K::in_namespace(&self.to, here), here.name_any());
        let uid = here.uid().unwrap_or_default();
        // An object without resources in AWS has nothing to take over.
        let owns = apply::has_finalizer(here) && here.handed_over_resources();
        let copy = if owns { copy } else { copies::without_recovery(copy) };
        let there = match api.get_opt(&name).await? {
            None => api.create(&PostParams::default(), &copy).await?,
            Some(there) if copies::is_copy(&there, &uid) || takeover_checks::is_moved(here, &self.installation) => {
                there
            }
            Some(_) => bail!("{} already exists there, and is not the moved object", title(here)),
        };
        if !owns {
            return Ok(None);
        }
        if there.recovered_from() != Some(&uid) {
            return Ok(Some(Wait::of(&there, Side::There, "take it over")));
        }
        self.say(&format!("{}: taken over", title(here)))?;
        Ok(None)
    }

    /// Removes the finalizer here once the resources are taken over there.
    async fn remove_finalizer<K: Movable>(&self, object: &K) -> anyhow::Result<()> {
        apply::remove_finalizer(&self.from, object).await?;
        Ok(())
    }
}

/// A kind that moves.
trait Movable: Kind + Serialize + DeserializeOwned + MovedObject + Resource<Scope = NamespaceResourceScope> {
    /// The API of the namespace that `object` is in.
    fn in_namespace(client: &Client, object: &Self) -> Api<Self> {
        Self::in_namespace_named(client, object.meta().namespace.as_deref())
    }

    /// The API of that namespace.
    fn in_namespace_named(client: &Client, namespace: Option<&str>) -> Api<Self> {
        Self::api(client, namespace)
    }
}

impl Movable for EksCluster {}
impl Movable for NodeGroup {}
