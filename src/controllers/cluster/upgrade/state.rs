//! What an upgrade remembers between two reconciles of its cluster. No I/O.

use jiff::Timestamp;

use super::insights::Refresh;
use super::wave::WaveMemory;
use super::workload::WorkloadReads;
use crate::upgrade::preflight::Preflight;

/// State kept between two reconciles. It can be lost without harm: it is read again.
#[derive(Default)]
pub struct UpgradeState {
    pub(super) preflight: Option<(Preflight, Timestamp)>,
    pub(super) workload: WorkloadReads,
    pub(super) refresh: Refresh,
    pub(super) wave: WaveMemory,
}

impl UpgradeState {
    /// On the user's request: repeats the checks, from data that is read from now on.
    pub fn forget(&mut self) {
        self.preflight = None;
        self.refresh = Refresh::Requested(Timestamp::now());
        self.workload.forget();
    }
}
