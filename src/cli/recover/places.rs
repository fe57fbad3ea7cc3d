//! Which accounts and regions are searched. Pure.

use std::collections::BTreeSet;

use crate::api::AwsAccountSpec;
use crate::aws::Identity;

/// The regions of an account besides those in which objects are: after a loss, there may be no objects yet.
pub fn regions(account: &AwsAccountSpec, given: &[String], environment: Option<&str>) -> BTreeSet<String> {
    let own = match &account.allowed_regions {
        Some(allowed) => allowed.clone(),
        None => environment.map(str::to_owned).into_iter().collect(),
    };
    given.iter().cloned().chain(own).collect()
}

/// Describes what was searched.
pub fn describe(searched: &BTreeSet<(Identity, String)>) -> String {
    if searched.is_empty() {
        return "no account was searched: apply the AwsAccounts first, and pass --region".to_owned();
    }
    let place = |(identity, region): &(Identity, String)| {
        format!("{} {region}", identity.account_id.as_deref().unwrap_or("of the environment"))
    };
    let places: Vec<String> = searched.iter().map(place).collect();
    format!("searched: {}; --region adds others", places.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_without_objects_is_searched_in_its_own_regions() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let any = AwsAccountSpec::default();
        let some = AwsAccountSpec { allowed_regions: Some(list(&["eu-west-1", "us-east-1"])), ..any.clone() };
        let search = |account, given: &[&str], environment| {
            regions(account, &list(given), environment).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(search(&some, &[], Some("eu-north-1")), ["eu-west-1", "us-east-1"]);
        assert_eq!(search(&some, &["eu-north-1"], None), ["eu-north-1", "eu-west-1", "us-east-1"]);
        assert_eq!(search(&any, &[], Some("eu-north-1")), ["eu-north-1"]);
        assert!(search(&any, &[], None).is_empty());
    }

    #[test]
    fn searched_places_are_named() {
        let identity = Identity { account_id: Some("111122223333".into()), ..Identity::default() };
        let searched = [(identity, "eu-west-1".to_owned())].into();
        assert_eq!(describe(&searched), "searched: 111122223333 eu-west-1; --region adds others");
        assert!(describe(&BTreeSet::new()).contains("apply the AwsAccounts first"));
    }
}
