//! The versions of the launch template: one with the desired contents is found, or created. I/O: EC2.
//!
//! Versions never change, so a version that exists is used again. A create whose answer was lost is found by its contents, and while
//! EC2 does not show it yet, the client token makes EC2 return it: the token depends on the contents, on the newest version that EC2
//! shows, and on the one that the node group has if it was deleted.

use super::content::Content;
use crate::aws::tokens::client_token;
use crate::aws::{AwsError, Service, Session};
use crate::engine::{Class, Failure};
use crate::resources::cloud::Cloud;

/// A version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub number: i64,
    pub is_default: bool,
    pub content: Content,
}

/// Reads the contents of one version; `None` if it does not exist.
///
/// # Errors
/// Those of the read.
pub async fn read(aws: &Session, template: &str, version: &str) -> Result<Option<Content>, AwsError> {
    let request = aws.ec2.describe_launch_template_versions().launch_template_id(template).versions(version);
    match aws.call(Service::Ec2, "DescribeLaunchTemplateVersions", template, request.send()).await {
        Err(error) if error.is_not_found() => Ok(None),
        other => {
            let found = other?;
            let data = found.launch_template_versions().first().and_then(|version| version.launch_template_data());
            Ok(data.map(Content::from))
        }
    }
}

/// Reads all versions.
///
/// # Errors
/// Those of the reads.
pub async fn list(aws: &Session, template: &str) -> Result<Vec<Version>, AwsError> {
    let (mut all, mut token) = (Vec::new(), None);
    loop {
        let request = aws.ec2.describe_launch_template_versions().launch_template_id(template).set_next_token(token);
        let page = aws.call(Service::Ec2, "DescribeLaunchTemplateVersions", template, request.send()).await?;
        all.extend(page.launch_template_versions().iter().filter_map(|one| {
            Some(Version {
                number: one.version_number()?,
                is_default: one.default_version().unwrap_or_default(),
                content: one.launch_template_data().map(Content::from).unwrap_or_default(),
            })
        }));
        token = page.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(all);
        }
    }
}

/// The newest version with these contents.
pub fn find(all: &[Version], content: &Content) -> Option<i64> {
    all.iter().filter(|one| one.content == *content).map(|one| one.number).max()
}

/// The versions that nothing needs: neither the node group, whose version is `used`, nor EC2, which keeps the default one; and not the
/// newest.
pub fn obsolete(all: &[Version], used: Option<&str>) -> Vec<String> {
    let newest = all.iter().map(|one| one.number).max();
    let is_obsolete = |one: &&Version| !one.is_default && Some(one.number) != newest;
    let numbers = all.iter().filter(is_obsolete).map(|one| one.number.to_string());
    numbers.filter(|number| Some(number.as_str()) != used).collect()
}

/// The version with these contents, which is created if there is none. `used`: the one that the node group has now.
///
/// # Errors
/// Those of the calls.
pub async fn ensure(cloud: &Cloud, template: &str, content: &Content, used: Option<&str>) -> Result<String, Failure> {
    let all = list(&cloud.aws, template).await?;
    if let Some(number) = find(&all, content) {
        return Ok(number.to_string());
    }
    delete(&cloud.aws, template, obsolete(&all, used)).await?;
    let newest = all.iter().map(|one| one.number).max().unwrap_or_default();
    // The token of an earlier attempt would return the version that was deleted since.
    let deleted = used.filter(|used| all.iter().all(|one| one.number.to_string() != **used));
    let step = format!("launchTemplateVersion {template} after {newest} without {deleted:?} {content:?}");
    let request = cloud
        .aws
        .ec2
        .create_launch_template_version()
        .launch_template_id(template)
        .launch_template_data(content.to_request())
        .client_token(client_token(&cloud.owner.uid, 0, &step));
    let answer = cloud.aws.call(Service::Ec2, "CreateLaunchTemplateVersion", template, request.send()).await?;
    let created = answer.launch_template_version.and_then(|version| version.version_number);
    created.map(|number| number.to_string()).ok_or_else(|| {
        Failure::new(
            Class::Unavailable,
            format!("EC2 returned no number for a new version of launch template {template}"),
        )
    })
}

/// Deletes versions. EC2 answers 200 for those that it refuses, and the next change tries again.
async fn delete(aws: &Session, template: &str, numbers: Vec<String>) -> Result<(), AwsError> {
    // As many as EC2 takes in one call.
    const MAX: usize = 200;
    if numbers.is_empty() {
        return Ok(());
    }
    let numbers = numbers.into_iter().take(MAX).collect();
    let request = aws.ec2.delete_launch_template_versions().launch_template_id(template).set_versions(Some(numbers));
    let answer = aws.call(Service::Ec2, "DeleteLaunchTemplateVersions", template, request.send()).await?;
    for refused in answer.unsuccessfully_deleted_launch_template_versions() {
        let (number, error) = (refused.version_number(), refused.response_error());
        tracing::warn!(template, number, ?error, "EC2 did not delete a version of the launch template");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: i64, image: &str) -> Version {
        let content = Content { image_id: Some(image.to_owned()), ..Content::default() };
        Version { number, is_default: number == 1, content }
    }

    #[test]
    fn a_version_with_the_same_contents_is_used_again() {
        let all = [version(1, "a"), version(2, "b"), version(3, "a"), version(4, "c")];
        assert_eq!(find(&all, &version(0, "a").content), Some(3));
        assert_eq!(find(&all, &version(0, "d").content), None);
    }

    #[test]
    fn the_used_the_default_and_the_newest_version_are_kept() {
        let all = [version(1, "a"), version(2, "b"), version(3, "c"), version(4, "d"), version(5, "e")];
        assert_eq!(obsolete(&all, Some("3")), ["2", "4"]);
        assert_eq!(obsolete(&all, None), ["2", "3", "4"]);
        assert_eq!(obsolete(&all[..2], Some("1")), Vec::<String>::new());
    }
}
