//! Every error code that AWS names for the calls that Keelson makes: its class, and what a person should do. Pure.
//!
//! The only place that knows codes and phrases; [`super::class`] adds patterns for codes that are not here. Codes are
//! from AWS's service models and error pages (`e2e/tests/test_error_codes.py` compares them, and names the pages);
//! phrases are from messages where one code means several things. docs/aws-errors.md is generated from it.

mod ec2;
mod eks;
mod iam;
mod other;
mod shared;

use super::Class;
use crate::aws::service::Service;

/// A row of the table.
pub struct Row {
    /// The services that return it; empty: all.
    pub services: &'static [Service],
    /// Without a trailing `Exception`, so one entry covers the query and the JSON protocols; empty: any code.
    pub codes: &'static [&'static str],
    /// The message contains one of these phrases (lower case); empty: any message.
    pub phrases: &'static [&'static str],
    pub class: Class,
    pub advice: Advice,
}

/// What a person should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Nothing: Keelson retries, or the answer is not an error to it.
    Retried,
    /// What its class needs, with account and permission of the call.
    OfClass,
    /// To request a higher quota, by its name in Service Quotas.
    Quota(&'static str),
    /// Anything else: a text without a full stop.
    Do(&'static str),
}

/// The tables, in the order of the page: a service's own rows, then those of all services.
pub const TABLES: [(&str, &[Row]); 5] = [
    ("EKS", eks::ROWS),
    ("EC2", ec2::ROWS),
    ("IAM and STS", iam::ROWS),
    ("SSM, SQS and CloudWatch Logs", other::ROWS),
    ("All services", shared::ROWS),
];

const fn row(services: &'static [Service], codes: &'static [&'static str], class: Class, advice: Advice) -> Row {
    Row { services, codes, phrases: &[], class, advice }
}

const fn phrase(
    services: &'static [Service],
    codes: &'static [&'static str],
    phrases: &'static [&'static str],
    class: Class,
    advice: Advice,
) -> Row {
    Row { services, codes, phrases, class, advice }
}

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
