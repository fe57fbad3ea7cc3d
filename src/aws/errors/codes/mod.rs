//! Every error code that AWS names for the calls that Keelson makes: its class, and what a person should do. Pure.
//!
//! The only place that knows codes and phrases; [`super::class`] adds patterns for codes that are not here. Codes are
//! from AWS's service models and error pages (`e2e/tests/test_error_codes.py` compares them, and names the pages);
//! phrases are from messages where one code means several things. docs/aws-errors.md is generated from it.

mod ec2;
mod eks;
mod iam;
mod other;
mod row;
mod shared;

pub use row::{Advice, Row};

use crate::aws::service::Service;

/// The tables, in the order of the page: a service's own rows, then those of all services.
pub const TABLES: [(&str, &[Row]); 5] = [
    ("EKS", eks::ROWS),
    ("EC2", ec2::ROWS),
    ("IAM and STS", iam::ROWS),
    ("SSM, SQS, EventBridge, CloudWatch Logs and EC2 Auto Scaling", other::ROWS),
    ("All services", shared::ROWS),
];

/// The row of an error: where the message decides, that one; otherwise the service's own before that of all services.
pub fn find(service: Service, code: &str, message: &str) -> Option<&'static Row> {
    let code = code.strip_suffix("Exception").unwrap_or(code);
    let message = message.to_lowercase();
    let rows = || {
        let all = TABLES.iter().flat_map(|(_, rows)| rows.iter());
        all.filter(|row| row.services.is_empty() || row.services.contains(&service))
            .filter(|row| row.codes.is_empty() || row.codes.contains(&code))
    };
    let by_phrase = rows().find(|row| row.phrases.iter().any(|phrase| message.contains(phrase)));
    by_phrase.or_else(|| rows().find(|row| row.phrases.is_empty()))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
