//! AWS sessions for read-only commands. I/O: reads from AWS.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;

use crate::aws::errors::class::Class;
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
    match accounts.session(identity, region).await {
        // The advice of the operator's message is for the operator.
        Err(error) if error.class() == Class::CredentialsUnavailable && identity.role.is_none() => bail!(
            "no AWS credentials: log in (aws sso login), choose a profile (AWS_PROFILE), or set AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY. {}",
            error.message
        ),
        result => Ok(result?),
    }
}
