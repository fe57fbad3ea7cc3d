//! The network of a cluster as a picture: its zones, their subnets, gateways and endpoints. Pure.

use std::collections::BTreeMap;

use crate::api::node_group::SubnetTier;
use crate::api::status_cluster::EksClusterStatus;
use crate::controllers::status::network_resources::NetworkResources;

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
    let recorded = NetworkResources::of(status);
    let mut subnets: Vec<_> = observed.subnets.iter().collect();
    // Public subnets are nearer to the internet.
    subnets.sort_by_key(|subnet| (subnet.tier != SubnetTier::Public, &subnet.id));
    for subnet in subnets {
        let is_public = subnet.tier == SubnetTier::Public;
        let gateway = recorded.nat_gateways.iter().find(|(zone, _)| *zone == subnet.zone).filter(|_| is_public);
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
    let with_text = |ids: Vec<&str>, text: &str| -> Vec<(String, String)> {
        ids.into_iter().map(|id| (text.to_owned(), id.to_owned())).collect()
    };
    let gateways = [
        with_text(recorded.internet_gateways, "Internet gateway"),
        with_text(recorded.egress_only_gateways, "Egress-only gateway"),
    ];
    let gateways = gateways.into_iter().flatten().enumerate().map(|(number, (text, detail))| Labelled {
        x: GAP + number * (ZONE_WIDTH + GAP),
        text,
        detail,
    });
    let gateways: Vec<Labelled> = gateways.collect();
    let endpoints: Vec<String> = recorded.endpoints.into_iter().map(str::to_owned).collect();
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(status: Value) -> Option<Network> {
        network(&serde_json::from_value(status).unwrap())
    }

    fn subnet(id: &str, zone: &str, tier: &str) -> Value {
        json!({"id": id, "zone": zone, "tier": tier, "cidr": "10.0.0.0/24"})
    }

    #[test]
    fn each_zone_is_a_column_with_its_subnets_below_each_other() {
        let picture = of(json!({
            "network": {
                "vpcId": "vpc-1",
                "subnets": [subnet("b-private", "b", "Private"), subnet("a-private", "a", "Private"), subnet("a-public", "a", "Public")],
                "podSubnets": [{"id": "a-pods", "zone": "a", "cidr": "100.64.0.0/20"}],
            },
            "resources": [
                {"key": "natGateway/a", "id": "nat-a"}, {"key": "natGateway/b", "id": "nat-b"},
                {"key": "internetGateway", "id": "igw-1"}, {"key": "vpcEndpoint/s3", "id": "vpce-1"},
                {"key": "natGatewayless/a", "id": "other"},
            ],
        }))
        .unwrap();
        let zones: Vec<_> = picture.zones.iter().map(|zone| (zone.name.as_str(), zone.x)).collect();
        assert_eq!(zones, [("a", 14), ("b", 258)]);
        let boxes = |zone: usize| -> Vec<(&str, &str, usize, &str)> {
            let boxes = picture.zones[zone].boxes.iter();
            boxes.map(|one| (one.id.as_str(), one.class, one.y, one.gateway.as_str())).collect()
        };
        let expected =
            [("a-public", "public", 132, "NAT nat-a"), ("a-private", "private", 204, ""), ("a-pods", "pods", 276, "")];
        assert_eq!(boxes(0), expected, "the public one is next to the internet and has the NAT gateway");
        assert_eq!(boxes(1), [("b-private", "private", 132, "")]);
        let gateways: Vec<_> =
            picture.gateways.iter().map(|one| (one.text.as_str(), one.detail.as_str(), one.x)).collect();
        assert_eq!(gateways, [("Internet gateway", "igw-1", 14)]);
        assert_eq!(picture.endpoints, ["s3"]);
        let text = "vpc-1. Internet gateway. zone a: public subnet a-public 10.0.0.0/24 with NAT nat-a, private subnet a-private 10.0.0.0/24, \
                    Pods subnet a-pods 100.64.0.0/20. zone b: private subnet b-private 10.0.0.0/24";
        assert_eq!(picture.description, text);
    }

    #[test]
    fn boxes_lie_in_their_zone_and_zones_in_the_picture() {
        let of_zone = |zone: usize| {
            (0..=zone).map(move |number| subnet(&format!("{zone}-{number}"), &format!("zone-{zone}"), "Private"))
        };
        let subnets: Vec<Value> = (0..4).flat_map(of_zone).collect();
        let picture = of(json!({"network": {"subnets": subnets}})).unwrap();
        assert_eq!(picture.zones.iter().map(|zone| zone.boxes.len()).collect::<Vec<_>>(), [1, 2, 3, 4]);
        for (left, right) in picture.zones.iter().zip(&picture.zones[1..]) {
            assert!(left.x + left.width < right.x, "{} and {}", left.name, right.name);
        }
        for zone in &picture.zones {
            let bottom = TOP + zone.height;
            assert!(zone.x + zone.width <= picture.width && bottom <= picture.height, "{}", zone.name);
            assert!(zone.boxes.iter().all(|one| one.y > TOP && one.y + BOX_HEIGHT <= bottom), "{}", zone.name);
            assert!(zone.boxes.windows(2).all(|pair| pair[0].y + BOX_HEIGHT < pair[1].y), "{}", zone.name);
        }
    }

    #[test]
    fn gateways_without_zones_beside_them_fit_and_nothing_known_is_no_picture() {
        let resources =
            json!([{"key": "internetGateway", "id": "igw-1"}, {"key": "egressOnlyInternetGateway", "id": "eigw-1"}]);
        let picture =
            of(json!({"network": {"subnets": [subnet("s", "a", "Public")]}, "resources": resources})).unwrap();
        let right = picture.gateways.iter().map(|one| one.x + ZONE_WIDTH).max();
        assert_eq!((picture.gateways.len(), right, picture.width), (2, Some(488), 502));
        assert!(of(json!({})).is_none() && of(json!({"network": {"vpcId": "vpc-1"}})).is_none());
    }
}
