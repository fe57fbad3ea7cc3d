//! A row of the tables of codes. Pure.

use crate::aws::service::Service;
use crate::engine::Class;

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

pub(super) const fn row(
    services: &'static [Service],
    codes: &'static [&'static str],
    class: Class,
    advice: Advice,
) -> Row {
    Row { services, codes, phrases: &[], class, advice }
}

pub(super) const fn phrase(
    services: &'static [Service],
    codes: &'static [&'static str],
    phrases: &'static [&'static str],
    class: Class,
    advice: Advice,
) -> Row {
    Row { services, codes, phrases, class, advice }
}
