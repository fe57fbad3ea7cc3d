//! What is checked in a management cluster before a move: whether an operator runs there, and whether it may read the
//! Secrets. I/O: its API; the comparisons are pure.

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::Value;

/// Whether the Lease is held at `now`.
pub fn is_held(lease: &LeaseSpec, now: Timestamp) -> bool {
    let duration = SignedDuration::from_secs(lease.lease_duration_seconds.unwrap_or_default().into());
    let renewed = lease.renew_time.as_ref().map(|time| time.0);
    let holder = lease.holder_identity.as_deref().unwrap_or_default();
    !holder.is_empty() && renewed.is_some_and(|at| at.saturating_add(duration).is_ok_and(|until| until >= now))
}

/// The operator's Lease, if nobody holds it; `None`: an operator runs.
pub async fn unheld_lease(client: &Client, namespace: &str) -> anyhow::Result<Option<String>> {
    /// The operator's default.
    const NAME: &str = "keelson";
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let lease = api.get_opt(NAME).await.with_context(|| format!("Lease {namespace}/{NAME}"))?;
    // Without one, the operator may run with --leader-election=false.
    let held = lease.is_none_or(|lease| is_held(&lease.spec.unwrap_or_default(), Timestamp::now()));
    Ok((!held).then(|| format!("{namespace}/{NAME}")))
}

/// The command that lets the operator read the Secrets of a namespace, if it may not yet.
pub async fn missing_secret_access(
    client: &Client,
    operator: &str,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Option<String>> {
    let attributes = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        verb: Some("get".to_owned()),
        version: Some("v1".to_owned()),
        resource: Some("secrets".to_owned()),
        name: Some(name.to_owned()),
        ..ResourceAttributes::default()
    };
    let user = Some(format!("system:serviceaccount:{operator}:keelson"));
    let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{operator}")];
    let spec = SubjectAccessReviewSpec {
        user,
        groups: Some(groups.into()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let answer = Api::<SubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    let allowed = answer.status.is_some_and(|status| status.allowed);
    Ok((!allowed).then(|| {
        format!(
            "kubectl create rolebinding keelson-secrets --namespace={namespace} --clusterrole=keelson-secrets \
             --serviceaccount={operator}:keelson"
        )
    }))
}

/// The paths of the fields in which two specs differ, without their values.
pub fn differences(one: &Value, other: &Value) -> Vec<String> {
    fn collect(one: &Value, other: &Value, path: &str, found: &mut Vec<String>) {
        let (Value::Object(fields), Value::Object(others)) = (one, other) else {
            if one != other {
                found.push(path.to_owned());
            }
            return;
        };
        let names: std::collections::BTreeSet<_> = fields.keys().chain(others.keys()).collect();
        for name in names {
            let of = |all: &serde_json::Map<String, Value>| all.get(name).cloned().unwrap_or_default();
            collect(&of(fields), &of(others), &format!("{path}.{name}"), found);
        }
    }
    let mut found = Vec::new();
    collect(one, other, "spec", &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lease_is_held_until_it_expires() {
        let lease = |holder: &str| -> LeaseSpec {
            let (renewed, seconds) = ("1970-01-01T00:00:10.000000Z", 15);
            serde_json::from_value(json!({
                "holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": renewed,
            }))
            .unwrap()
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(is_held(&lease("keelson-0"), at(25)));
        assert!(!is_held(&lease("keelson-0"), at(26)), "expired");
        assert!(!is_held(&lease(""), at(11)), "released");
        assert!(!is_held(&LeaseSpec::default(), at(11)));
    }

    #[test]
    fn differing_fields_are_named_without_values() {
        let one = json!({"accountId": "1", "adoption": {"policy": "Allow"}, "externalId": "secret"});
        let other = json!({"accountId": "1", "adoption": {"policy": "Forbid"}, "tags": {"team": "a"}});
        assert_eq!(differences(&one, &other), ["spec.adoption.policy", "spec.externalId", "spec.tags"]);
        assert!(differences(&one, &one).is_empty());
    }
}
