//! `keelson ui`: serves the fleet page on this machine, with the rights of the user's kubeconfig; or with `--in-cluster` to everybody whom
//! the cluster's API server knows. I/O: the management cluster's API, a listening socket, the browser.

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::Context as _;
use jiff::tz::TimeZone;
use tokio::net::TcpListener;

use super::cluster_page::ClusterPageArgs;
use super::connection::Connection;
use crate::page::session::Session;
use crate::page::{Page, server, watch};
use crate::telemetry::logs;
use crate::telemetry::traces::Traces;

/// Flags of `keelson ui`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson ui
  keelson ui -n team-a               # what is in one namespace, for those who may not read all
  keelson ui --no-browser --port 8080
  keelson ui --in-cluster --listen 0.0.0.0:8081   # in a Pod: deploy/ui
  keelson ui --in-cluster --listen 127.0.0.1:8081 # to try that page on this machine: docs/page.md")]
pub struct Args {
    /// Only EksClusters and NodeGroups of this namespace [default: those of all].
    #[arg(short, long)]
    namespace: Option<String>,
    /// Port on 127.0.0.1; 0: any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Only print the address. Without a terminal, the browser is not opened either.
    #[arg(long)]
    no_browser: bool,
    /// Serve everybody who has a token of the cluster's API server, from an Authorization header or a form. Each sees what that token
    /// may list. In a Pod (deploy/ui), or on this machine with a kubeconfig of its ServiceAccount.
    #[arg(long, conflicts_with_all = ["port", "no_browser"])]
    in_cluster: bool,
    /// Address of the page with --in-cluster. It has no TLS: put a proxy or an Ingress with TLS in front.
    #[arg(long, requires = "in_cluster", default_value = "0.0.0.0:8081")]
    listen: SocketAddr,
    #[command(flatten)]
    cluster: ClusterPageArgs,
    #[command(flatten)]
    connection: Connection,
}

/// Runs the command until it is interrupted.
///
/// # Errors
/// The management cluster cannot be reached, or the port is in use.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.in_cluster {
        return super::block_on(serve_cluster(args));
    }
    anyhow::ensure!(!args.cluster.is_given(), "--ui-host and --ui-session-key-file need --in-cluster");
    super::block_on(ui(args))
}

async fn serve_cluster(args: &Args) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    logs::init(None, logs::Format::detect(), &Traces::default())?;
    let client = args.connection.client().await?;
    // The first process of a container ignores the signals that it does not handle.
    let mut terminate = signal(SignalKind::terminate())?;
    let (listener, page) = args.cluster.start(("--listen", args.listen), &client, args.namespace.as_deref()).await?;
    tokio::select! {
        served = server::serve(listener, page) => served.context("the page can no longer be served"),
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminate.recv() => Ok(()),
    }
}

async fn ui(args: &Args) -> anyhow::Result<()> {
    let client = args.connection.client().await?;
    // What cannot be read is a warning on the page; a server that does not answer is an error here.
    client.apiserver_version().await.context("the management cluster")?;
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let listener = TcpListener::bind(wanted).await.with_context(|| format!("--port: {wanted}"))?;
    let address = listener.local_addr()?;
    let opens_browser = !args.no_browser && std::io::stdout().is_terminal();
    let session = Session::new(address, announcement(opens_browser)).context("random numbers for the address")?;
    let management = match &args.namespace {
        Some(namespace) => format!("Namespace {namespace}, with the rights of your kubeconfig"),
        None => "All namespaces, with the rights of your kubeconfig".to_owned(),
    };
    let page = Arc::new(Page::new(session, TimeZone::system(), management));
    watch::start(&client, args.namespace.as_deref(), &page);
    tokio::select! {
        served = server::serve(listener, page) => served.context("the page can no longer be served"),
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

/// Prints each address with a token, and opens the first.
fn announcement(opens_browser: bool) -> Box<dyn Fn(&str) + Send + Sync> {
    let is_first = std::sync::atomic::AtomicBool::new(true);
    Box::new(move |address| {
        let is_first = is_first.swap(false, std::sync::atomic::Ordering::Relaxed);
        let text = if is_first {
            format!("The fleet page is at {address}\nIt ends with Ctrl-C.\n")
        } else {
            format!("For another browser: {address}\n")
        };
        // Nobody reads it: the page is served nevertheless.
        let _ = super::print(&text);
        if is_first && opens_browser && !open(address) {
            super::note("the browser could not be opened: open the address yourself");
        }
    })
}

/// Opens the address in the user's browser.
fn open(address: &str) -> bool {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    command.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().is_ok()
}
