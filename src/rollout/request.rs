//! What a cluster says to its rollout: the step that it asks for, has claimed, has released. Pure.

use std::fmt;
use std::str::FromStr;

use super::release_target::Target;
use crate::api::fleet_rollout::Gate;
use crate::api::fleet_rollout_status::WaveRequestStatus;

/// A step of a cluster that waits for its wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    /// What is upgraded.
    pub gate: Gate,
    /// What it gets.
    pub target: Target,
}

impl Step {
    /// The step of a gate to a target in text. `None`: it is no target of that gate.
    pub fn of(gate: Gate, target: &str) -> Option<Self> {
        let target: Target = target.parse().ok()?;
        target.is_of(gate).then_some(Self { gate, target })
    }

    /// Whether a halt of `halted` stops this step. Kubernetes versions follow one another, so a later one halts, too. A
    /// later version of an agent, or a later revision, may be what mends an earlier one.
    pub fn is_stopped_by(self, halted: Self) -> bool {
        match (self.target, halted.target) {
            (Target::Kubernetes(own), Target::Kubernetes(halted)) => halted <= own,
            _ => self == halted,
        }
    }
}

/// Steps of which a cluster asks for one after the other. It asks in each lane independently, and has one ticket at a time, and beside
/// it one for a revision, which may be what lets it finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Control plane and node groups.
    Kubernetes,
    /// The GitOps agent.
    Agent,
    /// The revision of its source.
    Revision,
}

impl Lane {
    /// All lanes.
    pub const ALL: [Self; 3] = [Self::Kubernetes, Self::Agent, Self::Revision];

    /// The lane of a gate.
    pub const fn of(gate: Gate) -> Self {
        match gate {
            Gate::ControlPlane | Gate::NodeGroups => Self::Kubernetes,
            Gate::Agent => Self::Agent,
            Gate::Revision => Self::Revision,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.gate.as_str(), self.target)
    }
}

/// Id of one request of a cluster, such as `ControlPlane/1.36/1764520000123`. Its number is higher than those of all
/// earlier requests of the cluster: an earlier one is never claimed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// The step.
    pub step: Step,
    /// Number of the request: when it was made, in milliseconds.
    pub number: i64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.step, self.number)
    }
}

/// Text that is not the id of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the id of a request, such as ControlPlane/1.36/1764520000123")]
pub struct InvalidId(String);

impl FromStr for RequestId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.split('/');
            let (gate, target, number) = (parts.next()?, parts.next()?, parts.next()?);
            let gate = Gate::ALL.into_iter().find(|one| one.as_str() == gate)?;
            let id = Self { step: Step::of(gate, target)?, number: number.parse().ok()? };
            parts.next().is_none().then_some(id)
        };
        parse().ok_or_else(|| InvalidId(text.to_owned()))
    }
}

/// What a cluster says to its rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The step that it is ready to begin.
    pub asks: Option<RequestId>,
    /// The step that it begins, or has begun.
    pub claimed: Option<RequestId>,
    /// The last step that it has finished, or no longer asks for.
    pub released: Option<RequestId>,
    /// The term of the leader that wrote it.
    pub term: Option<i64>,
}

impl Request {
    /// The request in status. What cannot be parsed was not written by Keelson.
    pub fn of(status: &WaveRequestStatus) -> Self {
        let parse = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
        let WaveRequestStatus { asks, claimed, released, term } = status;
        Self { asks: parse(asks), claimed: parse(claimed), released: parse(released), term: *term }
    }

    /// The request for status.
    pub fn status(&self) -> WaveRequestStatus {
        let text = |id: Option<RequestId>| id.map(|id| id.to_string());
        let Self { asks, claimed, released, term } = *self;
        WaveRequestStatus { asks: text(asks), claimed: text(claimed), released: text(released), term }
    }

    /// The highest number that the cluster has used.
    pub fn last_number(&self) -> i64 {
        [self.asks, self.claimed, self.released].into_iter().flatten().map(|id| id.number).max().unwrap_or_default()
    }

    /// Whether the cluster can no longer begin, or continue, under the request `id`: it said that it has released it,
    /// or used a later number.
    pub fn has_returned(&self, id: RequestId) -> bool {
        let is_later = |other: Option<RequestId>| other.is_some_and(|other| other.number > id.number);
        let is_released = self.released.is_some_and(|released| released.number >= id.number);
        self.claimed != Some(id)
            && self.asks != Some(id)
            && (is_released || is_later(self.asks) || is_later(self.claimed))
    }

    /// Without the step that it asks for, and has not claimed.
    pub fn withdrawn(mut self) -> Self {
        self.withdraw();
        self
    }

    /// The same, and without the step that it has claimed: nothing of it has begun.
    pub fn given_up(mut self) -> Self {
        self.withdraw();
        if let Some(claimed) = self.claimed.take() {
            self.record_release(claimed);
        }
        self
    }

    /// Gives up the step that it asks for.
    pub(super) fn withdraw(&mut self) {
        if let Some(asked) = self.asks.take() {
            self.record_release(asked);
        }
    }

    /// Records that a step is released; the one with the highest number is kept.
    pub(super) fn record_release(&mut self, id: RequestId) {
        if self.released.is_none_or(|released| released.number < id.number) {
            self.released = Some(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: i64) -> RequestId {
        format!("ControlPlane/1.36/{number}").parse().unwrap()
    }

    #[test]
    fn id_is_parsed_from_its_text() {
        let parsed: RequestId = "NodeGroups/1.36/17".parse().unwrap();
        assert_eq!((parsed.step.gate, parsed.number), (Gate::NodeGroups, 17));
        assert_eq!(parsed.to_string(), "NodeGroups/1.36/17");
        let of_agent: RequestId = "Agent/flux-v2.9.5/17".parse().unwrap();
        assert_eq!((of_agent.step.gate, of_agent.to_string().as_str()), (Gate::Agent, "Agent/flux-v2.9.5/17"));
        for bad in [
            "",
            "ControlPlane/1.36",
            "Agent/1.36/1",
            "ControlPlane/flux-v2.9.5/1",
            "ControlPlane/v1.36/1",
            "ControlPlane/1.36/1/2",
        ] {
            assert!(bad.parse::<RequestId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn halt_stops_later_kubernetes_versions_and_only_its_own_version_of_an_agent() {
        let step = |gate, target: &str| Step::of(gate, target).unwrap();
        let nodes = step(Gate::NodeGroups, "1.36");
        assert!(nodes.is_stopped_by(step(Gate::ControlPlane, "1.35")) && nodes.is_stopped_by(nodes));
        assert!(!nodes.is_stopped_by(step(Gate::ControlPlane, "1.37")));
        let agent = step(Gate::Agent, "flux-v2.9.5");
        assert!(agent.is_stopped_by(agent) && !agent.is_stopped_by(step(Gate::Agent, "flux-v2.7.5")));
        assert!(!agent.is_stopped_by(nodes) && !nodes.is_stopped_by(agent));
    }

    #[test]
    fn request_is_returned_once_it_is_released_or_a_later_one_exists() {
        let asks = |number| Request { asks: Some(id(number)), ..Request::default() };
        assert!(!Request::default().has_returned(id(5)), "it may still be about to claim it");
        assert!(!asks(5).has_returned(id(5)));
        assert!(!asks(4).has_returned(id(5)), "a late read");
        assert!(asks(6).has_returned(id(5)));
        let claimed = Request { claimed: Some(id(5)), released: Some(id(4)), ..Request::default() };
        assert!(claimed.has_returned(id(4)) && !claimed.has_returned(id(5)));
        let released = Request { released: Some(id(5)), ..Request::default() };
        assert!(released.has_returned(id(5)) && released.has_returned(id(3)) && !released.has_returned(id(6)));
        let given_up = claimed.given_up();
        assert_eq!((given_up.claimed, given_up.released, given_up.has_returned(id(5))), (None, Some(id(5)), true));
    }
}
