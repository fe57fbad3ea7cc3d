//! Versions of Kubernetes whose support by AWS ends soon, each with its clusters: one need for all of them. Pure.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::cluster_table::grouped;
use super::context::Context;
use crate::page::query::Query;
use crate::page::row::SupportEnds;
use crate::page::state::State;

/// A person hears of the end that many days before.
const SOON: i32 = 90;

/// Support of a version that ends soon, or has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub version: String,
    /// The clusters of that version.
    pub href: String,
    pub state: State,
    /// `Standard support ends in 41 days, on 2027-01-11`.
    pub reason: String,
    pub message: String,
}

/// Which support ends, when, and in how many days.
type End = (&'static str, Date, i32);
/// What AWS says of a version, and how many clusters have it.
type Support = (SupportEnds, usize);

/// The versions of clusters that the viewer may see, the oldest first. Once standard support has ended, the end of extended support
/// counts.
pub fn endings(context: &Context<'_>) -> Vec<Ending> {
    let mut found: BTreeMap<(&[u32], &str), Support> = BTreeMap::new();
    for kept in context.fleet.clusters.values().filter(|kept| context.viewer.may_see(&kept.row.id)) {
        let version = (kept.row.version_order.as_slice(), kept.row.version.as_str());
        let (support, clusters) = found.entry(version).or_default();
        *clusters += 1;
        // Not of every cluster it has been observed, and it is the same for all.
        if support.standard.is_none() {
            *support = kept.row.support;
        }
    }
    let today = context.now.to_zoned(context.zone.clone()).date();
    let of_version = |((_, version), (support, clusters)): ((&[u32], &str), Support)| {
        Some(ending(version, end(support, today)?, clusters))
    };
    found.into_iter().filter_map(of_version).collect()
}

/// The end that comes soon, or has come.
fn end(support: SupportEnds, today: Date) -> Option<End> {
    let days_until = |date: Option<Date>| Some((date?, today.until(date?).ok()?.get_days()));
    let (date, days) = days_until(support.standard)?;
    let end = match days_until(support.extended) {
        Some((last, days_left)) if days < 0 => ("Extended", last, days_left),
        _ => ("Standard", date, days),
    };
    Some(end).filter(|(_, _, days)| *days <= SOON)
}

fn ending(version: &str, (which, date, days): End, clusters: usize) -> Ending {
    let (state, when) = match days {
        ..0 => (State::Blocked, format!("ended on {date}")),
        0 => (State::Blocked, "ends today".to_owned()),
        1 => (State::Failing, format!("ends tomorrow, on {date}")),
        2..=30 => (State::Failing, format!("ends in {days} days, on {date}")),
        _ => (State::Warning, format!("ends in {days} days, on {date}")),
    };
    let has =
        if clusters == 1 { "One cluster has it".to_owned() } else { format!("{} clusters have it", grouped(clusters)) };
    Ending {
        version: version.to_owned(),
        href: Query { version: version.to_owned(), page: 1, ..Query::default() }.href(),
        state,
        reason: format!("{which} support {when}"),
        message: format!("{has}. Raise spec.version."),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::api::EksCluster;
    use crate::api::status_cluster::SupportStatus;
    use crate::page::fleet::Fleet;
    use crate::page::tests::{now, ready};
    use crate::page::viewer::Viewer;

    fn cluster(namespace: &str, name: &str, version: &str, ends: (&str, &str)) -> EksCluster {
        let mut cluster = ready(namespace, name);
        let status = cluster.status.as_mut().unwrap();
        status.version = Some(version.to_owned());
        let date = |date: &str| Some(date.to_owned()).filter(|date| !date.is_empty());
        status.support = Some(SupportStatus { standard_ends: date(ends.0), extended_ends: date(ends.1) });
        cluster
    }

    #[test]
    fn versions_that_end_soon_are_needs_of_all_their_clusters() {
        let mut fleet = Fleet::default();
        for (namespace, name, version, ends) in [
            ("a", "late", "1.9", ("2025-01-01", "2026-11-01")),
            ("a", "new", "1.33", ("", "")),
            ("a", "one", "1.33", ("2026-12-21", "2027-12-21")),
            ("b", "two", "1.33", ("2026-12-21", "2027-12-21")),
            ("a", "three", "1.34", ("2027-02-28", "")),
            ("a", "four", "1.35", ("2027-03-02", "")),
            ("a", "extended", "1.32", ("2026-11-01", "2027-11-01")),
            ("a", "unknown", "1.36", ("", "")),
        ] {
            fleet.apply(cluster(namespace, name, version, ends), now());
        }
        let of = |viewer: &Viewer| {
            let context = Context { fleet: &fleet, viewer, now: now(), zone: &TimeZone::UTC, management: "m" };
            endings(&context)
        };
        let shown: Vec<_> = of(&Viewer::of_everything())
            .into_iter()
            .map(|one| (one.version, one.state, one.reason, one.message))
            .collect();
        let expected = [
            ("1.9", State::Blocked, "Extended support ended on 2026-11-01", "One cluster has it. Raise spec.version."),
            (
                "1.33",
                State::Failing,
                "Standard support ends in 20 days, on 2026-12-21",
                "3 clusters have it. Raise spec.version.",
            ),
            (
                "1.34",
                State::Warning,
                "Standard support ends in 89 days, on 2027-02-28",
                "One cluster has it. Raise spec.version.",
            ),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(version, state, reason, message)| (version.to_owned(), state, reason.to_owned(), message.to_owned()))
            .collect();
        assert_eq!(shown, expected);
        assert!(
            of(&Viewer::of_namespaces(&["b"]))[0].message.starts_with("One cluster"),
            "only those that may be seen"
        );
    }
}
