//! The versions of the launch template: one with the desired contents is found, or created. I/O: EC2.
//!
//! Versions never change, so a version that exists is used again. A create whose answer was lost is found by its contents, and while
//! EC2 does not show it yet, the client token makes EC2 return it: the token depends on the contents, on the newest version that EC2
//! shows, and on the one that the node group has if it was deleted.
//!
//! The description of a version has the digest of the contents that it was made for. Where EC2 stores something else than it was sent,
//! each read would ask for another version, and each version would replace all nodes: after [`MAX_ATTEMPTS`] there is no further one.

use super::content::Content;
use super::differences::{OTHERS, differences};
use crate::api::listing::first_few_joined;
use crate::aws::tokens::client_token;
use crate::aws::{AwsError, Service, Session};
use crate::engine::{Change, Class, Failure};
use crate::resources::cloud::Cloud;

/// A version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub number: i64,
    pub is_default: bool,
    /// For people, and which contents it was made for.
    pub description: String,
    /// ARN of whoever created it, as EC2 knows it.
    pub created_by: String,
    pub content: Content,
}

/// A version for the desired contents.
#[derive(Debug)]
pub enum EnsuredVersion {
    /// Its number.
    Version(String),
    /// EC2 stores other contents than it is sent: what differs, and what to do.
    StoredDifferently(Failure),
}

/// Differences named in one message.
const MAX_NAMED: usize = 5;
/// Versions that are made for the same contents.
pub const MAX_ATTEMPTS: usize = 2;

/// The description of a version for these contents.
pub fn description(content: &Content) -> String {
    format!("Keelson, {}", content.digest())
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
                description: one.version_description().unwrap_or_default().to_owned(),
                created_by: one.created_by().unwrap_or_default().to_owned(),
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

/// Why no further version is made for these contents, which no version has.
fn stored_differently(all: &[Version], template: &str, content: &Content) -> Option<Failure> {
    let made: Vec<&Version> = all.iter().filter(|one| one.description == description(content)).collect();
    let last = made.iter().max_by_key(|one| one.number).filter(|_| made.len() >= MAX_ATTEMPTS)?;
    let changes = differences(content, &last.content);
    let advice = advice(&changes);
    let changes = changes.iter().map(|change| format!("{}: {} is stored as {}", change.field, change.from, change.to));
    let changes = first_few_joined(changes, MAX_NAMED, "; ", "; and ");
    let message = format!(
        "launch template {template}: EC2 stores other contents than it was sent ({changes}), in {} versions so far, so Keelson makes no \
         further one and replaces no nodes for it: {advice}",
        made.len()
    );
    Some(Failure::invalid(message))
}

/// What to do about contents that EC2 stores differently. `spec.node` has no field for the others.
fn advice(changes: &[Change]) -> &'static str {
    if changes.iter().any(|change| change.field == OTHERS) {
        "spec.node has no field for node.others: create a new NodeGroup with a launch template of your own (launchTemplate), and \
         delete this one"
    } else {
        "set these fields of spec.node to what EC2 stores"
    }
}

/// The newest version that `caller` made for these contents, whatever EC2 made of them.
fn own(all: &[Version], content: &Content, caller: &str) -> Option<i64> {
    let own = all.iter().filter(|one| one.created_by == caller && one.description == description(content));
    own.map(|one| one.number).max()
}

/// The version with these contents, which is created if there is none. `used`: the one that the node group has now; `None`: there is no
/// node group yet, and it gets what EC2 made of these contents.
///
/// # Errors
/// Those of the calls.
pub async fn ensure(
    cloud: &Cloud,
    template: &str,
    content: &Content,
    used: Option<&str>,
) -> Result<EnsuredVersion, Failure> {
    let all = list(&cloud.aws, template).await?;
    let own = own(&all, content, &cloud.aws.caller_arn).filter(|_| used.is_none());
    if let Some(number) = find(&all, content).or(own) {
        return Ok(EnsuredVersion::Version(number.to_string()));
    }
    if let Some(failure) = stored_differently(&all, template, content) {
        return Ok(EnsuredVersion::StoredDifferently(failure));
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
        .version_description(description(content))
        .launch_template_data(content.to_request())
        .client_token(client_token(&cloud.owner.uid, 0, &step));
    let answer = cloud.aws.call(Service::Ec2, "CreateLaunchTemplateVersion", template, request.send()).await?;
    let created = answer.launch_template_version.and_then(|version| version.version_number);
    created.map(|number| EnsuredVersion::Version(number.to_string())).ok_or_else(|| {
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
        let description = description(&content);
        Version { number, is_default: number == 1, description, created_by: "keelson".to_owned(), content }
    }

    /// A version that was made for the image `wanted`, and that EC2 shows with another one.
    fn stored(number: i64, wanted: &str, image: &str, created_by: &str) -> Version {
        let made_for = version(number, wanted);
        Version { content: version(number, image).content, created_by: created_by.to_owned(), ..made_for }
    }

    #[test]
    fn after_two_versions_that_ec2_stores_differently_there_is_no_third() {
        let wanted = version(0, "a").content;
        let all = [stored(1, "a", "A", "keelson"), version(2, "b"), stored(3, "a", "A", "keelson")];
        assert_eq!(find(&all, &wanted), None);
        let failure = stored_differently(&all, "lt-1", &wanted).expect("a failure");
        assert_eq!(failure.class, Class::Invalid);
        assert!(failure.message.contains("node.imageId: a is stored as A"), "{}", failure.message);
        for others in [&all[..2], &all[1..], &[version(2, "b"), version(3, "b")]] {
            assert!(stored_differently(others, "lt-1", &wanted).is_none());
        }
    }

    #[test]
    fn setting_without_a_field_gets_advice_that_names_none() {
        let advice_for = |field: &str| advice(&[Change::in_place(field, "(none)", "x")]);
        assert!(advice_for("node.imageId").contains("set these fields of spec.node"));
        let others = advice_for("node.others");
        assert!(others.contains("has no field for node.others") && !others.contains("set these"), "{others}");
    }

    #[test]
    fn only_a_version_that_keelson_made_is_used_although_it_differs() {
        let wanted = version(0, "a").content;
        let all =
            [stored(1, "a", "A", "keelson"), stored(2, "a", "planted", "mallory"), stored(3, "b", "B", "keelson")];
        assert_eq!(own(&all, &wanted, "keelson"), Some(1));
        assert_eq!(own(&all[1..], &wanted, "keelson"), None);
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
