//! `status.hooks`: it is written on its own, with a resourceVersion, before what it announces. I/O: that status.

use jiff::SignedDuration;
use serde_json::json;

use crate::api::hook::HookStatus;
use crate::controllers::cluster::Reconcile;
use crate::controllers::runtime::apply;
use crate::controllers::states::LastWrite;
use crate::hooks::HookHold;

/// Field manager of `status.hooks`.
const HOOKS: &str = "keelson-hooks";
/// When to try again after a write that was rejected because the cache lags.
const RETRY: SignedDuration = SignedDuration::from_millis(500);

/// What is remembered of the last write, until the cache shows it.
#[derive(Default)]
pub struct Memory {
    written: Option<(Vec<HookStatus>, LastWrite)>,
}

impl Reconcile<'_> {
    /// `status.hooks`, as the API server has it.
    pub(super) fn stored_hooks(&self) -> Vec<HookStatus> {
        match &self.state.kind.hooks.written {
            Some((entries, last)) if !last.is_in(self.object.metadata.resource_version.as_deref()) => entries.clone(),
            _ => self.object.status.as_ref().map(|status| status.hooks.clone()).unwrap_or_default(),
        }
    }

    /// Writes `status.hooks`.
    ///
    /// # Errors
    /// The API server has not stored it, as far as is known: nothing that it announces may begin.
    pub(super) async fn record_hooks(&mut self, entries: Vec<HookStatus>) -> Result<(), HookHold> {
        let ctx = self.ctx;
        let mut object = self.object.clone();
        // The cache may lag behind our own writes. What others wrote since is read first.
        let newest = self.state.last_write.newest(object.metadata.resource_version.as_deref());
        object.metadata.resource_version = newest;
        let status = json!({"hooks": entries});
        match apply::patch_unchanged_status(&ctx.client, &object, HOOKS, &*ctx.gate, &status).await {
            Ok(version) => {
                let mut last = LastWrite::default();
                last.record(version.clone());
                self.state.last_write.record(version);
                self.state.kind.hooks.written = Some((entries, last));
                Ok(())
            }
            Err(error) => {
                let is_conflict = matches!(&error, kube::Error::Api(response) if matches!(response.code, 404 | 409));
                let error = apply::describe_error(&error);
                if !is_conflict {
                    tracing::warn!(error, "failed to record hooks in status; Keelson will retry");
                }
                let message = format!("the state of its hooks is not recorded in status yet: {error}");
                let message =
                    if is_conflict { "the state of its hooks is not recorded in status yet".into() } else { message };
                Err(HookHold { failed: false, message, again: RETRY })
            }
        }
    }
}
