//! The fleet page in a cluster, for everybody whom its API server knows: flags of `keelson ui --in-cluster` and of
//! `keelson controller --ui-listen`. I/O: a listening socket, a file, the management cluster's API.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::controllers::runtime::mirror::Mirror;
use crate::page::gate::Cluster;
use crate::page::mirror::OperatorMirror;
use crate::page::{Page, server, watch};

/// Threads of the page beside the operator that may block: those that render, and look up names.
const BLOCKING_THREADS: usize = 4;

/// Flags of the page in a cluster.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ClusterPageArgs {
    /// Names under which the page in the cluster is opened, such as fleet.example.com, separated by commas: requests with another
    /// Host header are refused [default: any name].
    #[arg(long, env = "KEELSON_UI_HOST", value_name = "HOST", value_delimiter = ',')]
    ui_host: Vec<String>,
    /// File with a secret of at least 32 bytes that encrypts the sessions of those who sign in on the page. With it all replicas know
    /// each other's sessions, and sessions outlive a restart [default: a random one for each process].
    #[arg(long, env = "KEELSON_UI_SESSION_KEY_FILE", value_name = "FILE")]
    ui_session_key_file: Option<PathBuf>,
}

/// The flags of `keelson controller`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ControllerPageArgs {
    /// Also serve the fleet page at this address, to everybody who has a token of this cluster's API server; each sees what that token
    /// may list. Every replica serves it. It has no TLS: put a proxy or an Ingress with TLS in front. Needs the ClusterRole keelson-ui
    /// (deploy/ui) [default: no page].
    #[arg(long, env = "KEELSON_UI_LISTEN", value_name = "ADDRESS")]
    ui_listen: Option<SocketAddr>,
    #[command(flatten)]
    page: ClusterPageArgs,
}

impl ClusterPageArgs {
    /// Whether any of the flags is given.
    pub fn is_given(&self) -> bool {
        !self.ui_host.is_empty() || self.ui_session_key_file.is_some()
    }

    /// Starts to listen and to watch: the result is for [`server::serve`]. `flag` is the one with the address. `namespace`: all if `None`.
    ///
    /// # Errors
    /// The address is in use, or the file cannot be used.
    pub async fn start(
        &self,
        (flag, address): (&str, SocketAddr),
        client: &Client,
        namespace: Option<&str>,
    ) -> anyhow::Result<(TcpListener, Arc<Page>)> {
        let hosts: Vec<String> = self.ui_host.iter().filter(|host| !host.is_empty()).cloned().collect();
        let path = self.ui_session_key_file.as_ref().filter(|path| !path.as_os_str().is_empty());
        let named = || path.map_or_else(String::new, |path| format!("--ui-session-key-file: {}", path.display()));
        let key = path.map(std::fs::read).transpose().with_context(named)?;
        let cluster = Cluster::new(client.clone(), &hosts, key.as_deref()).map_err(anyhow::Error::msg);
        let page = Arc::new(Page::in_cluster(cluster.with_context(named)?));
        let listener = TcpListener::bind(address).await.with_context(|| format!("{flag}: {address}"))?;
        watch::start(client, namespace, &page);
        tracing::info!(%address, "the fleet page is served to everybody with a token of this cluster");
        Ok((listener, page))
    }
}

impl ControllerPageArgs {
    /// Serves the page beside the operator, whether it leads or not, if an address is given. The operator passes on what it reads.
    ///
    /// # Errors
    /// Those of [`ClusterPageArgs::start`], or there is no connection to the API server.
    pub async fn serve(&self) -> anyhow::Result<Option<Arc<dyn Mirror>>> {
        let Some(address) = self.ui_listen else { return Ok(None) };
        let (page, (report, started)) = (self.page.clone(), oneshot::channel());
        let thread = std::thread::Builder::new().name("fleet-page".to_owned());
        thread.spawn(move || serve_beside_operator(&page, address, report)).context("no thread for the fleet page")?;
        let mirror = started.await.context("the fleet page has ended")??;
        Ok(Some(Arc::new(mirror)))
    }
}

/// Serves the page in this thread, with a runtime of its own: those who look at it do not delay the operator's tasks. Reports whether it
/// could be started, and returns when it is no longer served.
fn serve_beside_operator(
    args: &ClusterPageArgs,
    address: SocketAddr,
    report: oneshot::Sender<anyhow::Result<OperatorMirror>>,
) {
    let builder = &mut tokio::runtime::Builder::new_current_thread();
    let runtime = match builder.enable_all().max_blocking_threads(BLOCKING_THREADS).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Nobody waits for it: the operator has ended.
            let _ = report.send(Err(anyhow::Error::new(error).context("no threads for the fleet page")));
            return;
        }
    };
    runtime.block_on(async move {
        let started = async {
            let client =
                Client::try_default().await.context("the connection to the management cluster for the fleet page")?;
            args.start(("--ui-listen", address), &client, None).await
        };
        let (listener, page) = match started.await {
            Ok(started) => started,
            Err(error) => {
                let _ = report.send(Err(error));
                return;
            }
        };
        let (mirror, readings) = OperatorMirror::new(Arc::clone(&page));
        let _ = report.send(Ok(mirror));
        tokio::spawn(readings.show());
        if let Err(error) = server::serve(listener, page).await {
            tracing::error!(%error, "the fleet page is no longer served");
        }
    });
}
