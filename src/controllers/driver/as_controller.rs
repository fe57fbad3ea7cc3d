//! Every kind of the driver as the queue of its kind sees it. No I/O of its own.

use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _};

use super::{Provisioned, reconcile};
use crate::controllers::context::Context;
use crate::controllers::runtime::reconcile_queue::{Queue, Trigger};
use crate::controllers::runtime::worker::Controller;
use crate::controllers::status::finish_reconcile::{self, Next, WithConditions as _};

impl<C: Provisioned> Controller for C {
    type Object = C::Object;

    fn context(&self) -> &Arc<Context> {
        self.ctx()
    }

    fn queue(&self) -> &Queue<C::Object> {
        <C as Provisioned>::queue(self)
    }

    fn reconcile(self: Arc<Self>, object: Arc<C::Object>, trigger: Option<Trigger>) -> BoxFuture<'static, Next> {
        Box::pin(async move { reconcile(&*self, &object, trigger).await })
    }

    fn register_steady(&self, object: &C::Object) -> bool {
        let uid = object.uid().unwrap_or_default();
        let is_steady = C::status(object).is_some_and(|status| {
            finish_reconcile::was_steady(object.meta(), C::observed_generation(status), status.conditions())
        });
        // One that is Ready without a record has lost it.
        if !is_steady || self.states().contains(&uid) || C::recorded(object).is_empty() {
            return false;
        }
        drop(self.states().of(&uid, || self.ctx().memory(C::recorded(object))));
        true
    }

    fn restart<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, ()> {
        self.state_is_reset(uid);
        Box::pin(self.states().restart(uid, Timestamp::now()))
    }
}
