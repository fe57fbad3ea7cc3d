//! AWS sessions for read-only commands. I/O: reads from AWS.

use std::sync::Arc;
use std::time::Duration;

use crate::aws::{Accounts, Identity, Session, WriteGate, accounts};
use crate::telemetry::Metrics;

/// Blocks every write.
#[derive(Debug)]
struct ReadOnly;

impl WriteGate for ReadOnly {
    fn may_write(&self) -> bool {
        false
    }

    fn open_for(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

/// A session that cannot write.
pub async fn session(identity: &Identity, region: &str) -> anyhow::Result<Session> {
    let accounts = Accounts::load(accounts::Settings::default(), Arc::new(ReadOnly), Metrics::new()).await;
    Ok(accounts.session(identity, region).await?)
}
