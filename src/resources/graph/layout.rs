//! The address ranges of the subnets in the VPC. Pure.
//!
//! The VPC's range is split into eight blocks. The first six are the private subnets of up to six zones, so that nodes
//! and pods get most addresses; the seventh stays free for the team; the last is split into eight again for the public
//! subnets, which hold load balancers and NAT gateways. A zone's blocks depend only on its position, so they never
//! move.

use ipnet::Ipv4Net;

use crate::api::SpecError;

/// The maximum number of zones.
pub const MAX_ZONES: usize = 6;
/// EC2's limits: no subnet smaller than /28, no VPC larger than /16.
const SMALLEST_SUBNET: u8 = 28;
const LARGEST_VPC: u8 = 16;

/// The address ranges of one zone's subnets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneLayout {
    /// For nodes and pods.
    pub private: Ipv4Net,
    /// For load balancers and NAT gateways.
    pub public: Option<Ipv4Net>,
}

/// Assigns ranges in `cidr` to `zones` zones.
pub fn layout(cidr: &str, zones: usize, public: bool) -> Result<Vec<ZoneLayout>, SpecError> {
    let refuse = |why: String| SpecError::new("spec.network.vpc.cidr", why);
    let range = parse(cidr).map_err(&refuse)?;
    let extra_bits = if public { 6 } else { 3 };
    if range.prefix_len() < LARGEST_VPC {
        return Err(refuse(format!("{cidr} is too large: a VPC has at most a /{LARGEST_VPC}")));
    }
    if range.prefix_len() + extra_bits > SMALLEST_SUBNET {
        return Err(refuse(format!(
            "{cidr} is too small: {} needs at least a /{}",
            if public { "a VPC with public subnets" } else { "a VPC" },
            SMALLEST_SUBNET - extra_bits
        )));
    }
    if !(2..=MAX_ZONES).contains(&zones) {
        return Err(SpecError::new(
            "spec.network.vpc.zoneCount",
            format!("{zones} zones requested: EKS needs at least 2, and the layout supports at most {MAX_ZONES}"),
        ));
    }
    let too_small = |_| refuse(format!("{cidr} is too small"));
    let blocks: Vec<_> = range.subnets(range.prefix_len() + 3).map_err(too_small)?.collect();
    let last = blocks[blocks.len() - 1];
    let public_blocks: Vec<_> =
        if public { last.subnets(last.prefix_len() + 3).map_err(too_small)?.collect() } else { Vec::new() };
    let zone = |n: usize| ZoneLayout { private: blocks[n], public: public_blocks.get(n).copied() };
    Ok((0..zones).map(zone).collect())
}

/// The subnets of a range for Pods, one for each of `zones` zones: eighths of the range, by the zone's position.
pub fn pods(range: &str, zones: usize) -> Result<Vec<Ipv4Net>, SpecError> {
    let refuse = |why: String| SpecError::new("spec.network.vpc.podCidrs", why);
    let network = parse(range).map_err(refuse)?;
    if !(LARGEST_VPC..=SMALLEST_SUBNET - 3).contains(&network.prefix_len()) {
        let smallest = SMALLEST_SUBNET - 3;
        return Err(refuse(format!("{range}: a range for Pods is a /{LARGEST_VPC} to a /{smallest}")));
    }
    let blocks = network.subnets(network.prefix_len() + 3).map_err(|_| refuse(format!("{range} is too small")))?;
    Ok(blocks.take(zones.min(MAX_ZONES)).collect())
}

/// Rejects a Service CIDR that overlaps the VPC's: traffic could not be routed unambiguously.
pub fn check_no_overlap(vpc: &str, service: &str) -> Result<(), SpecError> {
    let refuse = |field, why: String| SpecError::new(field, why);
    let vpc_range = parse(vpc).map_err(|why| refuse("spec.network.vpc.cidr", why))?;
    let service_range = parse(service).map_err(|why| refuse("spec.kubernetesNetwork.serviceCidr", why))?;
    if vpc_range.contains(&service_range) || service_range.contains(&vpc_range) {
        return Err(refuse(
            "spec.kubernetesNetwork.serviceCidr",
            format!("{service} overlaps spec.network.vpc.cidr {vpc}: choose ranges that do not"),
        ));
    }
    Ok(())
}

fn parse(cidr: &str) -> Result<Ipv4Net, String> {
    let range: Ipv4Net = cidr.parse().map_err(|_| format!("{cidr:?} is not an IPv4 CIDR like 10.0.0.0/16"))?;
    if range.trunc() != range {
        return Err(format!("{cidr} has host bits set: write {}", range.trunc()));
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn default_vpc_has_large_private_and_small_public_subnets() {
        let zones = layout("10.0.0.0/16", 3, true).unwrap();
        let text: Vec<_> = zones.iter().map(|z| format!("{} {}", z.private, z.public.unwrap())).collect();
        assert_eq!(text, ["10.0.0.0/19 10.0.224.0/22", "10.0.32.0/19 10.0.228.0/22", "10.0.64.0/19 10.0.232.0/22"]);
    }

    #[test]
    fn invalid_ranges_are_rejected_with_the_field() {
        for (cidr, zones, expected) in [
            ("10.0.0.0/24", 3, "too small"),
            ("10.0.0.0/8", 3, "too large"),
            ("10.0.0.1/16", 3, "write 10.0.0.0/16"),
            ("10.0.0/16", 3, "not an IPv4 CIDR"),
            ("10.0.0.0/16", 1, "at least 2"),
            ("10.0.0.0/16", 7, "at most 6"),
        ] {
            let error = layout(cidr, zones, true).unwrap_err();
            assert!(error.to_string().contains(expected), "{cidr}: {error}");
            assert!(error.field.starts_with("spec.network.vpc."));
        }
    }

    #[test]
    fn overlapping_service_cidrs_are_rejected() {
        assert!(check_no_overlap("10.0.0.0/16", "172.20.0.0/16").is_ok());
        for service in ["10.0.128.0/20", "10.0.0.0/12", "10.0.0.0/16"] {
            assert!(check_no_overlap("10.0.0.0/16", service).is_err(), "{service}");
        }
    }

    #[test]
    fn pods_get_an_eighth_of_their_range_in_each_zone() {
        let text: Vec<_> = pods("100.64.0.0/16", 3).unwrap().iter().map(Ipv4Net::to_string).collect();
        assert_eq!(text, ["100.64.0.0/19", "100.64.32.0/19", "100.64.64.0/19"]);
        for range in ["100.64.0.0/26", "100.64.0.0/10", "100.64.0.1/16", "x"] {
            assert!(pods(range, 3).unwrap_err().field.ends_with("podCidrs"), "{range}");
        }
    }

    proptest! {
        #[test]
        fn subnets_are_inside_the_vpc_and_never_overlap(prefix in 16u8..=22, zones in 2usize..=6, public: bool) {
            let cidr = format!("10.64.0.0/{prefix}");
            let vpc: Ipv4Net = cidr.parse().unwrap();
            let all: Vec<Ipv4Net> = layout(&cidr, zones, public)
                .unwrap()
                .iter()
                .flat_map(|z| std::iter::once(z.private).chain(z.public))
                .collect();
            prop_assert_eq!(all.len(), zones * if public { 2 } else { 1 });
            for (n, one) in all.iter().enumerate() {
                prop_assert!(vpc.contains(one) && one.prefix_len() <= 28);
                prop_assert!(all[n + 1..].iter().all(|other| !one.contains(other) && !other.contains(one)));
            }
        }
    }
}
