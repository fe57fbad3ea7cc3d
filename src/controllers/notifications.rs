//! Sends notifications of what needs a person while this process leads. What needs a person is read from the stores: no
//! call to an API. I/O: HTTP to the endpoint of `--notify-url`.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::context::Context;
use crate::aws::WriteGate as _;
use crate::notify::cloud_event;
use crate::notify::needs::{self, SETTLE};
use crate::notify::outbox::MAX_OF_NAMESPACE;
use crate::notify::{Need, Outbox, Outcome, Sender};
use crate::telemetry::notifications::{self as metrics, Attempt};

/// How often the stores are read.
const INTERVAL: Duration = Duration::from_secs(1);
/// Pause after an event that was not taken; it doubles until one is.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Sends notifications until the term ends.
pub async fn run(ctx: Arc<Context>, sender: Arc<Sender>) {
    let mut sending = Sending { outbox: Outbox::default(), pause: MIN_PAUSE, until: Instant::now(), is_failing: false };
    // A cluster that is not listed yet needs nobody.
    ctx.all_listed.cancelled().await;
    loop {
        let now = Timestamp::now();
        let crowded = sending.outbox.observe(all_needs(&ctx, now), |need| ctx.unreadable.has_uid(&need.about.uid), now);
        for namespace in crowded {
            tracing::warn!(
                namespace,
                limit = MAX_OF_NAMESPACE,
                "notifications: more needs a person in this namespace than is sent; the rest is sent as others end"
            );
        }
        metrics::set_pending(sending.outbox.pending());
        sending.send_pending(&ctx, &sender).await;
        tokio::time::sleep(INTERVAL).await;
    }
}

/// What needs a person now.
fn all_needs(ctx: &Context, now: Timestamp) -> Vec<Need> {
    let settle = SETTLE.as_secs_f64() * ctx.settings.wait_scale;
    let settle = SignedDuration::try_from_secs_f64(settle).unwrap_or(SETTLE);
    let mut found = Vec::new();
    for rollout in &ctx.rollouts.snapshot(&ctx.unreadable).readable {
        found.extend(needs::of_rollout(rollout, settle, now));
    }
    for cluster in ctx.clusters.state() {
        found.extend(needs::of_cluster(&cluster, settle, now));
    }
    for group in ctx.node_groups.state() {
        found.extend(needs::of_node_group(&group, settle, now));
    }
    for account in ctx.aws_accounts.state() {
        found.extend(needs::of_account(&account, settle, now));
    }
    found
}

struct Sending {
    outbox: Outbox,
    pause: Duration,
    /// Nothing is sent before.
    until: Instant,
    /// The last event was not taken, which is logged.
    is_failing: bool,
}

impl Sending {
    /// Sends what is pending, until one fails.
    async fn send_pending(&mut self, ctx: &Context, sender: &Sender) {
        let began = Instant::now();
        while Instant::now() >= self.until && began.elapsed() < INTERVAL {
            let Some(message) = self.outbox.next() else { return };
            // Another process may lead.
            if !ctx.gate.may_write() {
                return;
            }
            self.outbox.attempt(&message);
            let id = cloud_event::id(&message.id, message.phase);
            let installation = ctx.installation();
            let body = cloud_event::body(&message.need, &message.id, message.phase, installation.as_deref());
            match sender.send(&id, body).await {
                Outcome::Sent => {
                    self.outbox.settled(&message);
                    metrics::count(Attempt::Sent);
                    self.pause = MIN_PAUSE;
                    if std::mem::take(&mut self.is_failing) {
                        tracing::info!(endpoint = ?sender, "notifications: the endpoint takes events again");
                    }
                }
                Outcome::Rejected(reason) => {
                    self.outbox.settled(&message);
                    metrics::count(Attempt::Rejected);
                    tracing::warn!(endpoint = ?sender, id, reason, "notifications: the endpoint rejects an event, which is not sent again");
                }
                Outcome::Failed(reason) => {
                    metrics::count(Attempt::Failed);
                    self.until = Instant::now() + self.pause;
                    self.pause = (self.pause * 2).min(MAX_PAUSE);
                    if !std::mem::replace(&mut self.is_failing, true) {
                        tracing::warn!(
                            endpoint = ?sender,
                            reason,
                            "notifications: the endpoint does not take events; Keelson will retry. Reconciles are not affected"
                        );
                    }
                }
            }
            metrics::set_pending(self.outbox.pending());
        }
    }
}
