//! The holds on an object, and on the object that it belongs to: while there is one, nothing begins. I/O: reads once who
//! wrote a hold.

use kube::ResourceExt as _;

use super::{Provisioned, Reconcile};
use crate::api::Reason;
use crate::api::conditions::bounded;
use crate::api::hold::{HoldStatus, describe_holds, describe_removal, holds_in};
use crate::controllers::approvals;
use crate::controllers::runtime::apply::Kind as _;
use crate::controllers::runtime::event_publisher::EventMessage;
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::finish_reconcile::WithHolds as _;

/// Longest name of who wrote a hold, in characters.
const MAX_AUTHOR: usize = 256;

/// The holds that apply to an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Its own.
    pub own: Vec<HoldStatus>,
    /// Those of the EksCluster that it belongs to, with that one's name.
    pub of_cluster: Option<(String, Vec<HoldStatus>)>,
}

impl Holds {
    /// Whether anything is held.
    pub fn any(&self) -> bool {
        !self.own.is_empty() || self.of_cluster.as_ref().is_some_and(|(_, holds)| !holds.is_empty())
    }

    /// Which holds there are, and how to remove them. `object`: kind and name, as for kubectl.
    pub fn describe(&self, object: &str, namespace: &str) -> String {
        let part = |holds: &[HoldStatus], of: &str, object: &str| {
            let keys = describe_removal(holds, object, namespace);
            format!("nothing begins until {of}{} is removed: {keys}", describe_holds(holds))
        };
        let own = (!self.own.is_empty()).then(|| part(&self.own, "", object));
        let of_cluster = self.of_cluster.as_ref().filter(|(_, holds)| !holds.is_empty());
        let of_cluster =
            of_cluster.map(|(name, holds)| part(holds, "its EksCluster's ", &format!("ekscluster {name}")));
        let parts: Vec<String> = own.into_iter().chain(of_cluster).collect();
        format!("{} (in Git, if the annotation is there)", parts.join("; "))
    }
}

impl<C: Provisioned> Reconcile<'_, C> {
    /// Reads the holds, and publishes an event for each new one.
    pub async fn read_holds(&mut self, previous: &C::Status) {
        let known = previous.holds();
        let mut own = holds_in(self.object.annotations(), known);
        if own.iter().any(|hold| hold.written_by.is_none()) {
            let keys: Vec<String> = own.iter().map(HoldStatus::annotation).collect();
            let mut authors = approvals::read_authors(self.ctx, self.object, &keys).await;
            for hold in own.iter_mut().filter(|hold| hold.written_by.is_none()) {
                hold.written_by = authors.remove(&hold.annotation()).map(|by| bounded(&by, MAX_AUTHOR));
            }
        }
        let is_new =
            |hold: &&HoldStatus| !known.iter().any(|one| (&one.name, &one.reason) == (&hold.name, &hold.reason));
        let events: Vec<_> = own.iter().filter(is_new).map(on_hold_event).collect();
        if !events.is_empty() {
            self.ctx.events.publish(self.object, events);
        }
        self.holds = Holds { own, of_cluster: C::holds_around(self.ctx, self.object) };
    }

    /// The overall state, which names the holds if there is something that they hold.
    pub fn with_holds(&self, overall: Overall) -> Overall {
        match overall {
            Overall::Stalled(value) if value.reason == Reason::OnHold => {
                let object = format!("{} {}", C::Object::NAME.to_lowercase(), self.object.name_any());
                let holds = self.holds.describe(&object, &self.namespace);
                Overall::Stalled(ConditionValue { message: format!("{}: {holds}", value.message), ..value })
            }
            other => other,
        }
    }

    /// The outcome of a deletion that does not start because of a hold; `None`: there is no hold.
    pub fn held_before_deletion(&self, previous: &C::Status) -> Option<C::Outcome> {
        let condition = ConditionValue::false_(Reason::OnHold, "the deletion does not start");
        let next = super::Next::change();
        self.holds.any().then(|| self.unobserved(previous, Overall::Stalled(condition), next))
    }
}

fn on_hold_event(hold: &HoldStatus) -> EventMessage {
    EventMessage::normal(Reason::OnHold.as_str(), format!("{hold}: nothing begins until it is removed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(name: &str) -> HoldStatus {
        HoldStatus { name: name.into(), reason: "r".into(), written_by: None }
    }

    #[test]
    fn message_names_each_hold_and_its_removal() {
        let none = Holds { own: Vec::new(), of_cluster: Some(("demo".into(), Vec::new())) };
        assert!(!none.any());
        let both = Holds { own: vec![hold("a")], of_cluster: Some(("demo".into(), vec![hold("b")])) };
        assert!(both.any());
        assert_eq!(
            both.describe("nodegroup n", "team"),
            "nothing begins until hold a (\"r\") is removed: kubectl annotate nodegroup n -n team hold.keelson.dev/a-; \
             nothing begins until its EksCluster's hold b (\"r\") is removed: kubectl annotate ekscluster demo -n team \
             hold.keelson.dev/b- (in Git, if the annotation is there)"
        );
    }
}
