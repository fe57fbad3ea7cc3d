//! A control plane that is not this object's while the object is deleted: whether it uses what would be deleted. I/O:
//! reads of EC2 and IAM.
//!
//! Its owner tag may have been removed or overwritten, or a recovery took over the resources below it and not the
//! control plane itself. A cluster of others that only has the same name uses nothing of this object.

use super::cluster::Cluster;
use super::cluster_diff::Detail;
use crate::aws::tags::OWNER;
use crate::engine::{Failure, Observation, ObserveOptions, Presence};
use crate::resources::cloud::{Cloud, max_staleness};
use crate::resources::iam::oidc_provider;

impl Cluster {
    /// The presence of a control plane that is not this object's: foreign if it uses what the object owns or names,
    /// which blocks the deletion, and otherwise absent, since nothing of it concerns the object.
    ///
    /// # Errors
    /// Those of the reads: without them nothing is deleted.
    pub(crate) async fn presence_of_others(
        &self,
        cloud: &Cloud,
        options: &ObserveOptions,
        observed: &Observation<Detail>,
    ) -> Result<Presence<Detail>, Failure> {
        let (uid, staleness) = (&cloud.owner.uid, max_staleness(options));
        let mut used = Vec::new();
        let vpc = observed.outputs.get("vpcId");
        let vpcs = cloud.aws.snapshots.vpcs(staleness).await?;
        used.extend(
            vpcs.iter().find(|one| Some(&one.id) == vpc && one.tags.is_owned_by(uid)).map(|one| one.id.clone()),
        );
        let arn = &observed.detail.role_arn;
        let roles = cloud.aws.snapshots.roles(staleness).await?;
        if roles.iter().any(|one| one.arn == *arn && one.tags.is_owned_by(uid))
            || self.spec.role_arn.as_ref() == Some(arn)
        {
            used.push(format!("role {arn}"));
        }
        if let Some(issuer) = observed.outputs.get("oidcIssuer").filter(|issuer| !issuer.is_empty()) {
            let provider = oidc_provider::arn(&cloud.aws, issuer);
            let tags = oidc_provider::tags_of(&cloud.aws, &provider).await?;
            used.extend(tags.filter(|tags| tags.is_owned_by(uid)).map(|_| format!("OIDC provider {provider}")));
        }
        if used.is_empty() {
            return Ok(Presence::Absent);
        }
        let (name, account, region) = (&self.name, &cloud.aws.account_id, &cloud.aws.region);
        let what = format!("cluster {name} in account {account}, {region}");
        let owned = observed.detail.tags.is_owned_by(uid);
        Ok(Presence::Foreign(describe(&what, &used, (!owned).then_some(uid))))
    }
}

/// `untagged`: the UID that its owner tag lacks; `None`: it has the tag, but is not on record.
fn describe(cluster: &str, used: &[String], untagged: Option<&String>) -> String {
    let (why, cure) = match untagged {
        Some(uid) => (
            "its tags do not say that this object owns it",
            format!("If it is the cluster of this object, tag it with {OWNER}={uid}. If not, set"),
        ),
        None => ("is not on record in status.resources as this object's", "Set".to_owned()),
    };
    format!(
        "{cluster} exists, {why}, and it uses {}: nothing is deleted while it exists. {cure} deletionPolicy: Retain, \
         which deletes nothing in AWS, or delete that cluster by hand",
        used.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_what_is_used_and_both_ways_out() {
        let used = ["vpc-1".to_owned(), "role arn:x".to_owned()];
        let text = describe("cluster demo", &used, Some(&"uid-1".to_owned()));
        for part in
            ["cluster demo exists", "uses vpc-1, role arn:x", "keelson.dev/owner=uid-1", "deletionPolicy: Retain"]
        {
            assert!(text.contains(part), "{text}");
        }
        let unrecorded = describe("cluster demo", &used, None);
        assert!(unrecorded.contains("not on record") && !unrecorded.contains("keelson.dev/owner="), "{unrecorded}");
    }
}
