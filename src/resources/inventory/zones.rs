//! Which zones a new VPC uses: of those where EKS takes control planes. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::SpecError;
use crate::api::network::{Vpc, Zones};
use crate::aws::snapshots::Zone;
use crate::engine::Key;
use crate::resources::eks::control_plane_zones::why_unsuitable;
use crate::resources::graph::layout;
use crate::resources::network::subnet;

/// The zones of a region, as the account sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionZones {
    /// Those that EKS takes, sorted by name.
    pub available: Vec<String>,
    /// The others, and why not.
    pub unsuitable: BTreeMap<String, String>,
}

impl RegionZones {
    /// Sorts out the zones that EKS does not take.
    pub fn of(zones: &[Zone]) -> Self {
        let mut sorted = Self::default();
        for zone in zones {
            match why_unsuitable(zone) {
                None => sorted.available.push(zone.name.clone()),
                Some(why) => drop(sorted.unsuitable.insert(zone.name.clone(), why)),
            }
        }
        sorted.available.sort();
        sorted
    }

    /// All of them, for a deletion: nothing is placed any more.
    pub fn all(&self) -> Self {
        // In this order, so that a count means the zones that it meant at creation.
        let available = self.available.iter().chain(self.unsuitable.keys()).cloned().collect();
        Self { available, unsuitable: BTreeMap::new() }
    }

    fn describe(&self, name: &str) -> String {
        self.unsuitable.get(name).map_or_else(|| name.to_owned(), |why| format!("{name} ({why})"))
    }

    fn describe_shortage(&self, count: usize) -> String {
        let available = &self.available;
        let has =
            format!("{count} zones requested, but EKS takes control planes in {} of the region's", available.len());
        let left_out: Vec<_> = self.unsuitable.keys().map(|name| self.describe(name)).collect();
        let left_out = if left_out.is_empty() { String::new() } else { format!("; not in {}", left_out.join(", ")) };
        format!("{has}: {}{left_out}", available.join(", "))
    }
}

/// The zones of a VPC's subnets. Zones with subnets stay; otherwise those of the spec, or the first by name.
/// `owned`: keys of what the object owns.
pub fn choose_zones(vpc: &Vpc, zones: &RegionZones, owned: &[Key]) -> Result<Vec<String>, SpecError> {
    let owned: BTreeSet<&str> = owned.iter().filter_map(|key| subnet::zone_of(key).map(|(_, zone)| zone)).collect();
    let available = &zones.available;
    match vpc.zones() {
        Zones::Named(names) => {
            // What has subnets is not refused any more: a deletion needs it.
            let is_usable = |name: &&String| available.contains(name) || owned.contains(name.as_str());
            let refused: Vec<_> =
                names.iter().filter(|name| !is_usable(name)).map(|name| zones.describe(name)).collect();
            if !refused.is_empty() {
                return Err(SpecError::new(
                    "spec.network.vpc.zones",
                    format!("{} cannot be used here; available: {}", refused.join(", "), available.join(", ")),
                ));
            }
            // Sorted, so that the order in the spec does not move a subnet.
            let mut names = names.to_vec();
            names.sort();
            Ok(names)
        }
        Zones::Count(count) => {
            let count = usize::from(count);
            // Sorted by name, so that a zone's blocks in the layout never change.
            let more = available.iter().map(String::as_str).filter(|zone| !owned.contains(zone));
            let mut chosen: Vec<String> =
                owned.iter().copied().chain(more).take(count.max(owned.len())).map(str::to_owned).collect();
            if chosen.len() < count.min(layout::MAX_ZONES) {
                return Err(SpecError::new("spec.network.vpc.zoneCount", zones.describe_shortage(count)));
            }
            chosen.sort();
            Ok(chosen)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::node_group::SubnetTier;
    use crate::aws::snapshots::catalogue::{AvailabilityZoneState, OptedIn};

    fn zone(name: &str, id: &str, kind: &str) -> Zone {
        let state = Some(AvailabilityZoneState::Available);
        Zone { name: name.into(), id: id.into(), kind: kind.into(), opted_in: OptedIn::Yes, state }
    }

    fn plain(names: &[&str]) -> RegionZones {
        let zones: Vec<_> = names.iter().map(|name| zone(name, name, "availability-zone")).collect();
        RegionZones::of(&zones)
    }

    fn keys(zones: &[&str]) -> Vec<Key> {
        zones.iter().map(|zone| subnet::key(SubnetTier::Private, zone)).collect()
    }

    fn with_count(count: u8) -> Vpc {
        Vpc { zone_count: count, ..Vpc::default() }
    }

    fn named(zones: &[&str]) -> Vpc {
        Vpc { zones: Some(zones.iter().map(|zone| (*zone).to_owned()).collect()), ..Vpc::default() }
    }

    /// As one account sees us-east-1.
    fn virginia() -> Vec<Zone> {
        let mut zones: Vec<_> = [("a", "use1-az3"), ("b", "use1-az1"), ("c", "use1-az2"), ("d", "use1-az4")]
            .iter()
            .map(|(letter, id)| zone(&format!("us-east-1{letter}"), id, "availability-zone"))
            .collect();
        zones.push(zone("us-east-1-bos-1a", "use1-bos1-az1", "local-zone"));
        zones.push(zone("us-east-1-wl1-bos-wlz-1", "use1-wl1-bos-wlz1", "wavelength-zone"));
        zones
    }

    #[test]
    fn first_zones_are_used_and_zones_with_subnets_stay() {
        let zones = ["r-a", "r-b", "r-c", "r-d"];
        assert_eq!(choose_zones(&with_count(3), &plain(&zones), &[]).unwrap(), ["r-a", "r-b", "r-c"]);
        assert_eq!(choose_zones(&with_count(2), &plain(&zones), &keys(&["r-c", "r-d"])).unwrap(), ["r-c", "r-d"]);
    }

    #[test]
    fn zones_that_eks_refuses_are_left_out_by_their_id() {
        let zones = RegionZones::of(&virginia());
        assert_eq!(choose_zones(&with_count(3), &zones, &[]).unwrap(), ["us-east-1b", "us-east-1c", "us-east-1d"]);
        let error = choose_zones(&with_count(4), &zones, &[]).unwrap_err().to_string();
        assert!(error.contains("in 3 of the region's: us-east-1b, us-east-1c, us-east-1d; not in "), "{error}");
        assert!(error.contains("us-east-1a (use1-az3: EKS takes no control plane there)"), "{error}");
        // For a deletion, also when its subnets are gone.
        assert_eq!(choose_zones(&with_count(2), &zones.all(), &[]).unwrap(), ["us-east-1b", "us-east-1c"]);
        assert!(choose_zones(&named(&["us-east-1a", "us-east-1b"]), &zones.all(), &[]).is_ok());
        // One that a cluster made before the rule was known uses.
        let old = keys(&["us-east-1a", "us-east-1b"]);
        assert_eq!(choose_zones(&with_count(2), &zones, &old).unwrap(), ["us-east-1a", "us-east-1b"]);
    }

    #[test]
    fn named_zone_that_eks_refuses_is_rejected_with_its_id() {
        let zones = RegionZones::of(&virginia());
        for (name, why) in [
            ("us-east-1a", "us-east-1a (use1-az3: EKS takes no control plane there)"),
            ("us-east-1-bos-1a", "use1-bos1-az1: a local-zone"),
            ("us-east-1-wl1-bos-wlz-1", "use1-wl1-bos-wlz1: a wavelength-zone"),
            ("x-a", "x-a cannot be used"),
        ] {
            let error = choose_zones(&named(&["us-east-1b", name]), &zones, &[]).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("available: us-east-1b"), "{error}");
        }
        let (named, old) = (named(&["us-east-1a", "us-east-1b"]), keys(&["us-east-1a", "us-east-1b"]));
        assert!(choose_zones(&named, &zones, &old).is_ok(), "it has subnets");
    }

    #[test]
    fn too_many_zones_are_rejected() {
        let error = choose_zones(&with_count(3), &plain(&["r-a", "r-b"]), &[]).unwrap_err();
        assert!(error.to_string().contains("in 2 of the region's: r-a, r-b"), "{error}");
    }
}
