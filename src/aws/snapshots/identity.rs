//! The stored attributes of IAM roles. Pure.

use std::collections::BTreeMap;

use aws_sdk_iam::types::RoleDetail;
use jiff::Timestamp;

use crate::aws::tags::Tags;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub name: String,
    pub arn: String,
    pub path: String,
    /// JSON, decoded.
    pub trust_policy: String,
    /// ARNs of attached managed policies.
    pub attached: Vec<String>,
    /// Inline policies by name: JSON, decoded.
    pub inline: BTreeMap<String, String>,
    pub permissions_boundary: Option<String>,
    /// Creation time, to the second.
    pub created: Option<Timestamp>,
    /// Instance profiles with this role: they block its deletion.
    pub instance_profiles: Vec<String>,
    pub tags: Tags,
}

impl From<&RoleDetail> for Role {
    fn from(role: &RoleDetail) -> Self {
        let inline = role.role_policy_list().iter().filter_map(|policy| {
            Some((policy.policy_name()?.to_owned(), decode(policy.policy_document().unwrap_or_default())))
        });
        let profiles = role.instance_profile_list().iter();
        Role {
            name: role.role_name().unwrap_or_default().to_owned(),
            arn: role.arn().unwrap_or_default().to_owned(),
            path: role.path().unwrap_or("/").to_owned(),
            trust_policy: decode(role.assume_role_policy_document().unwrap_or_default()),
            attached: role
                .attached_managed_policies()
                .iter()
                .filter_map(|p| p.policy_arn().map(str::to_owned))
                .collect(),
            inline: inline.collect(),
            permissions_boundary: role
                .permissions_boundary()
                .and_then(|b| b.permissions_boundary_arn())
                .map(str::to_owned),
            created: role.create_date().and_then(|at| Timestamp::from_second(at.secs()).ok()),
            instance_profiles: profiles.map(|profile| profile.instance_profile_name().to_owned()).collect(),
            tags: Tags::from_iam(role.tags()),
        }
    }
}

/// IAM returns policy documents percent-encoded (RFC 3986); emulators often do not. A `+` is literal.
pub fn decode(document: &str) -> String {
    let mut bytes = Vec::with_capacity(document.len());
    let mut rest = document.as_bytes();
    while let [first, tail @ ..] = rest {
        let decoded = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        match decoded {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_documents_are_decoded_or_read_as_they_are() {
        let plain = r#"{"Version":"2012-10-17","Statement":[{"Action":"sts:AssumeRole"}]}"#;
        let encoded = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Action%22%3A%22sts%3AAssumeRole%22%7D%5D%7D";
        assert_eq!(decode(encoded), plain);
        assert_eq!(decode(plain), plain);
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz+ü"), "%zz+ü");
    }
}
