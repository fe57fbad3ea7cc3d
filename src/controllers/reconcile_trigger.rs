//! Why an object is reconciled: what requested it, and what changed since its last reconcile. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::runtime::kind_watch::digest;
use super::runtime::reconcile_queue::Trigger;
use super::status::conditions::Overall;
use super::status::requeue::Next;
use crate::api::status_cluster::ChangeType;

/// The last reconcile of an object in this leadership term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastReconcile {
    generation: Option<i64>,
    annotations: u64,
    /// Why a timer requeues it.
    timer: Trigger,
}

impl LastReconcile {
    /// A reconcile of the object that led to `overall` and `next`. `is_held`: part of the spec waits for a maintenance window.
    pub fn new(meta: &ObjectMeta, overall: &Overall, is_held: bool, next: Next) -> Self {
        let timer = match overall {
            _ if next.failure().is_some() => Trigger::Retry,
            Overall::Ready(_) | Overall::Observed(_) | Overall::Suspended(_) if !is_held => Trigger::DriftInterval,
            _ => Trigger::Poll,
        };
        Self { generation: meta.generation, annotations: digest(&meta.annotations), timer }
    }
}

/// Why the object is reconciled now. `requested`: why it was put into the queue; `None`: a timer requeued it. `new`: the
/// type of the change that starts with this reconcile.
pub fn trigger(
    requested: Option<Trigger>,
    new: Option<ChangeType>,
    meta: &ObjectMeta,
    last: Option<&LastReconcile>,
) -> Trigger {
    let Some(last) = last else {
        return new.map_or(Trigger::LeaderStarted, of_change);
    };
    let is_edited = last.generation != meta.generation;
    match new {
        Some(change) => of_change(change),
        None if is_edited => Trigger::SpecEdited,
        None if last.annotations != digest(&meta.annotations) => Trigger::AnnotationChanged,
        None => requested.unwrap_or(last.timer),
    }
}

fn of_change(change: ChangeType) -> Trigger {
    match change {
        ChangeType::Create => Trigger::Created,
        ChangeType::Update => Trigger::SpecEdited,
        ChangeType::Delete => Trigger::DeletionRequested,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;
    use crate::controllers::status::conditions::ConditionValue;

    fn meta(generation: i64, approve: Option<&str>) -> ObjectMeta {
        let annotations = approve.map(|hash| [("keelson.dev/approve".to_owned(), hash.to_owned())].into());
        ObjectMeta { generation: Some(generation), annotations, ..ObjectMeta::default() }
    }

    fn ready() -> Overall {
        Overall::Ready(ConditionValue::true_(Reason::Available, ""))
    }

    fn last(overall: &Overall, next: Next) -> LastReconcile {
        LastReconcile::new(&meta(1, None), overall, false, next)
    }

    #[test]
    fn what_changed_in_the_object_comes_before_what_requested_the_reconcile() {
        let last = last(&ready(), Next::change());
        let of = |requested, new, meta: &ObjectMeta| trigger(requested, new, meta, Some(&last));
        let workload = Some(Trigger::Workload);
        assert_eq!(of(workload, Some(ChangeType::Delete), &meta(1, None)), Trigger::DeletionRequested);
        assert_eq!(of(workload, None, &meta(2, None)), Trigger::SpecEdited);
        assert_eq!(of(workload, None, &meta(1, Some("1f"))), Trigger::AnnotationChanged);
        assert_eq!(of(workload, None, &meta(1, None)), Trigger::Workload);
    }

    #[test]
    fn timer_has_the_reason_for_which_it_was_set() {
        let working = Overall::Reconciling(ConditionValue::false_(Reason::Creating, ""));
        let of = |last: LastReconcile| trigger(None, None, &meta(1, None), Some(&last));
        assert_eq!(of(last(&ready(), Next::change())), Trigger::DriftInterval);
        assert_eq!(of(last(&working, Next::change())), Trigger::Poll);
        assert_eq!(of(last(&working, Next::change().failed("throttled"))), Trigger::Retry);
        assert_eq!(of(LastReconcile::new(&meta(1, None), &ready(), true, Next::change())), Trigger::Poll);
    }

    #[test]
    fn first_reconcile_of_a_leader_has_its_own_reason_unless_a_change_starts() {
        let restored = Some(Trigger::Restored);
        assert_eq!(trigger(restored, None, &meta(1, None), None), Trigger::LeaderStarted);
        assert_eq!(trigger(restored, Some(ChangeType::Create), &meta(1, None), None), Trigger::Created);
    }
}
