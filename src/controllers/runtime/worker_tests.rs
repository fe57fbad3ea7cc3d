//! One poison object never blocks the others, and a restart with many objects is spread out.

use super::*;
use crate::agents::validate_source::SourcePolicy;
use crate::api::EksCluster;
use crate::aws::Accounts;
use crate::controllers::cluster::agent::Watches;
use crate::controllers::context::{Process, Stores};
use crate::controllers::deletions::{AllLimits, Limits};
use crate::controllers::runtime::event_publisher::Events;
use crate::controllers::runtime::leader::Leadership;
use crate::controllers::runtime::leadership_term::Term;
use crate::controllers::runtime::reconcile_queue::{Queue, Queues, Trigger};
use crate::controllers::runtime::settings::Settings;
use crate::resources::cloud::Intervals;
use crate::telemetry::Metrics;
use futures::channel::mpsc::unbounded;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher::Event;
use serde_json::json;

/// A context before all kinds are listed, and without an API server: these tests do not call it.
const LIMITS: Limits = Limits { namespace: 3, total: 10 };

fn unlisted_context() -> (Arc<Context>, Writer<EksCluster>, UnboundedReceiver<ReconcileRequest<EksCluster>>) {
    let client = kube::Client::try_from(kube::Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
    let (to_clusters, requests) = unbounded();
    let queues = Queues {
        clusters: Queue::new(to_clusters),
        node_groups: Queue::new(unbounded().0),
        accounts: Queue::new(unbounded().0),
    };
    let ((clusters, writer), metrics) = (reflector::store(), Metrics::new());
    let gate = Arc::new(Leadership::none());
    let settings = Settings {
        intervals: Intervals::default(),
        read_after_write_window: Duration::ZERO,
        sources: SourcePolicy::default(),
        allow_ambient_account: true,
        concurrency: 4,
        sts_endpoint: None,
        estimates_configmap: None,
        max_deletions: AllLimits { clusters: LIMITS, node_groups: LIMITS },
        deletions_configmap: None,
        installation: Default::default(),
        event_queue_url: None,
        event_queue_sender_ids: Vec::new(),
        load_balancer_timeout: Duration::ZERO,
        max_watches: 0,
        wait_scale: 1.0,
        registry: Default::default(),
        require_approval_objects: false,
    };
    let process = Process {
        events: Events::new(client.clone(), "test"),
        client,
        settings: Arc::new(settings),
        accounts: Accounts::without_credentials(gate.clone(), metrics.clone()),
        workloads: crate::workload::client::Workloads::default(),
        gate,
        metrics,
        traces: crate::telemetry::traces::Traces::default(),
        notify: None,
    };
    let stores = Stores { clusters, node_groups: reflector::store().0, aws_accounts: reflector::store().0 };
    let ctx = Context::new(process, stores, queues);
    (Arc::new(ctx), writer, requests)
}

/// The same once all kinds are listed.
fn context() -> (Arc<Context>, Writer<EksCluster>, UnboundedReceiver<ReconcileRequest<EksCluster>>) {
    let all = unlisted_context();
    all.0.all_listed.cancel();
    all
}

/// A controller that only runs `reconcile`.
struct Fake {
    ctx: Arc<Context>,
    reconcile: fn(Arc<EksCluster>) -> BoxFuture<'static, Next>,
}

impl Controller for Fake {
    type Object = EksCluster;

    fn context(&self) -> &Arc<Context> {
        &self.ctx
    }

    fn queue(&self) -> &Queue<EksCluster> {
        &self.ctx.queues.clusters
    }

    fn reconcile(self: Arc<Self>, object: Arc<EksCluster>, _: Option<Trigger>) -> BoxFuture<'static, Next> {
        (self.reconcile)(object)
    }

    fn register_steady(&self, _: &EksCluster) -> bool {
        false
    }

    fn restart<'a>(&'a self, _: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

fn cluster(name: &str) -> EksCluster {
    let object = json!({
        "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"region": "eu-west-1", "version": "1.34"},
    });
    serde_json::from_value(object).unwrap()
}

#[tokio::test]
async fn nothing_is_reconciled_before_all_kinds_are_listed() {
    let (ctx, ..) = unlisted_context();
    let controller = Fake { ctx, reconcile: |_| Box::pin(async { panic!("reconciled") }) };
    let action = reconcile_one(Arc::new(cluster("early")), Arc::new(controller), 1).await;
    assert_eq!(action, Action::requeue(UNLISTED_REQUEUE));
}

#[tokio::test]
async fn panicking_reconcile_is_counted_and_does_not_affect_others() {
    let (ctx, mut writer, requests) = context();
    writer.apply_watcher_event(&Event::Init);
    let names: Vec<String> = (0..8).map(|number| format!("good-{number}")).chain(["poison".to_owned()]).collect();
    for name in &names {
        writer.apply_watcher_event(&Event::InitApply(cluster(name)));
    }
    writer.apply_watcher_event(&Event::InitDone);
    for name in &names {
        ctx.queues.clusters.push(ObjectRef::new(name).within("default"), Trigger::Dependency);
    }
    let controller = Fake {
        ctx: ctx.clone(),
        reconcile: |object| {
            Box::pin(async move {
                assert!(object.name_any() != "poison", "poison");
                Next::change()
            })
        },
    };
    let running = tokio::spawn(run(Arc::new(controller), ctx.clusters.clone(), requests));
    let count_of = |result: &str| {
        let line = format!("keelson_reconciles_total{{kind=\"EksCluster\",result=\"{result}\"}} ");
        let text = ctx.metrics.encode();
        text.lines().find_map(|found| found.strip_prefix(&line)?.parse::<u32>().ok()).unwrap_or_default()
    };
    for _ in 0..500 {
        if (count_of("ok"), count_of("panic")) == (8, 1) {
            running.abort();
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} ok, {} panics", count_of("ok"), count_of("panic"));
}

#[tokio::test]
async fn no_reconcile_outlives_its_term() {
    let (ctx, mut writer, requests) = context();
    writer.apply_watcher_event(&Event::Init);
    writer.apply_watcher_event(&Event::InitApply(cluster("slow")));
    writer.apply_watcher_event(&Event::InitDone);
    ctx.queues.clusters.push(ObjectRef::new("slow").within("default"), Trigger::Dependency);
    let forever = Fake { ctx: ctx.clone(), reconcile: |_| Box::pin(std::future::pending()) };
    let running = tokio::spawn(run(Arc::new(forever), ctx.clusters.clone(), requests));
    while ctx.tasks.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let term = Term {
        ctx: ctx.clone(),
        agent_watches: Arc::new(Watches::new(0)),
        tasks: vec![running],
        estimate_store: None,
        mirror: None,
    };
    tokio::time::timeout(Duration::from_secs(5), term.shutdown(Duration::from_millis(50)))
        .await
        .expect("the term ends");
    assert!(ctx.tasks.is_empty());
}
