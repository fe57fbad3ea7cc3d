//! Runs the reconciles that the queue of a kind requests, each in its own task: a panic ends only that one. I/O: starts
//! tasks that do I/O.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use futures::future::BoxFuture;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::{Action, Config, ReconcileRequest, applier};
use kube::runtime::reflector::{ObjectRef, Store};
use tracing::Instrument;

use super::apply::Kind;
use super::reconcile_queue::{Queue, Trigger};
use crate::controllers::context::Context;
use crate::controllers::status::finish_reconcile::{self, Next};
use crate::engine::failure::RetryState;
use crate::engine::{Class, Failure};

/// Requeue interval while the kinds are being listed.
const UNLISTED_REQUEUE: Duration = Duration::from_millis(100);

/// The controller of a kind, as its queue sees it.
pub trait Controller: Send + Sync + 'static {
    /// The kind.
    type Object: Kind;
    /// What all controllers share.
    fn context(&self) -> &Arc<Context>;
    /// The queue of its kind.
    fn queue(&self) -> &Queue<Self::Object>;
    /// Reconciles once, and returns when to requeue. `trigger`: why; `None`: a timer requeued it.
    fn reconcile(self: Arc<Self>, object: Arc<Self::Object>, trigger: Option<Trigger>) -> BoxFuture<'static, Next>;
    /// Creates the in-memory state of an object. Returns whether it had none, and the last reconcile left nothing to
    /// do: its first reconcile in this term can wait.
    fn register_steady(&self, object: &Self::Object) -> bool;
    /// Resets the state of an object after a panic in its reconcile.
    fn restart<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, ()>;
}

/// Reconciles requested objects until the queue is closed.
pub async fn run<C: Controller>(
    controller: Arc<C>,
    store: Store<C::Object>,
    requests: UnboundedReceiver<ReconcileRequest<C::Object>>,
) {
    let config = Config::default().concurrency(controller.context().settings.concurrency);
    let counted = store.clone();
    let queue = requests.map(Ok::<_, Infallible>);
    let reconcile_one = move |object: Arc<C::Object>, controller: Arc<C>| {
        let count = counted.len();
        Box::pin(async move { Ok::<_, Infallible>(self::reconcile_one(object, controller, count).await) })
    };
    let never = |_: Arc<C::Object>, _: &Infallible, _: Arc<C>| Action::await_change();
    applier(reconcile_one, never, controller, store, queue, config).for_each(|_| std::future::ready(())).await;
}

/// Runs one reconcile in its own task. `count`: how many objects of the kind there are.
async fn reconcile_one<C: Controller>(object: Arc<C::Object>, controller: Arc<C>, count: usize) -> Action {
    let ctx = controller.context().clone();
    if ctx.tasks.is_closed() {
        return Action::await_change();
    }
    if !ctx.all_listed.is_cancelled() {
        // An AwsAccount or NodeGroup that is not listed yet would be treated as missing.
        return Action::requeue(UNLISTED_REQUEUE);
    }
    let uid = object.uid().unwrap_or_default();
    if controller.register_steady(&object) {
        let pause = finish_reconcile::spread(&*object, count);
        if !pause.is_zero() {
            return Action::requeue(pause);
        }
    }
    let kind = C::Object::NAME;
    let (object_name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    // Not `name`: JSON log lines use that for the span itself.
    let span = tracing::info_span!("reconcile", kind, namespace, object_name);
    let timer = ctx.metrics.reconcile().start(kind);
    let started = Instant::now();
    let trigger = controller.queue().take(&ObjectRef::from_obj(&*object));
    let (work, term_ended) = (controller.clone().reconcile(object.clone(), trigger), ctx.term_ended.clone());
    let task = ctx.tasks.spawn(async move { term_ended.run_until_cancelled(work).await }.instrument(span));
    match task.await {
        Ok(Some(next)) => {
            timer.finish(next.result());
            Action::requeue(next.pause(Timestamp::now()))
        }
        Ok(None) => Action::await_change(),
        Err(error) => {
            timer.finish("panic");
            let elapsed = started.elapsed();
            tracing::error!(kind, namespace, object_name, ?elapsed, %error, "a reconcile panicked: this is a bug in Keelson, please report it; other objects are not affected");
            controller.restart(&uid).await;
            let failed = RetryState::after(
                None,
                Failure::new(Class::Unknown, "panic"),
                Timestamp::now(),
                finish_reconcile::seed(&*object),
            );
            // Retry slowly: the panic will most likely recur.
            Action::requeue(Next::at(failed.retry_at).pause(Timestamp::now()).max(Duration::from_secs(60)))
        }
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
