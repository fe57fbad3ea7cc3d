//! `keelson move`: moves EksClusters with their NodeGroups, AwsAccounts and Secrets to another management cluster.
//! Only tags are written to AWS, by the operators of both. I/O: the APIs of both management clusters.
//!
//! Each step checks first whether it is done, so that an interrupted move can be run again with the same result.

mod abort;
mod checks;
mod copies;
mod preflight;
mod secrets;

use std::collections::BTreeMap;
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
use crate::api::{AwsAccount, EksCluster, HAND_OVER_ANNOTATION, NodeGroup};
use crate::controllers::runtime::apply::{self, Kind};
use crate::controllers::runtime::installation;
use copies::{ABORTED, Moved, SUSPENDED_BEFORE};
use secrets::References;

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
    /// How many seconds to wait for an operator to process one object.
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
    if let Some(going) = clusters.iter().find(|cluster| cluster.metadata.deletion_timestamp.is_some()) {
        bail!("EksCluster {} is being deleted: wait until it is gone", name_of(going));
    }
    let timeout = Duration::from_secs(args.timeout);
    let operator_namespace = args.operator_namespace.clone();
    let the = Move { from, to, installation: there, operator_namespace, timeout };
    if args.abort {
        super::print(&format!("undoing the move from installation {here} to installation {}\n", the.installation))?;
        for cluster in &clusters {
            the.abort(cluster, args.dry_run).await.with_context(|| format!("EksCluster {}", name_of(cluster)))?;
        }
        return super::print(if args.dry_run { "nothing was changed\n" } else { "undone\n" });
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
        say(&message)?;
    }
    the.check(accounts.keys().map(String::as_str), &clusters).await?;
    for (name, users) in &accounts {
        the.account(name, users, args.dry_run).await?;
    }
    for cluster in &clusters {
        the.cluster(cluster, args.dry_run).await.with_context(|| format!("EksCluster {}", name_of(cluster)))?;
    }
    super::print(if args.dry_run {
        "nothing was changed\n"
    } else {
        "moved. The EksClusters here are suspended, their NodeGroups with them, and none has a finalizer: delete them, which \
         deletes nothing in AWS\n"
    })
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

fn say(text: &str) -> anyhow::Result<()> {
    super::print(&format!("  {text}\n"))
}

impl Move {
    /// The AwsAccount here, which `users` name.
    async fn account(&self, name: &str, users: &[&EksCluster], dry_run: bool) -> anyhow::Result<()> {
        let Some((here, exists)) = self.account_exists(name).await? else { return Ok(()) };
        if exists {
            return say(&format!("AwsAccount {name}: exists"));
        }
        // Anybody may name any AwsAccount in a spec.
        if !users.iter().any(|cluster| copies::uses_account(cluster, &here)) {
            return say(&format!(
                "AwsAccount {name}: not copied, as it is open to none of the EksClusters that name it"
            ));
        }
        say(&format!("AwsAccount {name}: created there"))?;
        if !dry_run {
            let to = Api::<AwsAccount>::all(self.to.clone());
            to.create(&PostParams::default(), &copies::account(&here)).await?;
        }
        Ok(())
    }

    /// Moves a cluster with its node groups: hands over here, takes over there, removes the finalizers here.
    async fn cluster(&self, cluster: &EksCluster, dry_run: bool) -> anyhow::Result<()> {
        let namespace = cluster.namespace().unwrap_or_default();
        let groups = self.node_groups(cluster).await?;
        let secrets = References::of(&cluster.spec);
        say(&format!(
            "EksCluster {}, {} NodeGroups, {} Secrets: suspended and handed over here, taken over there",
            name_of(cluster),
            groups.len(),
            secrets.len()
        ))?;
        if !dry_run {
            self.namespace(&namespace).await?;
        }
        self.secrets(&namespace, &secrets, dry_run).await?;
        if dry_run {
            return Ok(());
        }
        // Suspended permanently before anything is handed over, so that two operators never work on it.
        // NodeGroups are asked for together with it, and awaited first: what cannot be handed over is found before
        // anything is created there.
        self.ask(cluster, true).await?;
        for group in &groups {
            self.ask(group, false).await?;
        }
        let mut handed_over_groups = Vec::new();
        for group in &groups {
            handed_over_groups.push(self.handed_over(group).await?);
        }
        let (handed_over, groups) = (self.handed_over(cluster).await?, handed_over_groups);
        self.take_over(&handed_over, copies::cluster(&handed_over)).await?;
        for group in &groups {
            self.take_over(group, copies::node_group(group)).await?;
        }
        for group in &groups {
            self.remove_finalizer(group).await?;
        }
        self.remove_finalizer(&handed_over).await
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
            let missing = self.operator_missing(&self.to).await?;
            if missing.is_none() || started.elapsed() >= wait {
                return Ok(missing);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Why no operator runs in that management cluster; `None`: one does.
    async fn operator_missing(&self, client: &Client) -> anyhow::Result<Option<String>> {
        checks::operator_missing(client, &self.operator_namespace).await
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

    /// Waits until the operator here has handed over its resources.
    async fn handed_over<K: Movable>(&self, object: &K) -> anyhow::Result<K> {
        let (api, name) = (K::in_namespace(&self.from, object), object.name_any());
        self.until(&self.from, &api, &name, "the operator here to hand it over", |now: &K| {
            // Without the finalizer it owns nothing in AWS, or was moved before.
            !apply::has_finalizer(now) || now.handed_over_to() == Some(&self.installation)
        })
        .await
    }

    /// Creates it there, and waits until the operator there has taken over its resources.
    async fn take_over<K: Movable>(&self, here: &K, copy: K) -> anyhow::Result<()> {
        let (api, name) = (K::in_namespace(&self.to, here), here.name_any());
        let uid = here.uid().unwrap_or_default();
        // An object without resources in AWS has nothing to take over.
        let owns = apply::has_finalizer(here) && here.handed_over_resources();
        let copy = if owns { copy } else { copies::without_recovery(copy) };
        match api.get_opt(&name).await? {
            None => drop(api.create(&PostParams::default(), &copy).await?),
            Some(there) if copies::is_copy(&there, &uid) || preflight::is_moved(here, &self.installation) => {}
            Some(_) => bail!("{} {} already exists there, and is not the moved object", K::NAME, name_of(here)),
        }
        if !owns {
            return Ok(());
        }
        let recovered = |now: &K| now.recovered_from() == Some(&uid);
        self.until(&self.to, &api, &name, "the operator there to take it over", recovered).await?;
        say(&format!("{} {}: taken over", K::NAME, name_of(here)))
    }

    /// Removes the finalizer here once the resources are taken over there.
    async fn remove_finalizer<K: Movable>(&self, object: &K) -> anyhow::Result<()> {
        apply::remove_finalizer(&self.from, object).await?;
        Ok(())
    }

    async fn until<K: Movable>(
        &self,
        client: &Client,
        api: &Api<K>,
        name: &str,
        what: &str,
        holds: impl Fn(&K) -> bool,
    ) -> anyhow::Result<K> {
        let started = std::time::Instant::now();
        loop {
            let now = api.get(name).await?;
            if holds(&now) {
                return Ok(now);
            }
            if started.elapsed() > self.timeout {
                let message =
                    now.ready_message().map(|message| format!("; its Ready condition: {message}")).unwrap_or_default();
                let missing = self.operator_missing(client).await.ok().flatten();
                let missing = missing.map(|missing| format!("; {missing}")).unwrap_or_default();
                bail!(
                    "waited {} s for {what}: {} {name}{message}{missing}. Run this again, or undo the move with --abort",
                    self.timeout.as_secs(),
                    K::NAME
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// A kind that moves.
trait Movable: Kind + Serialize + DeserializeOwned + Moved + Resource<Scope = NamespaceResourceScope> {
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
