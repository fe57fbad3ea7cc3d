//! The operator's lifecycle: lease, leadership term, graceful shutdown. I/O: starts tasks that do I/O.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio_util::sync::CancellationToken;

use super::event_publisher::Events;
use super::http::{self, Health};
use super::leader::{self, Elector, Leadership};
use super::leadership_term::Term;
use super::lease_timing::Timing;
use super::metrics_auth;
use super::mirror::Mirror;
use super::readiness;
use super::settings::Settings;
use crate::aws::Accounts;
use crate::controllers::context::Process;
use crate::notify::Sender;
use crate::telemetry::Metrics;
use crate::telemetry::traces::{Resource, Traces};
use crate::workload::client::Workloads;
use crate::workload::proxy::Proxy;

/// How long running reconciles may take at shutdown: less than the 30 s that Kubernetes gives a Pod.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(22);
/// The same after losing the lease: the write gate is closed, so only reads are in flight.
const LEASE_LOST_TIMEOUT: Duration = Duration::from_secs(5);

/// The reason for not being ready during shutdown.
const STOPPING: &str = "stopping";

/// The operator's options.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespace and name of the Lease; `None`: this is the only replica.
    pub lease: Option<(String, String)>,
    /// Durations of the Lease.
    pub lease_timing: Timing,
    /// Address for probes and metrics.
    pub listen: SocketAddr,
    /// Whether metrics require authorization by the API server.
    pub metrics_auth: bool,
    /// Settings of reconciles.
    pub settings: Settings,
    /// Limits of AWS calls.
    pub aws: crate::aws::accounts::Settings,
    /// This Pod's name, if it runs in one.
    pub pod_name: Option<String>,
    /// Its namespace, if it runs in a cluster.
    pub pod_namespace: Option<String>,
    /// Where spans of traces go.
    pub traces: Traces,
    /// Proxy to workload clusters.
    pub workload_proxy: Option<Proxy>,
    /// Sends notifications, if there is an endpoint for them.
    pub notify: Option<Arc<Sender>>,
}

/// Errors at startup.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot connect to the Kubernetes API: {0}; set KUBECONFIG, or run in a cluster")]
    Kubernetes(#[source] kube::Error),
    #[error("cannot listen on {0} for probes and metrics: {1}; choose another address with --listen")]
    Listen(SocketAddr, #[source] std::io::Error),
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] std::io::Error),
}

/// Runs until `SIGTERM` or `SIGINT`. `mirror` shows what is read while this replica leads.
///
/// # Errors
/// Only at startup; if the API server becomes unavailable later, the operator waits for it.
pub async fn run(options: Options, mirror: Option<Arc<dyn Mirror>>) -> Result<(), StartError> {
    let client = Client::try_default().await.map_err(StartError::Kubernetes)?;
    let stop = stop_on_signal()?;
    let (metrics, health) = (Metrics::new(), Health::default());
    let probes = CancellationToken::new();
    let routes = metrics.routes();
    let routes = if options.metrics_auth { metrics_auth::protect(routes, client.clone()) } else { routes };
    http::serve(options.listen, health.clone(), routes, probes.clone())
        .await
        .map_err(|error| StartError::Listen(options.listen, error))?;
    tokio::spawn(health.clone().beat());
    let exporting = options.traces.start(Resource { pod: options.pod_name.clone(), namespace: options.pod_namespace });
    tracing::info!(version = env!("CARGO_PKG_VERSION"), listen = %options.listen, "keelson is starting");
    metrics.set_ambient_account_allowed(options.settings.allow_ambient_account);
    if options.settings.allow_ambient_account {
        tracing::warn!(
            "--allow-ambient-account is set: EksClusters that name no AwsAccount use the operator's own credentials, in any \
             namespace and region, with no permissions boundary. Create an AwsAccount named default and remove the flag"
        );
    }
    let identity = leader::identity(options.pod_name.clone());
    let gate = Arc::new(if options.lease.is_some() { Leadership::none() } else { Leadership::always() });
    let accounts = Accounts::load(options.aws.clone(), gate.clone(), metrics.clone()).await;
    let process = Process {
        events: Events::new(client.clone(), &identity),
        settings: Arc::new(options.settings),
        workloads: Workloads::new(options.workload_proxy),
        client,
        accounts,
        metrics,
        traces: options.traces,
        gate,
        notify: options.notify,
    };
    let operator = Operator { process, health, mirror };
    match options.lease {
        None => {
            let term = operator.term();
            tokio::select! {
                () = stop.cancelled() => {}
                never = operator.monitor(&term) => match never {},
            }
            operator.health.set_not_ready(STOPPING);
            term.shutdown(SHUTDOWN_TIMEOUT).await;
        }
        Some((namespace, name)) => {
            let elector =
                Elector::new(operator.process.client.clone(), &namespace, &name, identity, options.lease_timing);
            operator.lead(elector, (&namespace, &name), &stop).await;
        }
    }
    exporting.finish().await;
    tracing::info!("keelson has stopped");
    probes.cancel();
    Ok(())
}

struct Operator {
    process: Process,
    health: Health,
    mirror: Option<Arc<dyn Mirror>>,
}

impl Operator {
    /// Acquires the lease and leads, again and again, until `stop`.
    async fn lead(&self, mut elector: Elector, lease: (&str, &str), stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = elector.acquire(&self.process.gate) => {}
                never = readiness::monitor_standby(&self.process.client, lease, &self.health) => match never {},
                () = stop.cancelled() => return,
            }
            let term = self.term();
            let stopped = tokio::select! {
                () = elector.renew(&self.process.gate) => false,
                () = stop.cancelled() => true,
                never = self.monitor(&term) => match never {},
            };
            self.process.metrics.set_leader(false);
            if !stopped {
                term.shutdown(LEASE_LOST_TIMEOUT).await;
                continue;
            }
            self.health.set_not_ready(STOPPING);
            // Keep the lease while calls are in flight.
            tokio::select! {
                () = term.shutdown(SHUTDOWN_TIMEOUT) => {}
                () = elector.renew(&self.process.gate) => {}
            }
            elector.release(&self.process.gate).await;
            return;
        }
    }

    fn term(&self) -> Term {
        self.health.set_not_ready("leading; objects are not listed yet");
        let term = Term::start(self.process.clone(), self.mirror.clone());
        self.process.metrics.set_leader(true);
        term
    }

    /// Sets the readiness while `term` lasts.
    async fn monitor(&self, term: &Term) -> Infallible {
        readiness::monitor_leader(&self.process.client, term.wait_until_listed(), &self.health).await
    }
}

/// A token that is cancelled by `SIGTERM` or `SIGINT`.
fn stop_on_signal() -> Result<CancellationToken, StartError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
        cancel.cancel();
    });
    Ok(stop)
}
