//! The finalizer: it is on the object before the first write to AWS, and until nothing of ours is left there. I/O: the
//! management cluster's API.

use std::time::Instant;

use super::{Provisioned, Reconcile};
use crate::controllers::reconcile_error::{BuildError, StatusError};
use crate::controllers::runtime::apply;
use crate::controllers::runtime::event_publisher::EventMessage;

impl<C: Provisioned> Reconcile<'_, C> {
    /// Whether our finalizer is on it, as far as is known.
    pub fn has_finalizer(&self) -> bool {
        let lately = self.state.finalizer_added.is_some_and(|at| at.elapsed().as_secs() < 30);
        apply::has_finalizer(self.object) || lately
    }

    /// Adds our finalizer before the first write to AWS.
    pub async fn add_finalizer(&mut self) -> Result<(), BuildError> {
        if self.has_finalizer() {
            return Ok(());
        }
        apply::add_finalizer(&self.ctx.client, self.object).await.map_err(BuildError::Finalizer)?;
        self.state.finalizer_added = Some(Instant::now());
        Ok(())
    }

    /// Removes the finalizer: nothing of ours is left, or it is retained, which `event` says. `None`: it is removed.
    pub async fn remove_finalizer(&mut self, previous: &C::Status, event: Option<EventMessage>) -> Option<C::Outcome> {
        if let Err(stop) = C::release(self, previous).await {
            return Some(self.stopped(previous, stop));
        }
        if let Some(event) = event {
            self.ctx.events.publish(self.object, vec![event]);
        }
        match apply::remove_finalizer(&self.ctx.client, self.object).await {
            Ok(()) => {
                self.state.finalizer_added = None;
                C::is_gone(self);
                None
            }
            Err(error) => Some(self.failed(previous, StatusError::Finalizer(error))),
        }
    }
}
