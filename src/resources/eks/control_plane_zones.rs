//! Where EKS takes control planes, and what is left of a network when it refuses a zone. Pure.
//!
//! AWS names the zones without control planes by zone id, because the names of zones are an account's own.

use std::collections::{BTreeMap, BTreeSet};

use crate::aws::AwsError;
use crate::aws::snapshots::Zone;
use crate::aws::snapshots::catalogue::{AvailabilityZoneState, OptedIn};
use crate::engine::Failure;
use crate::resources::eks::lists::create_failure;

/// Zones without control planes, by id: <https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html#cluster-subnets>;
/// the last is missing there, and eksctl avoids it (its issue 3916).
const WITHOUT_CONTROL_PLANES: [&str; 4] = ["use1-az3", "usw1-az2", "cac1-az3", "cnn1-az4"];

/// Why EKS takes no control plane in a zone, if so.
pub fn why_unsuitable(zone: &Zone) -> Option<String> {
    let id = &zone.id;
    match zone.kind.as_str() {
        "availability-zone" | "" if WITHOUT_CONTROL_PLANES.contains(&id.as_str()) => {
            Some(format!("{id}: EKS takes no control plane there"))
        }
        "availability-zone" | "" if zone.opted_in == OptedIn::No => Some(format!("{id}: the account has not opted in")),
        "availability-zone" | "" => match &zone.state {
            Some(AvailabilityZoneState::Available) => None,
            state => Some(format!("{id}: {}", state.as_ref().map_or("state unknown", AvailabilityZoneState::as_str))),
        },
        kind => Some(format!("{id}: a {kind}, and EKS takes control planes in availability zones only")),
    }
}

/// EKS's code for a subnet in a zone where it takes no control plane, or no Fargate profile.
const UNSUPPORTED_ZONE: &str = "UnsupportedAvailabilityZoneException";
/// EKS needs subnets in this many zones.
pub const MIN_ZONES: usize = 2;

/// The subnets of `zones` (zone by id) in the zones that EKS named when it refused a request; `at_least` zones must
/// remain.
///
/// # Errors
/// The refusal, if it is about something else or too few zones remain; then with what to do.
pub fn subnets_in_valid_zones(
    zones: &BTreeMap<String, String>,
    error: AwsError,
    at_least: usize,
    advice: &str,
) -> Result<Vec<String>, Failure> {
    if error.code.as_deref() != Some(UNSUPPORTED_ZONE) || error.valid_zones.is_empty() {
        return Err(create_failure(error));
    }
    let valid: Vec<_> = zones.iter().filter(|(_, zone)| error.valid_zones.contains(zone)).collect();
    let remaining: BTreeSet<_> = valid.iter().map(|(_, zone)| zone.as_str()).collect();
    if remaining.len() < at_least || valid.len() == zones.len() {
        let failure = Failure::from(error);
        let has: BTreeSet<_> = zones.values().map(String::as_str).collect();
        let has: Vec<_> = has.into_iter().collect();
        let message = format!("{} The network has subnets in {}: {advice}", failure.message, has.join(", "));
        return Err(Failure { message, ..failure });
    }
    Ok(valid.into_iter().map(|(id, _)| id.clone()).collect())
}

/// Those of the subnets that EKS takes for a cluster with subnets `current`: the zones of a control plane are fixed when it
/// is created. All of them if the zones of `current` are not known.
///
/// <https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html#network-requirements-vpc>
pub fn placeable(wanted: Vec<String>, zones: &BTreeMap<String, String>, current: &BTreeSet<String>) -> Vec<String> {
    let current: Option<BTreeSet<&String>> = current.iter().map(|id| zones.get(id)).collect();
    match current.filter(|zones| !zones.is_empty()) {
        Some(current) => {
            wanted.into_iter().filter(|id| zones.get(id).is_none_or(|zone| current.contains(zone))).collect()
        }
        None => wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Service;
    use crate::aws::errors::Call;
    use crate::engine::Class;

    fn refusal(code: &str, valid: &[&str]) -> AwsError {
        let (account, region) = ("111122223333", "us-east-1");
        let call = Call { service: Service::Eks, action: "CreateCluster", resource: "demo", account, region };
        let mut failure = call.failed(Class::Capacity, "us-east-1a does not have sufficient capacity");
        failure.code = Some(code.to_owned());
        failure.valid_zones = valid.iter().map(|zone| (*zone).to_owned()).collect();
        failure.into()
    }

    fn subnets(zones: &[&str]) -> BTreeMap<String, String> {
        zones.iter().map(|zone| (format!("subnet-{zone}"), format!("us-east-1{zone}"))).collect()
    }

    #[test]
    fn subnets_in_further_zones_are_not_sent() {
        let zones = subnets(&["a", "b", "c"]);
        let ids = |zones: &[&str]| subnets(zones).into_keys().collect::<Vec<_>>();
        let of =
            |wanted: &[&str], current: &[&str]| placeable(ids(wanted), &zones, &ids(current).into_iter().collect());
        assert_eq!(of(&["a", "b", "c"], &["b", "c"]), ids(&["b", "c"]));
        assert_eq!(of(&["a", "b", "c"], &["a", "b", "c"]), ids(&["a", "b", "c"]));
        assert_eq!(of(&["a", "b"], &["x", "b"]), ids(&["a", "b"]), "the zone of a subnet of others is not known");
    }

    #[test]
    fn refused_zones_are_left_out_while_enough_remain() {
        let valid = ["us-east-1b", "us-east-1c", "us-east-1d"];
        let of = |zones: &[&str], code, valid: &[&str]| {
            subnets_in_valid_zones(&subnets(zones), refusal(code, valid), MIN_ZONES, "do this")
        };
        assert_eq!(of(&["a", "b", "c"], UNSUPPORTED_ZONE, &valid).unwrap(), ["subnet-b", "subnet-c"]);
        let failure = of(&["a", "b"], UNSUPPORTED_ZONE, &valid).unwrap_err();
        assert_eq!(failure.class, Class::Capacity);
        assert!(failure.message.ends_with("The network has subnets in us-east-1a, us-east-1b: do this"), "{failure}");
        assert!(failure.message.contains("Available zones: us-east-1b, us-east-1c, us-east-1d"), "{failure}");
        // The same request again would be refused again.
        assert!(of(&["b", "c"], UNSUPPORTED_ZONE, &valid).is_err());
        assert!(of(&["a", "b", "c"], "InvalidParameterException", &valid).is_err());
        assert!(of(&["a", "b", "c"], UNSUPPORTED_ZONE, &[]).is_err());
    }
}
