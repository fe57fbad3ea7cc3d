//! Reads EKS lists: all pages, and the details of each item, which may be deleted in between.

use crate::aws::AwsError;
use crate::engine::Class;

/// Reads all pages of an EKS list. Arguments: session, resource name for messages, action, request without a token,
/// field of the response. Returns the first error from the enclosing function.
macro_rules! all_pages {
    ($aws:expr, $name:expr, $action:literal, $request:expr, $items:ident) => {{
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let request = $request.set_next_token(next);
            let answer = $aws.call(crate::aws::Service::Eks, $action, $name, request.send()).await?;
            all.extend(answer.$items().iter().cloned());
            next = answer.next_token;
            if next.is_none() {
                break all;
            }
        }
    }};
}
pub(crate) use all_pages;

/// The details of a listed item; `None` if it was deleted after the list was read.
pub(crate) fn if_exists<T>(answer: Result<T, AwsError>) -> Result<Option<T>, AwsError> {
    match answer {
        Err(error) if error.class() == Class::NotFound => Ok(None),
        other => other.map(Some),
    }
}
