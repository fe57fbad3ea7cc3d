//! The report: a line for each finding. Pure.

use std::fmt::Write;

use serde::Serialize;

use crate::cli::plan::style::{of_sign, styled};
use crate::resources::account_checks::{Finding, Outcome};

/// What was found for one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `EksCluster default/demo`.
    pub object: String,
    /// `demo in eu-west-1, Kubernetes 1.36`.
    pub about: String,
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings have that outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.findings.iter().filter(|finding| finding.outcome == outcome).count()
    }
}

/// The reports for people: a line for each finding, below it what to do.
pub fn text(reports: &[Report]) -> String {
    let mut out = String::new();
    for report in reports {
        let _ = writeln!(out, "{}: {}", report.object, report.about);
        let width = report.findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
        for Finding { check, outcome, message, advice } in &report.findings {
            let (word, sign) = match outcome {
                Outcome::Passed => ("passed ", "+"),
                Outcome::Warning => ("warning", "~"),
                Outcome::Failed => ("FAILED ", "-"),
            };
            let _ = writeln!(out, "  {}  {check:width$}  {message}", styled(of_sign(sign), word));
            if let Some(advice) = advice {
                let _ = writeln!(out, "  {:7}  {:width$}  -> {advice}", "", "");
            }
        }
        let (failed, warnings) = (report.count(Outcome::Failed), report.count(Outcome::Warning));
        let passed = report.count(Outcome::Passed);
        let _ = writeln!(out, "{passed} passed, {warnings} with a warning, {failed} failed\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{self, Structured};

    /// A report with each outcome.
    fn reports() -> [Report; 1] {
        let findings = vec![
            Finding::passed("region", "eu-west-1 is enabled"),
            Finding::warning("zones", "one zone has no such instances", "name other instance types"),
            Finding::failed("quota", "VPCs: 5 of 5 used, 1 needed", "delete what is unused"),
        ];
        [Report { object: "EksCluster default/demo".into(), about: "demo in eu-west-1".into(), findings }]
    }

    #[test]
    fn text_for_people() {
        insta::assert_snapshot!(anstream::adapter::strip_str(&text(&reports())).to_string());
    }

    #[test]
    fn answer_for_programs() {
        insta::assert_snapshot!(output::format(&reports(), Structured::Json).unwrap());
    }

    #[test]
    fn failed_finding_is_marked_and_followed_by_what_to_do() {
        let text = anstream::adapter::strip_str(&text(&reports())).to_string();
        let lines: Vec<&str> = text.lines().collect();
        let failed = lines.iter().position(|line| line.starts_with("  FAILED   quota ")).expect("a line");
        assert!(lines[failed + 1].trim_start().starts_with("-> delete what is unused"), "{text}");
        assert_eq!(lines[failed + 2], "1 passed, 1 with a warning, 1 failed");
        let json = serde_json::to_value(reports()).unwrap();
        assert_eq!(json[0]["findings"][2]["outcome"], "failed");
        assert_eq!(json[0]["findings"][0].get("advice"), None);
    }
}
