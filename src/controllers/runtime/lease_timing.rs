//! Lease durations and their validation. Pure.

use std::time::Duration;

/// Lease durations, named as in controller-runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long other replicas wait for a renewal before they take over.
    pub lease_duration: Duration,
    /// How long a renewal counts for the holder itself. It is shorter than `lease_duration`, so that the holder's
    /// writes have ended, or were aborted, before another replica starts.
    pub renew_deadline: Duration,
    /// How often the holder renews, and the others check.
    pub retry_period: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { lease_duration: seconds(15), renew_deadline: seconds(10), retry_period: seconds(2) }
    }
}

impl Timing {
    /// Checks that a holder notices the loss of its lease before another replica may take it.
    ///
    /// # Errors
    /// Which flag is wrong, and a valid value.
    pub fn check(self) -> Result<Self, String> {
        let Self { lease_duration, renew_deadline, retry_period } = self;
        if lease_duration < Duration::from_secs(1) || lease_duration.subsec_nanos() != 0 {
            return Err(format!("--lease-duration is {lease_duration:?}: a Lease needs whole seconds, 1 s or more"));
        }
        if retry_period.is_zero() {
            return Err("--retry-period is 0: set a positive duration, such as 2s".to_owned());
        }
        if renew_deadline + self.request_timeout() >= lease_duration {
            return Err(format!(
                "--renew-deadline is {renew_deadline:?}: it must be shorter than --lease-duration ({lease_duration:?})"
            ));
        }
        if retry_period * 2 + self.request_timeout() >= renew_deadline {
            return Err(format!(
                "--retry-period is {retry_period:?}: two attempts must fit into --renew-deadline ({renew_deadline:?})"
            ));
        }
        Ok(self)
    }

    /// Timeout of a request to the API server: an unresponsive one must not delay the next attempt.
    pub(crate) fn request_timeout(self) -> Duration {
        (self.lease_duration.saturating_sub(self.renew_deadline) * 4 / 5).min(Duration::from_secs(4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_expires_before_the_lease() {
        let timing = |lease_duration, renew_deadline, retry_period| {
            let millis = Duration::from_millis;
            Timing {
                lease_duration: millis(lease_duration),
                renew_deadline: millis(renew_deadline),
                retry_period: millis(retry_period),
            }
            .check()
        };
        assert_eq!(Timing::default().check(), Ok(Timing::default()));
        assert!(timing(6000, 4000, 500).is_ok());
        let rejected = [
            (timing(10_000, 10_000, 2000), "--renew-deadline"),
            (timing(10_000, 15_000, 2000), "--renew-deadline"),
            (timing(15_000, 10_000, 4000), "--retry-period"),
            (timing(15_000, 10_000, 0), "--retry-period"),
            (timing(1500, 1000, 100), "--lease-duration"),
            (timing(0, 0, 0), "--lease-duration"),
        ];
        for (result, flag) in rejected {
            assert!(result.as_ref().is_err_and(|why| why.starts_with(flag)), "{flag}: {result:?}");
        }
    }
}
