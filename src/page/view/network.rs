//! The network of a cluster as a picture: its zones, their subnets, gateways and endpoints. Pure.

use std::collections::BTreeMap;

use crate::api::node_group::SubnetTier;
use crate::api::status::{EksClusterStatus, ResourceStatus};

/// Sizes of the picture, in its own units.
const ZONE_WIDTH: usize = 230;
const GAP: usize = 14;
const BOX_HEIGHT: usize = 58;
const TOP: usize = 92;

/// The picture.
pub struct Network {
    pub width: usize,
    pub height: usize,
    pub title: String,
    pub zones: Vec<Zone>,
    /// Gateways of the whole VPC.
    pub gateways: Vec<Labelled>,
    /// VPC endpoints, below the picture.
    pub endpoints: Vec<String>,
    /// The same in words, for those who do not see it.
    pub description: String,
}

/// An availability zone: a column.
pub struct Zone {
    pub name: String,
    pub x: usize,
    pub width: usize,
    pub height: usize,
    pub boxes: Vec<SubnetBox>,
}

/// A subnet, with the NAT gateway in it.
pub struct SubnetBox {
    pub y: usize,
    pub class: &'static str,
    pub kind: &'static str,
    pub id: String,
    pub range: String,
    pub gateway: String,
}

/// A box with a text.
pub struct Labelled {
    pub x: usize,
    pub text: String,
    pub detail: String,
}

/// The picture; `None`: no network is known.
pub fn network(status: &EksClusterStatus) -> Option<Network> {
    let observed = status.network.as_ref()?;
    let mut zones: BTreeMap<&str, Vec<SubnetBox>> = BTreeMap::new();
    let of_kind = |kind: &'static str| status.resources.iter().filter_map(move |one| of(one, kind));
    let mut subnets: Vec<_> = observed.subnets.iter().collect();
    // Public subnets are nearer to the internet.
    subnets.sort_by_key(|subnet| (subnet.tier != SubnetTier::Public, &subnet.id));
    for subnet in subnets {
        let is_public = subnet.tier == SubnetTier::Public;
        let gateway = of_kind("natGateway").find(|(zone, _)| *zone == subnet.zone).filter(|_| is_public);
        zones.entry(&subnet.zone).or_default().push(SubnetBox {
            y: 0,
            class: if is_public { "public" } else { "private" },
            kind: if is_public { "public" } else { "private" },
            id: subnet.id.clone(),
            range: subnet.cidr.clone().unwrap_or_default(),
            gateway: gateway.map(|(_, id)| format!("NAT {id}")).unwrap_or_default(),
        });
    }
    for subnet in &observed.pod_subnets {
        zones.entry(&subnet.zone).or_default().push(SubnetBox {
            y: 0,
            class: "pods",
            kind: "Pods",
            id: subnet.id.clone(),
            range: subnet.cidr.clone().unwrap_or_default(),
            gateway: String::new(),
        });
    }
    if zones.is_empty() {
        return None;
    }
    let deepest = zones.values().map(Vec::len).max().unwrap_or_default();
    let column = deepest * (BOX_HEIGHT + GAP) + GAP + 26;
    let placed = zones.into_iter().enumerate().map(|(number, (name, mut boxes))| {
        for (row, one) in boxes.iter_mut().enumerate() {
            one.y = TOP + 26 + GAP + row * (BOX_HEIGHT + GAP);
        }
        Zone { name: name.to_owned(), x: GAP + number * (ZONE_WIDTH + GAP), width: ZONE_WIDTH, height: column, boxes }
    });
    let zones: Vec<Zone> = placed.collect();
    let gateways = [("internetGateway", "Internet gateway"), ("egressOnlyInternetGateway", "Egress-only gateway")];
    let gateways = gateways.into_iter().flat_map(|(kind, text)| of_kind(kind).map(move |(_, id)| (text, id)));
    let gateways = gateways.enumerate().map(|(number, (text, id))| Labelled {
        x: GAP + number * (ZONE_WIDTH + GAP),
        text: text.to_owned(),
        detail: id.to_owned(),
    });
    let gateways: Vec<Labelled> = gateways.collect();
    let endpoints: Vec<String> = of_kind("vpcEndpoint").map(|(name, _)| name.to_owned()).collect();
    let columns = zones.len().max(gateways.len());
    let title = observed.vpc_id.clone().unwrap_or_else(|| "VPC".to_owned());
    Some(Network {
        width: GAP + columns * (ZONE_WIDTH + GAP),
        height: TOP + column + GAP,
        description: describe(&title, &zones, &gateways),
        title,
        zones,
        gateways,
        endpoints,
    })
}

/// Name and id of a resource of that kind.
fn of<'a>(resource: &'a ResourceStatus, kind: &str) -> Option<(&'a str, &'a str)> {
    let rest = resource.key.strip_prefix(kind)?;
    let name = if rest.is_empty() { "" } else { rest.strip_prefix('/')? };
    Some((name, resource.id.as_deref().unwrap_or_default()))
}

fn describe(title: &str, zones: &[Zone], gateways: &[Labelled]) -> String {
    let of_zone = |zone: &Zone| {
        let boxes: Vec<String> = zone
            .boxes
            .iter()
            .map(|one| {
                let gateway = if one.gateway.is_empty() { String::new() } else { format!(" with {}", one.gateway) };
                format!("{} subnet {} {}{gateway}", one.kind, one.id, one.range)
            })
            .collect();
        format!("zone {}: {}", zone.name, boxes.join(", "))
    };
    let parts = gateways.iter().map(|one| one.text.clone()).chain(zones.iter().map(of_zone));
    format!("{title}. {}", parts.collect::<Vec<_>>().join(". "))
}
