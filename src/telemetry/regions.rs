//! Bounds the series that have a region as label: objects may name regions that do not exist. No I/O.

use std::collections::HashSet;

use parking_lot::Mutex;

/// Most pairs of account and region with series of their own.
const MAX: usize = 256;
/// The region of all others.
const OTHER: &str = "other";

/// The pairs of account and region that have series.
#[derive(Debug, Default)]
pub struct Regions(Mutex<HashSet<(String, String)>>);

impl Regions {
    /// The region as label for calls of the account.
    pub fn label<'a>(&self, account: &str, region: &'a str) -> &'a str {
        let pair = (account.to_owned(), region.to_owned());
        let mut known = self.0.lock();
        if known.contains(&pair) || known.len() < MAX {
            known.insert(pair);
            return region;
        }
        OTHER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_beyond_the_bound_share_their_series_and_earlier_ones_keep_theirs() {
        let regions = Regions::default();
        assert_eq!(regions.label("1", "eu-west-1"), "eu-west-1");
        for n in 0..1_000 {
            regions.label("1", &format!("zz-nowhere-{n}"));
        }
        assert_eq!(regions.label("1", "zz-nowhere-999"), OTHER);
        assert_eq!(regions.label("1", "eu-west-1"), "eu-west-1");
        assert_eq!(regions.0.lock().len(), MAX);
    }
}
