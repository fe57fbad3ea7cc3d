//! Health issues as EKS reports them, in one form for all that has them. Pure.

use aws_sdk_eks::types::{AddonIssue, CapabilityIssue, ClusterIssue, FargateProfileIssue, Issue};

use crate::aws::errors::health::Reported;

/// An issue of the SDK.
pub trait SdkIssue {
    /// In the form of the table of issues.
    fn reported(&self) -> Reported;
}

macro_rules! sdk_issue {
    ($($kind:ty),*) => {$(
        impl SdkIssue for $kind {
            fn reported(&self) -> Reported {
                Reported {
                    code: self.code().map_or("", |code| code.as_str()).to_owned(),
                    message: self.message().unwrap_or_default().to_owned(),
                    resource_ids: self.resource_ids().to_vec(),
                }
            }
        }
    )*};
}

sdk_issue!(AddonIssue, ClusterIssue, FargateProfileIssue, Issue);

impl SdkIssue for CapabilityIssue {
    fn reported(&self) -> Reported {
        Reported {
            code: self.code().map_or("", |code| code.as_str()).to_owned(),
            message: self.message().unwrap_or_default().to_owned(),
            resource_ids: Vec::new(),
        }
    }
}

/// EKS's code for the first of them.
pub fn first_code(issues: &[Reported]) -> Option<String> {
    issues.first().map(|issue| issue.code.clone())
}

/// All of a list.
pub fn reported<I: SdkIssue>(issues: &[I]) -> Vec<Reported> {
    issues.iter().map(SdkIssue::reported).collect()
}

/// A JSON list of `{code, message, resourceIds}`, which status contains.
pub fn to_json(issues: &[Reported]) -> String {
    let issue = |Reported { code, message, resource_ids }: &Reported| {
        let message = Some(message).filter(|message| !message.is_empty());
        serde_json::json!({"code": code, "message": message, "resourceIds": resource_ids})
    };
    serde_json::Value::from_iter(issues.iter().map(issue)).to_string()
}
