//! `keelson controller`: turns flags into options.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgAction, ValueEnum};

use super::cluster_page::ControllerPageArgs;
use crate::agents::hub;
use crate::agents::validate_source::SourcePolicy;
use crate::controllers::deletions::{AllLimits, Limits};
use crate::controllers::runtime::installation;
use crate::controllers::runtime::lease_timing::Timing;
use crate::controllers::runtime::settings::Settings;
use crate::controllers::{self, Options};
use crate::resources::cloud::Intervals;
use crate::telemetry::logs;
use crate::telemetry::traces::{Endpoint, Traces};
use crate::workload::proxy::Proxy;

/// Format of log lines.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    Json,
    Text,
}

/// Flags of `keelson controller`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Work only while holding a Lease, so that a second replica can stand by. With `false`, run a single replica.
    #[arg(long, env = "KEELSON_LEADER_ELECTION", default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    leader_election: bool,
    /// Namespace of the Lease, and of the ConfigMap with duration estimates [default: the one this runs in, else
    /// `default`].
    #[arg(long, env = "KEELSON_LEADER_ELECTION_NAMESPACE")]
    leader_election_namespace: Option<String>,
    /// Name of the Lease. The ConfigMaps have the same name with the suffix `-duration-estimates`, `-deletions` or
    /// `-installation`.
    #[arg(long, env = "KEELSON_LEADER_ELECTION_NAME", default_value = "keelson")]
    leader_election_name: String,
    /// How long a standby waits for a renewal of the Lease before it takes over.
    #[arg(long, env = "KEELSON_LEASE_DURATION", default_value = "15s", value_parser = duration)]
    lease_duration: Duration,
    /// How long the leader writes to AWS after its last renewal of the Lease; a write that gets no answer by then is
    /// abandoned.
    #[arg(long, env = "KEELSON_RENEW_DEADLINE", default_value = "10s", value_parser = duration)]
    renew_deadline: Duration,
    /// How often the leader renews the Lease, and a standby checks it.
    #[arg(long, env = "KEELSON_RETRY_PERIOD", default_value = "2s", value_parser = duration)]
    retry_period: Duration,
    /// How often steady resources in AWS are compared with the spec [default: 10m; with an event queue 1h].
    #[arg(long, env = "KEELSON_DRIFT_INTERVAL", value_parser = duration)]
    drift_interval: Option<Duration>,
    /// URL of an SQS queue into which EventBridge rules put CloudTrail's events of EKS, EC2 and IAM
    /// (deploy/event-queue): external changes are then observed within seconds. Read with the operator's own
    /// credentials.
    #[arg(long, env = "KEELSON_EVENT_QUEUE_URL", value_parser = queue_url)]
    event_queue_url: Option<String>,
    /// Unique ids of the principals whose messages in the event queue are read, as SQS records them (SenderId),
    /// separated by commas [default: all principals].
    #[arg(long, env = "KEELSON_EVENT_QUEUE_SENDER_ID", value_delimiter = ',')]
    event_queue_sender_id: Vec<String>,
    /// How long the deletion of a cluster waits for the load balancers of its workload before it continues without.
    #[arg(long, env = "KEELSON_LOAD_BALANCER_TIMEOUT", default_value = "10m", value_parser = duration)]
    load_balancer_timeout: Duration,
    /// How long a read from AWS may miss a recent write.
    #[arg(long, env = "KEELSON_READ_AFTER_WRITE_WINDOW", default_value = "10s", value_parser = duration)]
    read_after_write_window: Duration,
    /// How long Pods may hold credentials of a role that Keelson created for them: one that another role replaced is
    /// deleted after this.
    #[arg(long, env = "KEELSON_POD_CREDENTIALS_LIFETIME", default_value = "6h", value_parser = duration)]
    pod_credentials_lifetime: Duration,
    /// How many clusters of a namespace may start deletion within an hour. The rest wait for `keelson approve`.
    #[arg(long, env = "KEELSON_MAX_DELETIONS", default_value_t = 3)]
    max_deletions: u32,
    /// How many clusters of all namespaces together may start deletion within an hour. Those of one namespace count
    /// for at most --max-deletions.
    #[arg(long, env = "KEELSON_MAX_DELETIONS_TOTAL", default_value_t = 10)]
    max_deletions_total: u32,
    /// How many NodeGroups of a namespace may start deletion within an hour while their clusters stay. The rest wait for
    /// `keelson approve`.
    #[arg(long, env = "KEELSON_MAX_NODE_GROUP_DELETIONS", default_value_t = 10)]
    max_node_group_deletions: u32,
    /// How many such NodeGroups of all namespaces together may start deletion within an hour. Those of one namespace
    /// count for at most --max-node-group-deletions.
    #[arg(long, env = "KEELSON_MAX_NODE_GROUP_DELETIONS_TOTAL", default_value_t = 30)]
    max_node_group_deletions_total: u32,
    /// Accept approvals from PlanApprovals only: annotations do not count, and a looser changePolicy itself waits for
    /// an approval. Permission to write clusters is then not enough to approve.
    #[arg(long, env = "KEELSON_REQUIRE_APPROVAL_OBJECTS")]
    require_approval_objects: bool,
    /// Namespace of the Argo CD in this management cluster in which `spec.registerWith: ArgoCd` registers clusters
    /// (deploy/argocd-registration has the permissions) [default: none, and the field is refused].
    #[arg(long, env = "KEELSON_ARGOCD_NAMESPACE", value_parser = namespace)]
    argocd_namespace: Option<String>,
    /// Keys of the labels that `spec.registration.labels` may set on a registered cluster, such as team or
    /// acme.example/*, separated by commas. Whoever writes EksClusters chooses the values [default: none].
    #[arg(long, env = "KEELSON_ARGOCD_CLUSTER_LABELS", value_delimiter = ',', value_parser = label_key)]
    argocd_cluster_labels: Vec<String>,
    /// Id of this installation, which tags record on what it creates in AWS. To take over the clusters of an
    /// installation that is permanently lost, set its id here [default: the one in the ConfigMap beside the Lease,
    /// created at the first start].
    #[arg(long, env = "KEELSON_INSTALLATION_ID", value_parser = installation_id)]
    installation_id: Option<String>,
    /// Of how many clusters the GitOps agent is watched, so that changes are observed at once. The others are polled.
    #[arg(long, env = "KEELSON_MAX_WATCHES", default_value_t = 200)]
    max_watches: u16,
    /// Allow http:// and loopback Git sources. For tests only.
    #[arg(long, env = "KEELSON_ALLOW_HTTP_GIT")]
    allow_http_git: bool,
    /// Proxy for connections to workload clusters: http://[USER:PASSWORD@]HOST:PORT, https:// or socks5://; hosts in
    /// NO_PROXY are reached directly [default: HTTPS_PROXY, which is used for AWS too].
    #[arg(long, env = "KEELSON_WORKLOAD_PROXY", hide_env_values = true)]
    workload_proxy: Option<String>,
    /// Let objects without an AwsAccount use the operator's own credentials, where there is no AwsAccount `default`:
    /// no limit of namespaces, regions or permissions applies to them. For a cluster with one tenant only.
    #[arg(long, env = "KEELSON_ALLOW_AMBIENT_ACCOUNT")]
    allow_ambient_account: bool,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "KEELSON_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Authenticate and authorize reads of /metrics at the API server: the bearer token by a TokenReview, the right
    /// to `get` the path by a SubjectAccessReview. `false`: everyone who reaches the address may read them.
    #[arg(long, env = "KEELSON_METRICS_AUTH", default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    metrics_auth: bool,
    /// Export traces of changes to this OpenTelemetry collector by OTLP/HTTP in JSON, such as
    /// http://otel-collector:4318; /v1/traces is added [default: no traces].
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = otlp_endpoint)]
    otlp_endpoint: Option<OtlpEndpoint>,
    #[command(flatten)]
    page: ControllerPageArgs,
    #[command(flatten)]
    notify: super::notify::NotifyArgs,
    /// Format of log lines.
    #[arg(long, env = "KEELSON_LOG_FORMAT", value_enum, default_value = "auto")]
    log_format: LogFormat,
    /// Level, or directives such as keelson=debug,kube=info [default: RUST_LOG, else info].
    #[arg(long, env = "KEELSON_LOG_LEVEL")]
    log_level: Option<String>,
    /// Multiplies the deadlines after which a wait counts as stuck. For tests.
    #[arg(long, env = "KEELSON_WAIT_DEADLINE_SCALE", default_value_t = 1.0, hide = true, value_parser = scale)]
    wait_deadline_scale: f64,
    /// Maximum number of objects of a kind that are reconciled concurrently.
    #[arg(long, env = "KEELSON_CONCURRENCY", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
}

/// A collector, if one is named. Empty means none: charts leave variables out that way.
#[derive(Clone, Debug)]
struct OtlpEndpoint(Option<Endpoint>);

fn otlp_endpoint(text: &str) -> Result<OtlpEndpoint, String> {
    if text.is_empty() { Ok(OtlpEndpoint(None)) } else { Endpoint::parse(text).map(|url| OtlpEndpoint(Some(url))) }
}

/// Drift interval with an event queue: covers changes that no event reports.
const WITH_EVENTS: Duration = Duration::from_secs(3600);

/// Runs the operator until it is stopped.
pub fn run(args: Args) -> anyhow::Result<()> {
    let format = match args.log_format {
        LogFormat::Auto => logs::Format::detect(),
        LogFormat::Json => logs::Format::Json,
        LogFormat::Text => logs::Format::Text,
    };
    let traces = args.otlp_endpoint.clone().and_then(|endpoint| endpoint.0).map(Traces::new).unwrap_or_default();
    logs::init(args.log_level.as_deref(), format, &traces)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads")?;
    let page = args.page.clone();
    let options = options(args, traces)?;
    runtime.block_on(async {
        let mirror = page.serve().await?;
        anyhow::Ok(controllers::run(options, mirror).await?)
    })?;
    // Hanging reads must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

fn options(args: Args, traces: Traces) -> anyhow::Result<Options> {
    let Args {
        leader_election,
        leader_election_namespace,
        leader_election_name,
        lease_duration,
        renew_deadline,
        retry_period,
        drift_interval,
        event_queue_url,
        event_queue_sender_id,
        load_balancer_timeout,
        read_after_write_window,
        pod_credentials_lifetime,
        max_deletions,
        max_deletions_total,
        max_node_group_deletions,
        max_node_group_deletions_total,
        argocd_namespace,
        argocd_cluster_labels,
        installation_id,
        max_watches,
        require_approval_objects,
        allow_http_git,
        workload_proxy,
        allow_ambient_account,
        listen,
        metrics_auth,
        otlp_endpoint: _,
        page: _,
        notify,
        log_format: _,
        log_level: _,
        wait_deadline_scale,
        concurrency,
    } = args;
    let lease_timing = Timing { lease_duration, renew_deadline, retry_period };
    let event_queue_url = event_queue_url.filter(|url| !url.is_empty());
    let default_interval = if event_queue_url.is_some() { WITH_EVENTS } else { Intervals::default().drift };
    let drift = drift_interval.unwrap_or(default_interval);
    let own = leader_election_namespace.or_else(own_namespace);
    let namespace = own.clone().unwrap_or_else(|| "default".to_owned());
    // In the Lease's namespace; a single process outside a cluster keeps none.
    let namespace_of_state = own.or_else(|| leader_election.then(|| namespace.clone()));
    let beside = |what: &str| Some((namespace_of_state.clone()?, format!("{leader_election_name}-{what}")));
    let given = installation_id.filter(|id| !id.is_empty());
    let installation = installation::Source { configured: given, configmap: beside("installation") };
    let (estimates_configmap, deletions_configmap) = (beside("duration-estimates"), beside("deletions"));
    Ok(Options {
        lease: leader_election.then_some((namespace, leader_election_name)),
        lease_timing: lease_timing.check().map_err(anyhow::Error::msg)?,
        listen,
        metrics_auth,
        settings: Settings {
            intervals: Intervals { drift, pod_credentials: pod_credentials_lifetime, ..Intervals::default() },
            read_after_write_window,
            sources: SourcePolicy { allow_http: allow_http_git },
            allow_ambient_account,
            concurrency,
            sts_endpoint: sts_endpoint(),
            estimates_configmap,
            max_deletions: AllLimits {
                clusters: Limits { namespace: max_deletions, total: max_deletions_total },
                node_groups: Limits { namespace: max_node_group_deletions, total: max_node_group_deletions_total },
            },
            deletions_configmap,
            installation,
            event_queue_url,
            event_queue_sender_ids: event_queue_sender_id.into_iter().filter(|id| !id.is_empty()).collect(),
            load_balancer_timeout,
            max_watches: max_watches.into(),
            wait_scale: wait_deadline_scale,
            registry: hub::Settings {
                namespace: argocd_namespace.filter(|name| !name.is_empty()),
                labels: argocd_cluster_labels.into_iter().filter(|key| !key.is_empty()).collect(),
            },
            require_approval_objects,
        },
        aws: crate::aws::accounts::Settings::default(),
        pod_name: variable("POD_NAME"),
        pod_namespace: own_namespace(),
        traces,
        notify: notify.sender()?,
        workload_proxy: Proxy::of(workload_proxy.as_deref(), variable).map_err(anyhow::Error::msg)?,
    })
}

/// The namespace of this Pod.
fn own_namespace() -> Option<String> {
    let mounted = || std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok();
    variable("POD_NAMESPACE").or_else(|| mounted().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
}

/// In the SDK's order: the service's own variable first.
fn sts_endpoint() -> Option<String> {
    variable("AWS_ENDPOINT_URL_STS").or_else(|| variable("AWS_ENDPOINT_URL"))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Parses `10m`, `1h30m`, `90s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().map_err(|error| error.to_string())?;
    Duration::try_from(parsed).map_err(|_| "a duration cannot be negative".to_owned())
}

/// A factor above zero.
fn scale(text: &str) -> Result<f64, String> {
    let scale = text.parse::<f64>().map_err(|error| error.to_string())?;
    if scale > 0.0 && scale.is_finite() { Ok(scale) } else { Err("a factor above zero is needed".to_owned()) }
}

/// An installation id. Empty means none: charts leave variables out that way.
fn installation_id(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { installation::parse(text) }
}

/// A namespace. Empty means none: charts leave variables out that way.
fn namespace(text: &str) -> Result<String, String> {
    let is_valid = text.len() <= 63
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if is_valid { Ok(text.to_owned()) } else { Err("not the name of a namespace".to_owned()) }
}

/// A label key. Empty means none: charts leave variables out that way.
fn label_key(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { hub::parse_label_key(text) }
}

/// A queue's URL in SQS's format. Empty means none: charts leave variables out that way.
fn queue_url(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let parsed = url::Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    match parsed.scheme() {
        "https" | "http" => Ok(text.to_owned()),
        _ => Err("the URL of an SQS queue begins with https://".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_accept_kubernetes_style_durations() {
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert!(duration("soon").is_err() && duration("-1s").is_err());
    }

    fn parsed(flags: &[&str]) -> Options {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            args: Args,
        }
        let flags = ["--leader-election-namespace=x"].iter().chain(flags);
        let args = <Flags as clap::Parser>::try_parse_from(["keelson"].iter().chain(flags)).unwrap().args;
        options(args, Traces::default()).unwrap()
    }

    #[test]
    fn deadlines_have_their_full_time_by_default() {
        assert_eq!(parsed(&[]).settings.wait_scale, 1.0);
        assert_eq!(parsed(&["--wait-deadline-scale=0.01"]).settings.wait_scale, 0.01);
        assert!(scale("0").is_err() && scale("-1").is_err() && scale("inf").is_err());
    }

    #[test]
    fn ambient_credentials_are_off_by_default() {
        assert!(!parsed(&[]).settings.allow_ambient_account);
        assert!(parsed(&["--allow-ambient-account"]).settings.allow_ambient_account);
    }

    #[test]
    fn clusters_are_registered_only_where_a_namespace_is_named() {
        let registry = |flags: &[&str]| parsed(flags).settings.registry;
        assert_eq!(registry(&[]), hub::Settings::default());
        assert_eq!(registry(&["--argocd-namespace=", "--argocd-cluster-labels="]), hub::Settings::default());
        let found = registry(&["--argocd-namespace=argocd", "--argocd-cluster-labels=team,acme.example/*"]);
        assert_eq!(
            (found.namespace.as_deref(), found.labels),
            (Some("argocd"), vec!["team".into(), "acme.example/*".into()])
        );
        assert!(namespace("a/b").is_err() && namespace("-a").is_err() && label_key("keelson.dev/x").is_err());
    }

    #[test]
    fn an_event_queue_lengthens_the_default_drift_interval() {
        let drift = |flags: &[&str]| parsed(flags).settings.intervals.drift.as_secs();
        let queue = "--event-queue-url=https://sqs.eu-west-1.amazonaws.com/111122223333/keelson-events";
        assert_eq!(drift(&[]), 600);
        assert_eq!(drift(&["--event-queue-url="]), 600);
        assert_eq!(drift(&[queue]), 3600);
        assert_eq!(drift(&[queue, "--drift-interval=5m"]), 300);
        assert!(queue_url("keelson-events").is_err() && queue_url("arn:aws:sqs:eu-west-1:1:q").is_err());
    }
}
