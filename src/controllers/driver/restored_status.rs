//! The status of an object that others changed: it is written again. No I/O of its own.

use kube::{Resource as _, ResourceExt as _};

use super::{Provisioned, Reconcile};
use crate::controllers::runtime::apply::Kind as _;
use crate::engine::Key;

impl<C: Provisioned> Reconcile<'_, C> {
    /// Restores what others changed in status, such as by clearing it or by restoring a backup of etcd. AWS is observed
    /// again if ids are lost: they may be of an earlier time.
    pub async fn restore_status(&mut self) {
        let meta = self.object.meta();
        if !self.state.last_write.is_in(meta.resource_version.as_deref()) {
            return;
        }
        if let Some(written) = self.state.written.clone() {
            let shown = C::status(self.object).cloned().unwrap_or_default();
            self.state.rewrite = C::written_part(shown) != C::written_part(written);
        }
        if C::restore_records(self).await {
            let (kind, name, namespace) = (C::Object::NAME, self.object.name_any(), &self.namespace);
            tracing::warn!(kind, namespace, name, "status lost ids of AWS resources: they are written again");
            let keys: Vec<Key> = self.state.memory.iter().map(|(key, _)| key.clone()).collect();
            self.state.memory.mark_changed_externally(&keys, self.now);
        }
    }
}
