//! Validates the source of an agent's spec: its kind, URL, reference and interval.
//!
//! Not allowed here: which agent, and what it does with the source. Pure.

use std::time::Duration;

use super::agent::InvalidField;
use super::shared_input::{GitRef, OciRef};
use super::validate_source::{self, OciUrl, SourcePolicy, SourceUrl};
use crate::api::duration;
use crate::api::gitops::{
    AWS_PROVIDER, GitReference, GitSource as Git, OciReference, OciSource as Oci, Source as Spec, SourceKind as Kind,
};

/// For registries that need only a Secret.
const GENERIC: &str = "generic";

/// The parsed source; its other fields as in the spec.
#[derive(Clone, Debug)]
pub enum ValidSource {
    Git { url: SourceUrl, reference: GitRef, spec: Git },
    Oci { url: OciUrl, reference: OciRef, spec: Oci },
}

/// Validates a source, at field `at` of the spec; also returns its polling interval.
pub fn valid(source: &Spec, policy: SourcePolicy, at: &str) -> Result<(ValidSource, Duration), InvalidField> {
    match source.kind()? {
        Kind::Git(git) => {
            let at = format!("{at}.git");
            Ok((valid_git(git, policy, &at)?, interval(&format!("{at}.interval"), &git.interval)?))
        }
        Kind::Oci(oci) => {
            let at = format!("{at}.oci");
            Ok((valid_oci(oci, policy, &at)?, interval(&format!("{at}.interval"), &oci.interval)?))
        }
    }
}

fn valid_git(git: &Git, policy: SourcePolicy, at: &str) -> Result<ValidSource, InvalidField> {
    let field = |name: &str| format!("{at}.{name}");
    let url = validate_source::url(&git.url, policy).map_err(|why| InvalidField::new(field("url"), why))?;
    if git.secret_ref.is_none() {
        validate_source::secret(&url, None).map_err(|why| InvalidField::new(field("secretRef"), why))?;
    }
    let reference = match git.reference.kind()? {
        GitReference::Branch(value) => GitRef::Branch(value.into()),
        GitReference::Tag(value) => GitRef::Tag(value.into()),
        GitReference::Semver(value) => GitRef::Semver(value.into()),
        GitReference::Commit(value) => GitRef::Commit(value.into()),
        GitReference::Name(value) => GitRef::Name(value.into()),
    };
    let (name, value) = reference.field();
    validate_source::reference(name, value).map_err(|why| InvalidField::new(field("ref"), why))?;
    timeout(&field("timeout"), git.timeout.as_deref())?;
    for directory in &git.sparse_checkout {
        validate_source::path(directory).map_err(|why| InvalidField::new(field("sparseCheckout"), why))?;
    }
    Ok(ValidSource::Git { url, reference, spec: git.clone() })
}

fn valid_oci(oci: &Oci, policy: SourcePolicy, at: &str) -> Result<ValidSource, InvalidField> {
    let field = |name: &str| format!("{at}.{name}");
    let url = validate_source::oci_url(&oci.url, policy).map_err(|why| InvalidField::new(field("url"), why))?;
    match oci.provider.as_str() {
        GENERIC => {}
        AWS_PROVIDER if !url.is_in_ecr() => {
            let why = "aws is for private registries in ECR, and url is not one: set provider: generic";
            return Err(InvalidField::new(field("provider"), why));
        }
        AWS_PROVIDER if oci.secret_ref.is_some() => {
            let why = "would replace the provider's login: remove it, or set provider: generic";
            return Err(InvalidField::new(field("secretRef"), why));
        }
        AWS_PROVIDER => {}
        other => {
            let why = format!("{other:?} is not supported in EKS; supported are {GENERIC} and {AWS_PROVIDER}");
            return Err(InvalidField::new(field("provider"), why));
        }
    }
    let reference = match oci.reference.kind()? {
        OciReference::Tag(value) => OciRef::Tag(value.into()),
        OciReference::Semver(value) => OciRef::Semver(value.into()),
        OciReference::Digest(value) => OciRef::Digest(value.into()),
    };
    timeout(&field("timeout"), oci.timeout.as_deref())?;
    Ok(ValidSource::Oci { url, reference, spec: oci.clone() })
}

/// Parses `10m`, `1h30m`, `90s`.
pub fn interval(field: &str, text: &str) -> Result<Duration, InvalidField> {
    duration::parse(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| InvalidField::new(field, duration::refusal(text)))
}

/// Checks a timeout, which the agent gets as it is in the spec.
fn timeout(field: &str, text: Option<&str>) -> Result<(), InvalidField> {
    text.map_or(Ok(()), |text| interval(field, text).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_interval_is_refused() {
        assert_eq!(interval("x", "1h30m").unwrap().as_secs(), 5400);
        for bad in ["", "0s", "-1m", "ten"] {
            assert!(interval("x", bad).is_err(), "{bad}");
        }
    }
}
