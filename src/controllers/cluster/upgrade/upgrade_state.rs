//! What an upgrade remembers between two reconciles of its cluster. No I/O.

use jiff::Timestamp;

use super::insights::Refresh;
use super::workload::WorkloadReads;
use crate::controllers::states::LastWrite;
use crate::rollout::{Lane, Request};
use crate::upgrade::preflight::Preflight;

/// State kept between two reconciles. It can be lost without harm: it is read again.
#[derive(Default)]
pub struct UpgradeState {
    pub(super) preflight: Option<(Preflight, Timestamp)>,
    pub(super) workload: WorkloadReads,
    pub(super) refresh: Refresh,
    /// Of each lane.
    waves: [WaveMemory; Lane::ALL.len()],
}

/// What is remembered of the writes of what the cluster says to its FleetRollout, until the cache shows them.
#[derive(Default)]
pub struct WaveMemory {
    pub(super) written: Option<(Request, LastWrite)>,
    /// When to write again what was not written.
    pub(super) retry_at: Option<Timestamp>,
    /// How many writes had no answer: one may be stored late, so nothing begins before another one is stored.
    pub(super) unanswered: i64,
}

impl UpgradeState {
    /// What is remembered of the writes of a lane.
    pub(super) fn wave(&self, lane: Lane) -> &WaveMemory {
        &self.waves[lane as usize]
    }

    pub(super) fn wave_mut(&mut self, lane: Lane) -> &mut WaveMemory {
        &mut self.waves[lane as usize]
    }

    /// On the user's request: repeats the checks, from data that is read from now on.
    pub fn forget(&mut self) {
        self.preflight = None;
        self.refresh = Refresh::Requested(Timestamp::now());
        self.workload.forget();
    }
}
