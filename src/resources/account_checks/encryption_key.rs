//! The KMS key that encrypts a cluster's Secrets. EKS needs an enabled symmetric key in the cluster's region:
//! <https://docs.aws.amazon.com/eks/latest/userguide/enable-kms.html>.

use super::Finding;
use crate::aws::{AwsError, Service, Session};

const CHECK: &str = "encryption key";

/// What KMS says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// `Enabled`, `Disabled`, `PendingDeletion`.
    pub state: String,
    /// `SYMMETRIC_DEFAULT`.
    pub spec: String,
    /// `ENCRYPT_DECRYPT`.
    pub usage: String,
}

/// The key with that ARN; `None`: it does not exist.
///
/// # Errors
/// AWS could not be asked.
pub async fn read(aws: &Session, arn: &str) -> Result<Option<Key>, AwsError> {
    let kms = aws.kms();
    match aws.call(Service::Kms, "DescribeKey", arn, kms.describe_key().key_id(arn).send()).await {
        Err(error) if error.is_not_found() => Ok(None),
        other => Ok(other?.key_metadata.map(|key| Key {
            state: key.key_state().map(|state| state.as_str().to_owned()).unwrap_or_default(),
            spec: key.key_spec().map(|spec| spec.as_str().to_owned()).unwrap_or_default(),
            usage: key.key_usage().map(|usage| usage.as_str().to_owned()).unwrap_or_default(),
        })),
    }
}

/// Whether EKS can use the key.
pub fn judge(arn: &str, key: Option<&Key>) -> Finding {
    let failed = |why: String, advice: &str| Finding::failed(CHECK, format!("{arn} {why}"), advice);
    let Some(Key { state, spec, usage }) = key else {
        return failed("does not exist".to_owned(), "correct spec.secretsEncryption.kmsKeyArn");
    };
    if spec != "SYMMETRIC_DEFAULT" || usage != "ENCRYPT_DECRYPT" {
        return failed(
            format!("is a key of {spec} for {usage}"),
            "EKS needs a symmetric key that encrypts and decrypts",
        );
    }
    match state.as_str() {
        "Enabled" => Finding::passed(CHECK, format!("{arn} is enabled")),
        "PendingDeletion" => {
            failed("is being deleted".to_owned(), "cancel its deletion and enable it, or name another")
        }
        other => failed(format!("is {other}"), "enable it: without it the API server can read no Secret"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn only_an_enabled_symmetric_key_passes() {
        let key =
            |state: &str, spec: &str| Key { state: state.into(), spec: spec.into(), usage: "ENCRYPT_DECRYPT".into() };
        for (found, outcome) in [
            (Some(key("Enabled", "SYMMETRIC_DEFAULT")), Outcome::Passed),
            (Some(key("Disabled", "SYMMETRIC_DEFAULT")), Outcome::Failed),
            (Some(key("PendingDeletion", "SYMMETRIC_DEFAULT")), Outcome::Failed),
            (Some(key("Enabled", "RSA_2048")), Outcome::Failed),
            (None, Outcome::Failed),
        ] {
            assert_eq!(judge("arn", found.as_ref()).outcome, outcome, "{found:?}");
        }
    }
}
