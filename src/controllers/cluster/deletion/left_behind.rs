//! What is left in the account of a cluster that was deleted, and is not Keelson's, for the last event. I/O: reads from
//! AWS.

use crate::controllers::cluster::Reconcile;
use crate::controllers::runtime::event_publisher::EventMessage;
use crate::resources::cloud::Cloud;
use crate::resources::deletion::left_behind;
use crate::resources::eks::kubernetes_api;

impl Reconcile<'_> {
    /// Publishes what is left. What cannot be read delays no deletion.
    pub(super) async fn report_left_behind(&self, cloud: &Cloud) {
        let name = self.object.cluster_name();
        // Of a cluster that exists nothing is left behind: it is of others.
        if !matches!(kubernetes_api::tags(&cloud.aws, &name).await, Ok(None)) {
            return;
        }
        let notes = left_behind::describe(&cloud.aws, &name, self.now).await;
        self.ctx
            .events
            .publish(self.object, notes.into_iter().map(|note| EventMessage::normal("LeftAlone", note)).collect());
    }
}
