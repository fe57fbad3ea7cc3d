//! Checks that an endpoint belongs to the cluster that a token is for. Pure.
//!
//! A token is signed with the cluster's name, not with its account: a cluster of the same name in another account would
//! accept it if it knows the principal. So the ARN in the DescribeCluster response is compared with the account and
//! region of the signing session before a token is minted.

/// The endpoint belongs to another cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "EKS returned the endpoint of {arn:?}, but the token is for cluster {name} in account {account}, {region}: no token is sent; the \
     cluster is described again"
)]
pub struct OtherCluster {
    /// ARN in the DescribeCluster response.
    pub arn: String,
    /// The account whose credentials sign the token.
    pub account: String,
    /// The region of the session.
    pub region: String,
    /// The cluster's name in EKS.
    pub name: String,
}

/// Compares the ARN in the response with the expected one.
pub fn check(arn: &str, account: &str, region: &str, name: &str) -> Result<(), OtherCluster> {
    let mut parts = arn.splitn(6, ':');
    let is = |part: Option<&str>, wanted: &str| part == Some(wanted);
    let same = is(parts.next(), "arn")
        && parts.next().is_some_and(|partition| !partition.is_empty())
        && is(parts.next(), "eks")
        && is(parts.next(), region)
        && is(parts.next(), account)
        && parts.next().and_then(|path| path.strip_prefix("cluster/")) == Some(name);
    if same {
        return Ok(());
    }
    let (arn, account, region, name) = (arn.to_owned(), account.to_owned(), region.to_owned(), name.to_owned());
    Err(OtherCluster { arn, account, region, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_arn_of_that_name_account_and_region_is_accepted() {
        let accepted = |arn: &str| check(arn, "111122223333", "eu-west-1", "prod").is_ok();
        assert!(accepted("arn:aws:eks:eu-west-1:111122223333:cluster/prod"));
        for other in [
            "arn:aws:eks:eu-west-1:999988887777:cluster/prod",
            "arn:aws:eks:eu-west-2:111122223333:cluster/prod",
            "arn:aws:eks:eu-west-1:111122223333:cluster/prod-2",
            "arn:aws:eks:eu-west-1:111122223333:nodegroup/prod",
            "arn:aws:ecs:eu-west-1:111122223333:cluster/prod",
            "arn::eks:eu-west-1:111122223333:cluster/prod",
            "",
        ] {
            assert!(!accepted(other), "{other}");
        }
        assert!(
            check("arn:aws-cn:eks:cn-north-1:111122223333:cluster/prod", "111122223333", "cn-north-1", "prod").is_ok()
        );
    }
}
