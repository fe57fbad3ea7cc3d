//! The cluster's agent: its Secrets are read here, and its passes run beside the reconcile, so that a workload cluster that
//! does not answer never holds up AWS. I/O: the management cluster's Secrets; the rest through [`crate::gitops`].

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};

use super::facts::Facts as Seen;
use super::validate::ValidFlux;
use crate::api::node_group::SubnetTier;
use crate::api::reference::SecretReference;
use crate::api::status::GitOpsStatus;
use crate::api::{EksCluster, Reason};
use crate::aws::Session;
use crate::controllers::account::Refusal;
use crate::controllers::apply::told;
use crate::controllers::conditions::Says;
use crate::controllers::context::{Context, locked};
use crate::controllers::events::Told;
use crate::controllers::watch::digest;
use crate::engine::{Key, Memory};
use crate::gitops::error::GitOpsError;
use crate::gitops::flux::{Decryption, Facts, FluxInput, GitOpsOutcome, GitSource, SecretCopy, SecretData, Verdict};
use crate::gitops::token::StsEndpoint;
use crate::gitops::validate::{self as source, NamedSecret};
use crate::gitops::workload::{Access, Location};

/// Secrets are read again after this: not at each of the passes that follow each other while something is under way.
const SECRETS_KEPT: Duration = Duration::from_secs(10);
/// A Secret that is missing is looked for again after this.
pub const SECRET_AGAIN: SignedDuration = SignedDuration::from_secs(15);
/// After a pass that ended without a word (a panic).
const LOST: SignedDuration = SignedDuration::from_secs(60);

/// What is remembered of a cluster's agent. The pass that runs beside writes it.
#[derive(Clone, Default)]
pub struct Agent(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    running: bool,
    due: Option<Timestamp>,
    /// Of what was asked for in the last pass.
    asked: u64,
    verdict: Option<Verdict>,
    status: Option<GitOpsStatus>,
    endpoint_in_doubt: bool,
    news: Vec<Told>,
    secrets: Option<(Instant, u64, Result<FluxInput, Refusal>)>,
}

/// What the agent says now.
pub struct Word {
    /// For GitOpsReady.
    pub says: Says,
    /// For status.
    pub status: Option<GitOpsStatus>,
    /// When to come again.
    pub due: Option<Timestamp>,
    /// For events.
    pub news: Vec<Told>,
    /// The endpoint or its CA may have changed: look at the control plane.
    pub endpoint_in_doubt: bool,
}

/// Why the Secrets are not there.
pub enum Missing {
    /// A person has to change something.
    Refused(Refusal),
    /// They could not be read.
    Unread(String),
}

impl Agent {
    /// All that is to be applied but the facts, with the Secrets it names.
    pub async fn input(&self, ctx: &Context, namespace: &str, flux: &ValidFlux) -> Result<FluxInput, Missing> {
        let asked = digest(format!("{flux:?}"));
        if let Some((read, of, result)) = &locked(&self.0).secrets
            && *of == asked
            && read.elapsed() < SECRETS_KEPT
        {
            return result.clone().map_err(Missing::Refused);
        }
        let result = match read_input(ctx, namespace, flux).await {
            Ok(input) => Ok(input),
            Err(Missing::Refused(refusal)) => Err(refusal),
            Err(unread) => return Err(unread),
        };
        locked(&self.0).secrets = Some((Instant::now(), asked, result.clone()));
        result.map_err(Missing::Refused)
    }

    /// Everything is to be looked at anew.
    pub fn forget(&self) {
        let mut inner = locked(&self.0);
        inner.due = None;
        inner.secrets = None;
    }

    /// What it said last; its news only once.
    pub fn word(&self) -> Word {
        let mut inner = locked(&self.0);
        let says = match &inner.verdict {
            None => Says::no(Reason::Creating, "the agent comes when the control plane is there"),
            Some(Verdict { ready: true, reason, message }) => Says::yes(*reason, message),
            Some(Verdict { ready: false, reason, message }) => Says::no(*reason, message),
        };
        let due = if inner.running { None } else { inner.due };
        Word {
            says,
            status: inner.status.clone(),
            due,
            news: std::mem::take(&mut inner.news),
            endpoint_in_doubt: std::mem::take(&mut inner.endpoint_in_doubt),
        }
    }

    /// Starts a pass beside this reconcile, if one is due. At its end the cluster is reconciled again.
    pub fn poke(&self, ctx: &Arc<Context>, cluster: &EksCluster, input: FluxInput, access: Access, now: Timestamp) {
        let asked = digest((format!("{input:?}"), &access.endpoint, &access.certificate_authority));
        {
            let mut inner = locked(&self.0);
            let due = inner.due.is_none_or(|due| due <= now) || inner.asked != asked;
            if inner.running || !due {
                return;
            }
            inner.running = true;
            inner.asked = asked;
        }
        let (this, tasks, ctx) = (self.clone(), ctx, ctx.clone());
        let (key, object) = (cluster.uid().unwrap_or_default(), ObjectRef::from_obj(cluster));
        let pass = async move {
            let _running = Running { agent: this.clone(), ctx: ctx.clone(), object };
            let result = ctx.workloads.reconcile(&key, &access, &input, SystemTime::now()).await;
            this.heard(result, Timestamp::now());
        };
        let over = tasks.over.clone();
        tasks.tasks.spawn(async move { over.run_until_cancelled(pass).await });
    }

    fn heard(&self, result: Result<GitOpsOutcome, GitOpsError>, now: Timestamp) {
        let mut inner = locked(&self.0);
        let look_again = match result {
            Ok(GitOpsOutcome { status, verdict, changed, look_again }) => {
                if !changed.is_empty() {
                    inner.news.push(Told::normal("Applied", applied(&changed)));
                }
                inner.status = status.or(inner.status.take());
                inner.verdict = Some(verdict);
                look_again
            }
            Err(error) => {
                inner.endpoint_in_doubt = error.endpoint_in_doubt();
                inner.verdict = Some(Verdict::not_ready(error.reason(), error.to_string()));
                error.look_again()
            }
        };
        let pause = SignedDuration::try_from(look_again).unwrap_or(LOST);
        inner.due = now.checked_add(pause).ok();
    }
}

/// "12 objects in the cluster: Namespace flux-system, ...".
fn applied(changed: &[crate::gitops::flux::object::ObjectId]) -> String {
    let names: Vec<_> = changed.iter().take(5).map(ToString::to_string).collect();
    let more = changed.len().saturating_sub(names.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("in the cluster: {}{more}", names.join(", "))
}

/// A pass under way. However it ends, the cluster hears of it.
struct Running {
    agent: Agent,
    ctx: Arc<Context>,
    object: ObjectRef<EksCluster>,
}

impl Drop for Running {
    fn drop(&mut self) {
        {
            let mut inner = locked(&self.agent.0);
            inner.running = false;
            let now = Timestamp::now();
            if inner.due.is_none_or(|due| due <= now) {
                inner.due = now.checked_add(LOST).ok();
            }
        }
        self.ctx.queues.clusters.push(self.object.clone());
    }
}

async fn read_input(ctx: &Context, namespace: &str, flux: &ValidFlux) -> Result<FluxInput, Missing> {
    let ValidFlux { url, reference, source_interval, interval, components, spec, credentials, proxy } = flux;
    let git = "spec.gitops.flux.source.git";
    let secret = match credentials {
        None => None,
        Some(SecretReference { name }) => {
            let found = read(ctx, namespace, name).await?;
            let data = found.map(|secret| secret.data.unwrap_or_default());
            let named = NamedSecret { namespace, name, data: data.as_ref() };
            source::secret(url, Some(named)).map_err(|why| {
                Missing::Refused(Refusal::new(Reason::InvalidSpec, format!("{git}.secretRef: {why}")))
            })?;
            data.map(SecretData)
        }
    };
    let proxy_secret = copy(ctx, namespace, proxy.as_ref(), &format!("{git}.proxySecretRef")).await?;
    let pull = spec.image_pull_secret_ref.as_ref();
    let image_pull_secret = copy(ctx, namespace, pull, "spec.gitops.flux.imagePullSecretRef").await?;
    let decryption = match &spec.decryption {
        None => None,
        Some(decryption) => {
            let field = "spec.gitops.flux.decryption.secretRef";
            let secret = copy(ctx, namespace, decryption.secret_ref.as_ref(), field).await?;
            Some(Decryption { provider: decryption.provider.clone(), secret })
        }
    };
    Ok(FluxInput {
        components: components.clone(),
        registry: spec.registry.trim_end_matches('/').to_owned(),
        image_pull_secret,
        source: GitSource {
            url: url.clone(),
            reference: reference.clone(),
            interval: *source_interval,
            secret,
            proxy_secret,
        },
        path: spec.path.clone(),
        interval: *interval,
        prune: spec.prune,
        decryption,
        facts: None,
    })
}

async fn copy(
    ctx: &Context,
    namespace: &str,
    reference: Option<&SecretReference>,
    field: &str,
) -> Result<Option<SecretCopy>, Missing> {
    let Some(SecretReference { name }) = reference else { return Ok(None) };
    let Some(secret) = read(ctx, namespace, name).await? else {
        let message = format!("{field}: Secret {namespace}/{name} not found: create it, or name another one");
        return Err(Missing::Refused(Refusal::new(Reason::InvalidSpec, message)));
    };
    Ok(Some(SecretCopy {
        name: name.clone(),
        kind: secret.type_.unwrap_or_else(|| "Opaque".to_owned()),
        data: SecretData(secret.data.unwrap_or_default()),
    }))
}

/// Read, never watched: a cache of all Secrets of all tenants is nothing to keep in memory.
async fn read(ctx: &Context, namespace: &str, name: &str) -> Result<Option<Secret>, Missing> {
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    api.get_opt(name)
        .await
        .map_err(|error| Missing::Unread(format!("Secret {namespace}/{name} could not be read: {}", told(&error))))
}

/// What manifests in Git may refer to.
pub fn facts(memory: &Memory, cluster_name: &str, session: &Session) -> Facts {
    let seen = Seen(memory);
    Facts {
        cluster_name: cluster_name.to_owned(),
        aws_region: session.region.to_string(),
        aws_account_id: session.account_id.to_string(),
        vpc_id: seen.vpc_id(),
        private_subnet_ids: seen.subnet_ids(SubnetTier::Private),
        public_subnet_ids: seen.subnet_ids(SubnetTier::Public),
        oidc_issuer: seen.of_cluster("oidcIssuer"),
        oidc_provider_arn: seen.output(&Key::single("oidcProvider"), "arn"),
        cluster_endpoint: seen.of_cluster("endpoint"),
        cluster_security_group_id: seen.of_cluster("securityGroupId"),
        node_role_arn: seen.node_role_arn(),
        kubernetes_version: seen.of_cluster("version"),
    }
}

/// How the API of a cluster is reached that its own reconcile has located.
pub async fn access_of(ctx: &Context, cluster: &EksCluster, session: &Session) -> Option<Access> {
    let location = ctx.workloads.location(&cluster.uid()?)?;
    access_at(ctx, cluster, session, location).await
}

/// The same, of a cluster whose API is there.
pub async fn access_at(
    ctx: &Context,
    cluster: &EksCluster,
    session: &Session,
    Location { endpoint, certificate_authority }: Location,
) -> Option<Access> {
    let region = session.region.to_string();
    let sts = StsEndpoint::of_region(&region, ctx.settings.sts_endpoint.as_deref()).ok()?;
    let credentials = session.credentials().await.ok()?;
    let cluster_name = cluster.cluster_name();
    Some(Access { cluster_name, region, endpoint, certificate_authority, sts, credentials })
}

/// Where the cluster's API is, for those who only read from it.
pub fn locate(ctx: &Context, cluster: &EksCluster, memory: &Memory) {
    let seen = Seen(memory);
    let (endpoint, ca) = (seen.of_cluster("endpoint"), seen.of_cluster("certificateAuthority"));
    if let (true, Some(uid), Some(endpoint), Some(certificate_authority)) =
        (seen.has_api(), cluster.uid(), endpoint, ca)
    {
        ctx.workloads.locate(&uid, Location { endpoint, certificate_authority });
    }
}

/// How the cluster's API is reached, once it is there.
pub async fn access(
    memory: &Memory,
    cluster_name: &str,
    session: &Session,
    sts: Option<&str>,
) -> Result<Option<Access>, Verdict> {
    let seen = Seen(memory);
    let (Some(endpoint), Some(certificate_authority)) =
        (seen.of_cluster("endpoint"), seen.of_cluster("certificateAuthority"))
    else {
        return Ok(None);
    };
    let region = session.region.to_string();
    let sts = StsEndpoint::of_region(&region, sts)
        .map_err(|error| Verdict::not_ready(Reason::CredentialsUnavailable, error.to_string()))?;
    let credentials = session
        .credentials()
        .await
        .map_err(|error| Verdict::not_ready(Reason::CredentialsUnavailable, error.to_string()))?;
    Ok(Some(Access {
        cluster_name: cluster_name.to_owned(),
        region,
        endpoint,
        certificate_authority,
        sts,
        credentials,
    }))
}
