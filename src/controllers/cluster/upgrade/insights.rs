//! EKS's upgrade insights, refreshed before they block an upgrade: EKS evaluates them once a day, and their cause may
//! be fixed. I/O: reads through [`crate::resources::eks::upgrade_data`].

use std::time::Duration;

use jiff::Timestamp;

use super::super::Reconcile;
use crate::api::KubernetesVersion;
use crate::api::upgrade::InsightsPolicy;
use crate::engine::Failure;
use crate::resources::cloud::Cloud;
use crate::resources::eks::upgrade_data;
use crate::upgrade::preflight::{self, Insight};

/// A refresh takes EKS minutes; then what is there counts.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How often its end is polled.
pub const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// Drift intervals between two refreshes that no user requests.
const INTERVALS: u32 = 6;

/// The last refresh that Keelson started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refresh {
    /// None, as far as is known.
    #[default]
    Unknown,
    /// A user asked for a check: older insights do not count.
    Requested(Timestamp),
    /// In progress.
    Running(Timestamp),
    /// It ended, or failed.
    Finished(Timestamp),
}

impl Refresh {
    /// Whether EKS refreshes the insights now.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running(_))
    }

    /// Insights from before this do not block. `drift`: the drift interval.
    fn since(self, now: Timestamp, drift: Duration) -> Timestamp {
        let by_age = now.saturating_sub(crate::engine::failure::span(drift)).unwrap_or(now);
        match self {
            Self::Requested(at) => at.max(by_age),
            Self::Unknown | Self::Running(_) | Self::Finished(_) => by_age,
        }
    }

    /// Whether another one may start.
    fn may_start(self, now: Timestamp, drift: Duration) -> bool {
        match self {
            Self::Unknown | Self::Requested(_) => true,
            Self::Running(_) => false,
            Self::Finished(at) => now.duration_since(at).unsigned_abs() >= drift.saturating_mul(INTERVALS),
        }
    }
}

impl Reconcile<'_> {
    /// The insights, once they count: `None` while EKS refreshes them. The inner `None`: they cannot be read, or are not
    /// needed.
    pub(super) async fn insights(&mut self, cloud: &Cloud, to: KubernetesVersion) -> Option<Option<Vec<Insight>>> {
        let (policy, cluster) = (self.object.spec.upgrade.insights, self.object.cluster_name());
        if policy == InsightsPolicy::Ignore {
            return Some(None);
        }
        let failed = |failure: Failure| tracing::warn!(%failure, "a check of the upgrade could not run");
        if let Refresh::Running(since) = self.state.kind.upgrade.refresh {
            let in_time = self.now.duration_since(since).unsigned_abs() < TIMEOUT;
            let running = upgrade_data::insights_are_refreshed(cloud, &cluster).await.map_err(failed).unwrap_or(false);
            if running && in_time {
                return None;
            }
            self.state.kind.upgrade.refresh = Refresh::Finished(self.now);
        }
        let insights = upgrade_data::insights(cloud, &cluster).await.map_err(failed).ok();
        let (refresh, drift) = (self.state.kind.upgrade.refresh, self.ctx.settings.intervals.drift);
        let since = refresh.since(self.now, drift);
        let outdated = insights.as_deref().is_some_and(|all| preflight::has_outdated_block(policy, to, all, since));
        if outdated && refresh.may_start(self.now, drift) {
            match upgrade_data::start_insights_refresh(cloud, &cluster).await {
                Ok(()) => {
                    self.state.kind.upgrade.refresh = Refresh::Running(self.now);
                    return None;
                }
                Err(failure) => {
                    // The IAM policy of an older Keelson: what EKS evaluated last counts.
                    failed(failure);
                    self.state.kind.upgrade.refresh = Refresh::Finished(self.now);
                }
            }
        }
        Some(insights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refresh_starts_once_in_a_while_and_after_a_request() {
        const DRIFT: Duration = Duration::from_secs(600);
        let at = |second| Timestamp::from_second(second).unwrap();
        for (refresh, since, may_start) in [
            (Refresh::Unknown, 9_400, true),
            (Refresh::Requested(at(9_900)), 9_900, true),
            (Refresh::Requested(at(100)), 9_400, true),
            (Refresh::Running(at(9_900)), 9_400, false),
            (Refresh::Finished(at(9_900)), 9_400, false),
            (Refresh::Finished(at(6_500)), 9_400, false),
            (Refresh::Finished(at(6_400)), 9_400, true),
        ] {
            let found = (refresh.since(at(10_000), DRIFT), refresh.may_start(at(10_000), DRIFT));
            assert_eq!(found, (at(since), may_start), "{refresh:?}");
        }
    }
}
