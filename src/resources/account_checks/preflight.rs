//! What of an account is checked before the first write of a new cluster: what would be refused only after a network with
//! its NAT gateways is paid for. I/O: reads of EC2, EKS, KMS and Service Quotas.
//!
//! A check that AWS denies counts as passed: the write says what is wrong, later. `keelson doctor` checks more.

use super::quotas::{self, Limits, Needs};
use super::{Outcome, encryption_key};
use crate::api::EksClusterSpec;
use crate::api::network::{Nat, NetworkKind, Zones};
use crate::aws::{Arn, Session};
use crate::engine::{Class, Failure};

/// Checks quotas and the KMS key of a cluster of which nothing exists yet.
///
/// # Errors
/// Class [`Class::Invalid`] for the key, [`Class::Quota`] for quotas: what is wrong and what to do. A transient class:
/// AWS could not be read; retry.
pub async fn check(aws: &Session, spec: &EksClusterSpec, cluster: &str) -> Result<(), Failure> {
    // Only who shared a key of another account knows whether it may be read.
    let own_key = spec.secrets_encryption.as_ref().filter(|one| is_of_account(&one.kms_key_arn, &aws.account_id));
    if let Some(encryption) = own_key {
        match encryption_key::read(aws, &encryption.kms_key_arn).await {
            Ok(key) => {
                let finding = encryption_key::judge(&encryption.kms_key_arn, key.as_ref());
                if finding.outcome == Outcome::Failed {
                    let advice = finding.advice.unwrap_or_default();
                    let message = format!("spec.secretsEncryption.kmsKeyArn: {}: {advice}", finding.message);
                    return Err(Failure::invalid(message));
                }
            }
            Err(error) if error.class().is_transient() => return Err(error.into()),
            Err(error) => tracing::debug!(%error, "check of the KMS key skipped"),
        }
    }
    let findings = quotas::check(aws, &needs(spec), cluster, Limits::Reachable).await;
    let exceeded: Vec<String> = findings
        .into_iter()
        .filter(|finding| finding.outcome == Outcome::Failed)
        .map(|finding| format!("quota {}: {}", finding.message, finding.advice.unwrap_or_default()))
        .collect();
    if exceeded.is_empty() { Ok(()) } else { Err(Failure::new(Class::Quota, exceeded.join("; "))) }
}

fn is_of_account(arn: &str, account: &str) -> bool {
    Arn::parse(arn).is_some_and(|arn| arn.account == account)
}

/// The quotas that fail a cluster late or for long. Zones that are not chosen yet count as in the spec.
fn needs(spec: &EksClusterSpec) -> Needs {
    let mut needs = Needs::default();
    needs.add(quotas::CLUSTERS, 1);
    if let Ok(NetworkKind::Vpc(vpc)) = spec.network.kind() {
        let zones = match vpc.zones() {
            Zones::Named(zones) => u32::try_from(zones.len()).unwrap_or(u32::MAX),
            Zones::Count(count) => count.into(),
        };
        needs.add(quotas::VPCS, 1);
        needs.add(
            quotas::ADDRESSES,
            match vpc.nat {
                _ if !vpc.nat_addresses.is_empty() => 0,
                Nat::Single => 1,
                Nat::PerZone => zones,
                Nat::None => 0,
            },
        );
    }
    needs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn key_of_another_account_is_not_read() {
        let key = "arn:aws:kms:eu-west-1:123456789012:key/1234";
        assert!(
            is_of_account(key, "123456789012") && !is_of_account(key, "210987654321") && !is_of_account("1234", "")
        );
    }

    #[test]
    fn needs_follow_the_network() {
        for (network, wanted) in [
            (json!({"vpc": {}}), &[(quotas::VPCS, 1), (quotas::ADDRESSES, 1)][..]),
            (json!({"vpc": {"nat": "PerZone", "zoneCount": 3}}), &[(quotas::VPCS, 1), (quotas::ADDRESSES, 3)]),
            (json!({"vpc": {"natAddresses": ["eipalloc-1"]}}), &[(quotas::VPCS, 1)]),
            (json!({"vpc": {"nat": "None"}}), &[(quotas::VPCS, 1)]),
            (json!({"existing": {"subnetIds": ["subnet-1", "subnet-2"]}}), &[]),
        ] {
            let spec = json!({"region": "eu-west-1", "version": "1.36", "network": network});
            let spec: EksClusterSpec = serde_json::from_value(spec).unwrap();
            let mut expected = Needs::default();
            for (quota, count) in [(quotas::CLUSTERS, 1)].iter().chain(wanted) {
                expected.add(*quota, *count);
            }
            assert_eq!(needs(&spec), expected, "{network}");
        }
    }
}
