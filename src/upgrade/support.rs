//! End of AWS support for a Kubernetes version, and warnings of it. Pure.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html>.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

use crate::api::KubernetesVersion;
use crate::api::cluster::SupportType;

/// How many days ahead warnings are issued, the last one first.
const AHEAD: [i32; 2] = [30, 90];

/// The last days of support of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SupportDates {
    /// Of standard support.
    pub standard: Option<Date>,
    /// Of extended support.
    pub extended: Option<Date>,
}

/// Which support ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    Standard,
    Extended,
}

/// The record of an issued warning, so that it is issued once. Format: `1.33/Standard/90`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupportNotice {
    /// The version.
    pub version: KubernetesVersion,
    /// Which support ends.
    pub support: Support,
    /// Whether it was the warning 90 or 30 days ahead.
    pub ahead: i32,
}

/// A warning of an end of support that comes, or that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupportWarning {
    /// The record to store once it is issued.
    pub notice: SupportNotice,
    /// The last day of the support.
    pub ends: Date,
    /// Days until then; negative: since then.
    pub days: i32,
    /// The support type of the cluster, which determines what AWS does at the end, if the spec sets it.
    pub support_type: Option<SupportType>,
}

impl fmt::Display for SupportWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { notice: SupportNotice { version, support, .. }, ends, days, support_type } = self;
        let which = match support {
            Support::Standard => "standard",
            Support::Extended => "extended",
        };
        if *days < 0 {
            let now = match (support, support_type) {
                (Support::Standard, Some(SupportType::Extended)) => "AWS charges the price of extended support",
                (Support::Standard, None) => {
                    "AWS upgrades it or charges for extended support, by the cluster's supportType"
                }
                (Support::Standard, Some(SupportType::Standard)) | (Support::Extended, _) => {
                    "AWS upgrades the control plane by itself"
                }
            };
            return write!(f, "{which} support of Kubernetes {version} has ended on {ends}: {now}; raise spec.version");
        }
        let then = match (support, support_type) {
            (Support::Standard, Some(SupportType::Standard)) => "AWS then upgrades the control plane by itself",
            (Support::Standard, Some(SupportType::Extended)) => {
                "from then on AWS charges the price of extended support"
            }
            (Support::Standard, None) => {
                "AWS then upgrades it or charges for extended support, by the cluster's supportType"
            }
            (Support::Extended, _) => "AWS then upgrades the control plane by itself",
        };
        let days = match days {
            0 => "today".to_owned(),
            1 => "in 1 day".to_owned(),
            days => format!("in {days} days"),
        };
        write!(f, "{which} support of Kubernetes {version} ends {days}, on {ends}: {then}; raise spec.version before")
    }
}

/// Each support of the version that ends within 90 days, or has ended: what does not pass before the version is another one.
pub fn ending(
    version: KubernetesVersion,
    dates: SupportDates,
    support_type: Option<SupportType>,
    today: Date,
) -> Vec<SupportWarning> {
    let ends = [(Support::Standard, dates.standard), (Support::Extended, dates.extended)];
    let warning = |(support, ends): (Support, Option<Date>)| {
        let days = today.until(ends?).ok()?.get_days();
        let ahead = AHEAD.into_iter().find(|ahead| days <= *ahead)?;
        Some(SupportWarning { notice: SupportNotice { version, support, ahead }, ends: ends?, days, support_type })
    };
    ends.into_iter().filter_map(warning).collect()
}

/// The warning that is due today, if any. `issued` is the last issued one.
pub fn warning(
    version: KubernetesVersion,
    dates: SupportDates,
    support_type: Option<SupportType>,
    today: Date,
    issued: Option<SupportNotice>,
) -> Option<SupportWarning> {
    let ends = [(Support::Standard, dates.standard), (Support::Extended, dates.extended)];
    let (support, ends, days) = ends.into_iter().find_map(|(support, ends)| {
        let days = today.until(ends?).ok()?.get_days();
        (days >= 0).then_some((support, ends?, days))
    })?;
    let ahead = AHEAD.into_iter().find(|ahead| days <= *ahead)?;
    let known =
        |issued: &SupportNotice| issued.version == version && issued.support == support && issued.ahead <= ahead;
    let due = SupportNotice { version, support, ahead };
    (!issued.as_ref().is_some_and(known)).then_some(SupportWarning { notice: due, ends, days, support_type })
}

impl fmt::Display for SupportNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}/{}", self.version, self.support, self.ahead)
    }
}

/// The text is not the record of a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a warning, as in 1.33/Standard/90")]
pub struct InvalidNotice;

impl FromStr for SupportNotice {
    type Err = InvalidNotice;

    fn from_str(text: &str) -> Result<Self, InvalidNotice> {
        let mut parts = text.split('/');
        let mut part = || parts.next().ok_or(InvalidNotice);
        let version = part()?.parse().map_err(|_| InvalidNotice)?;
        let support = match part()? {
            "Standard" => Support::Standard,
            "Extended" => Support::Extended,
            _ => return Err(InvalidNotice),
        };
        let ahead = part()?.parse().map_err(|_| InvalidNotice)?;
        Ok(Self { version, support, ahead })
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn version() -> KubernetesVersion {
        "1.33".parse().unwrap()
    }

    #[test]
    fn end_of_support_is_warned_once_90_and_30_days_ahead() {
        let dates = SupportDates { standard: Some(date(2026, 12, 31)), extended: Some(date(2027, 12, 31)) };
        let mut issued = None;
        let mut warnings = Vec::new();
        let mut today = date(2026, 9, 1);
        while today < date(2028, 2, 1) {
            // Three days a week, no reconcile runs.
            if today.day() % 7 > 2
                && let Some(warning) = warning(version(), dates, None, today, issued)
            {
                // The record is stored as text.
                issued = Some(warning.notice.to_string().parse().unwrap());
                warnings.push(format!("{today} {} {} days", warning.notice, warning.days));
            }
            today = today.tomorrow().unwrap();
        }
        let expected = [
            "2026-10-03 1.33/Standard/90 89 days",
            "2026-12-03 1.33/Standard/30 28 days",
            "2027-10-03 1.33/Extended/90 89 days",
            "2027-12-03 1.33/Extended/30 28 days",
        ];
        assert_eq!(warnings, expected);
    }

    #[test]
    fn another_version_is_warned_again_and_missing_date_is_not() {
        let dates = SupportDates { standard: Some(date(2026, 12, 31)), extended: None };
        let today = date(2026, 12, 20);
        let issued = SupportNotice { version: "1.32".parse().unwrap(), support: Support::Standard, ahead: 30 };
        assert!(warning(version(), dates, None, today, Some(issued)).is_some());
        assert!(warning(version(), dates, None, date(2026, 9, 1), None).is_none());
        assert!(warning(version(), dates, None, date(2027, 1, 1), None).is_none());
        assert!(warning(version(), SupportDates::default(), None, today, None).is_none());
    }

    #[test]
    fn warning_describes_what_aws_does() {
        let dates = SupportDates { standard: Some(date(2026, 12, 31)), extended: None };
        let message =
            |support_type| warning(version(), dates, support_type, date(2026, 12, 20), None).unwrap().to_string();
        let standard = "standard support of Kubernetes 1.33 ends in 11 days, on 2026-12-31: AWS then upgrades the control \
                        plane by itself; raise spec.version before";
        assert_eq!(message(Some(SupportType::Standard)), standard);
        assert!(message(Some(SupportType::Extended)).contains("charges the price of extended support"));
        assert!(message(None).contains("by the cluster's supportType"));
    }

    #[test]
    fn end_that_has_come_stays_until_the_version_is_another_one() {
        let dates = SupportDates { standard: Some(date(2026, 12, 31)), extended: Some(date(2027, 12, 31)) };
        let at = |today| {
            let found = ending(version(), dates, Some(SupportType::Extended), today);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(at(date(2026, 10, 1)).is_empty());
        let before = "standard support of Kubernetes 1.33 ends in 90 days, on 2026-12-31: from then on AWS charges the price \
                      of extended support; raise spec.version before";
        assert_eq!(at(date(2026, 10, 2)), [before]);
        let after = "standard support of Kubernetes 1.33 has ended on 2026-12-31: AWS charges the price of extended support; \
                     raise spec.version";
        assert_eq!((at(date(2027, 1, 1)), at(date(2027, 10, 1))), (vec![after.to_owned()], vec![after.to_owned()]));
        let both = at(date(2028, 1, 1));
        let last = "extended support of Kubernetes 1.33 has ended on 2027-12-31: AWS upgrades the control plane by itself; raise \
                    spec.version";
        assert_eq!(both, [after, last]);
        assert!(ending(version(), SupportDates::default(), None, date(2028, 1, 1)).is_empty());
    }
}
