//! `vpc`, `availabilityZones` and `privateCluster` as the cluster's network and endpoint access, and the subnets of
//! the nodes. Pure.

use serde_json::{Value, json};

use crate::cli::import::section::Section;

/// eksctl's default.
const DEFAULT_CIDR: &str = "192.168.0.0/16";
/// The endpoints that eksctl creates for nodes without a route to the internet.
const PRIVATE_ENDPOINTS: [&str; 5] = ["ec2", "ecr.api", "ecr.dkr", "s3", "sts"];

/// An existing subnet.
struct SubnetPlace {
    /// Its key in the file: a zone, or a custom name.
    key: String,
    by: Reference,
    zone: String,
}

/// What identifies a subnet of the VPC.
enum Reference {
    Id(String),
    Range(String),
    Zone(String),
}

impl SubnetPlace {
    fn id(&self) -> Option<&str> {
        if let Reference::Id(id) = &self.by { Some(id) } else { None }
    }

    /// As in `network.existing.subnets`.
    fn reference(&self) -> Value {
        match &self.by {
            Reference::Id(id) => json!({"id": id}),
            Reference::Range(cidr) => json!({"cidr": cidr}),
            Reference::Zone(zone) => json!({"zone": zone}),
        }
    }
}

/// The cluster's network.
pub struct Network {
    /// `spec.network`.
    pub spec: Value,
    /// `spec.endpointAccess`.
    pub endpoint_access: Value,
    /// `spec.controlPlane.egressMode`.
    pub egress_mode: Option<&'static str>,
    /// Whether the subnets already exist.
    pub exists: bool,
    private: Vec<SubnetPlace>,
    public: Vec<SubnetPlace>,
    only_private: bool,
}

/// Takes the network fields of the whole file. `logs`: control plane logs go to CloudWatch.
pub fn network(file: &mut Section<'_>, logs: bool) -> Network {
    let mut vpc = file.section("vpc");
    let private_cluster = PrivateCluster::read(file, logs);
    let (mut private, mut public) = (Vec::new(), Vec::new());
    let id = vpc.as_ref().and_then(|vpc| vpc.peek_text("id"));
    if let Some(mut subnets) = vpc.as_mut().and_then(|vpc| vpc.section("subnets")) {
        private = places(subnets.section("private"), id.as_deref());
        public = places(subnets.section("public"), id.as_deref());
    }
    let control_plane = vpc.as_mut().and_then(|vpc| vpc.texts("controlPlaneSubnetIDs")).unwrap_or_default();
    let exists = !(private.is_empty() && public.is_empty() && control_plane.is_empty());
    let endpoint_access = endpoint_access(vpc.as_mut(), private_cluster.is_some());
    let egress_mode = vpc.as_mut().and_then(egress_mode);
    let mut network = Network {
        spec: Value::Null,
        endpoint_access,
        egress_mode,
        exists,
        private,
        public,
        only_private: private_cluster.is_some(),
    };
    network.spec = if exists {
        network.existing(file, vpc.as_mut(), control_plane, private_cluster)
    } else {
        own(file, vpc.as_mut(), private_cluster)
    };
    if let Some(vpc) = &mut vpc {
        refuse_the_rest(vpc);
    }
    network
}

/// `privateCluster`, if enabled.
struct PrivateCluster {
    endpoints: Vec<String>,
    makes_endpoints: bool,
}

impl PrivateCluster {
    fn read(file: &mut Section<'_>, logs: bool) -> Option<Self> {
        let mut section = file.section("privateCluster")?;
        let enabled = section.flag("enabled").unwrap_or_default();
        let makes_endpoints = !section.flag("skipEndpointCreation").unwrap_or_default();
        let mut endpoints: Vec<String> = PRIVATE_ENDPOINTS.map(str::to_owned).to_vec();
        let more = section.texts("additionalEndpointServices").unwrap_or_default();
        if !enabled {
            if !more.is_empty() {
                section.report_left_out("additionalEndpointServices", "privateCluster.enabled is not true");
            }
            return None;
        }
        endpoints.extend(more);
        if logs {
            endpoints.push("logs".to_owned());
        }
        endpoints.sort();
        endpoints.dedup();
        section.report_difference(
            "enabled",
            "the operator, and Git for Flux, must be reachable from inside the VPC: Keelson sets up neither",
        );
        Some(Self { endpoints, makes_endpoints })
    }
}

/// eksctl's defaults differ from Keelson's, so they are written out.
fn endpoint_access(vpc: Option<&mut Section<'_>>, only_private: bool) -> Value {
    let mut cidrs = None;
    let (mut public, mut private) = (!only_private, only_private);
    if let Some(vpc) = vpc {
        if let Some(mut endpoints) = vpc.section("clusterEndpoints") {
            public = endpoints.flag("publicAccess").unwrap_or(public);
            private = endpoints.flag("privateAccess").unwrap_or(private);
        }
        cidrs = vpc.texts("publicAccessCIDRs").filter(|cidrs| !cidrs.is_empty());
    }
    let mut access = json!({"public": public, "private": private});
    if let Some(cidrs) = cidrs {
        access["publicCidrs"] = json!(cidrs);
    }
    access
}

const NO_VPC: &str =
    "has no id, and without vpc.id Keelson does not know in which VPC to look for its range or zone: set one of them";
const NOTHING: &str = "has neither an id, a cidr nor a zone (az, or its key): set one of them";

/// Whether a key of `vpc.subnets` is a zone, such as `eu-west-1a`, and no name.
fn is_zone(key: &str) -> bool {
    let Some((area, number)) = key.rsplit_once('-') else { return false };
    let number = number.strip_suffix(|c: char| c.is_ascii_lowercase()).unwrap_or_default();
    area.contains('-') && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn places(tier: Option<Section<'_>>, vpc: Option<&str>) -> Vec<SubnetPlace> {
    let Some(mut tier) = tier else { return Vec::new() };
    let mut places = Vec::new();
    for key in tier.names() {
        let zone_in_key = is_zone(&key).then(|| key.clone());
        // A zone alone may have no value.
        let (id, zone, range) = match tier.section(&key) {
            // With an id, zone and range are redundant, and with a range the zone.
            Some(mut subnet) => (subnet.some_text("id"), subnet.some_text("az"), subnet.some_text("cidr")),
            None => (None, None, None),
        };
        let zone = zone.or(zone_in_key);
        let by = match (id, range, &zone) {
            (Some(id), _, _) => Reference::Id(id),
            (None, Some(range), _) => Reference::Range(range),
            (None, None, Some(zone)) => Reference::Zone(zone.clone()),
            (None, None, None) => {
                tier.report_mistake(&key, NOTHING);
                continue;
            }
        };
        if vpc.is_none() && !matches!(by, Reference::Id(_)) {
            tier.report_mistake(&key, NO_VPC);
        }
        places.push(SubnetPlace { zone: zone.unwrap_or_else(|| key.clone()), key, by });
    }
    places
}

/// A VPC that is created for the cluster.
fn own(file: &mut Section<'_>, mut vpc: Option<&mut Section<'_>>, private_cluster: Option<PrivateCluster>) -> Value {
    let mut cidr = DEFAULT_CIDR.to_owned();
    let mut nat = "Single";
    if let Some(vpc) = vpc.as_mut() {
        if vpc.some_text("id").is_some() {
            vpc.report_mistake(
                "id",
                "names a VPC, and vpc.subnets no subnet of it: set the subnets to use, or a second VPC would be created",
            );
        }
        cidr = vpc.some_text("cidr").unwrap_or(cidr);
        nat = nat_of(vpc).unwrap_or(nat);
        for field in ["securityGroup", "controlPlaneSecurityGroupIDs"] {
            vpc.refuse(
                field,
                "security groups of the control plane must be in the VPC that Keelson creates: create them there, and list \
                 them in network.vpc.securityGroupIds then",
            );
        }
        // Keelson always puts control planes in private subnets.
        vpc.flag("controlPlaneOnPrivateSubnets");
    }
    let mut spec = json!({"cidr": cidr, "nat": nat});
    if let Some(zones) = file.texts("availabilityZones").filter(|zones| !zones.is_empty()) {
        spec["zones"] = json!(zones);
    }
    if let Some(PrivateCluster { endpoints, makes_endpoints }) = private_cluster {
        spec["nat"] = json!("None");
        spec["publicSubnets"] = json!(false);
        if makes_endpoints {
            spec["endpoints"] = json!(endpoints);
        }
    }
    json!({"vpc": spec})
}

fn nat_of(vpc: &mut Section<'_>) -> Option<&'static str> {
    let mut section = vpc.section("nat")?;
    let gateway = section.some_text("gateway")?;
    match gateway.to_lowercase().as_str() {
        "single" => Some("Single"),
        "highlyavailable" => Some("PerZone"),
        "disable" => Some("None"),
        _ => {
            section.report_mistake("gateway", format!("{gateway:?} is none of Single, HighlyAvailable, Disable"));
            None
        }
    }
}

const THERE_ALREADY: &str = "the network already exists, and Keelson creates nothing in it";

const NODES_ELSEWHERE: &str =
    "node groups find subnets by range or zone only among those of the control plane: set their ids";

const NO_SECOND_FAMILY: &str = "a VPC that Keelson creates for an IPv4 cluster has no IPv6 range: its instances have no IPv6 addresses; its Pods and \
     Services have IPv4 addresses only in any case";

/// Refuses network fields that have no counterpart.
fn refuse_the_rest(vpc: &mut Section<'_>) {
    const IPV6: &str =
        "a VPC that Keelson creates for an IPv6 cluster gets a range of Amazon's: set kubernetesNetworkConfig.ipFamily";
    const EXTRA: &str =
        "further ranges of a VPC that Keelson creates are for Pods, with subnets of their own: network.vpc.podCidrs";
    const SELF_MANAGED: &str =
        "applies to self-managed nodes: those of managed node groups are in EKS's own security group";
    vpc.refuse_each(&[("ipv6Cidr", IPV6), ("ipv6Pool", IPV6), ("extraCIDRs", EXTRA), ("extraIPv6CIDRs", IPV6)]);
    vpc.differ_unless("autoAllocateIPv6", false, NO_SECOND_FAMILY);
    vpc.refuse_each(&[("sharedNodeSecurityGroup", SELF_MANAGED), ("manageSharedNodeSecurityGroupRules", SELF_MANAGED)]);
    // EC2's default.
    vpc.differ_unless(
        "hostnameType",
        "ip-name",
        "Keelson leaves the names of instances to EC2, which derives them from their IP addresses",
    );
}

/// EKS's default is AWS's routes.
fn egress_mode(vpc: &mut Section<'_>) -> Option<&'static str> {
    match vpc.some_text("controlPlaneEgressMode")?.as_str() {
        "AWS_MANAGED" => None,
        "CUSTOMER_ROUTED" => Some("CustomerRouted"),
        "CUSTOMER_ISOLATED" => Some("CustomerIsolated"),
        other => {
            let why = format!("{other:?} is none of AWS_MANAGED, CUSTOMER_ROUTED and CUSTOMER_ISOLATED");
            vpc.report_mistake("controlPlaneEgressMode", why);
            None
        }
    }
}

impl Network {
    /// Existing subnets.
    fn existing(
        &self,
        file: &mut Section<'_>,
        vpc: Option<&mut Section<'_>>,
        control_plane: Vec<String>,
        private_cluster: Option<PrivateCluster>,
    ) -> Value {
        file.refuse("availabilityZones", THERE_ALREADY);
        if private_cluster.is_some_and(|private| private.makes_endpoints) {
            let why = format!("{THERE_ALREADY}: the VPC endpoints that nodes need must be there");
            file.report_left_out("privateCluster.skipEndpointCreation", why);
        }
        let mut spec = json!({});
        let mut only_private = false;
        if let Some(vpc) = vpc {
            if let Some(id) = vpc.some_text("id") {
                spec["vpcId"] = json!(id);
            }
            // Redundant with the subnets.
            vpc.text("cidr");
            vpc.refuse("nat", THERE_ALREADY);
            only_private = vpc.flag("controlPlaneOnPrivateSubnets").unwrap_or_default();
            let mut groups: Vec<String> = vpc.some_text("securityGroup").into_iter().collect();
            groups.extend(vpc.texts("controlPlaneSecurityGroupIDs").unwrap_or_default());
            groups.dedup();
            if !groups.is_empty() {
                spec["securityGroupIds"] = json!(groups);
            }
        }
        let has_no_id = |place: &SubnetPlace| place.id().is_none();
        let is_of_others = !control_plane.is_empty() && self.private.iter().any(has_no_id);
        let leaves_public = !control_plane.is_empty() || only_private;
        if is_of_others || leaves_public && self.public.iter().any(has_no_id) {
            file.report_mistake("vpc.subnets", NODES_ELSEWHERE);
        }
        let all = self.private.iter().chain(self.public.iter().filter(|_| !only_private));
        let ids: Option<Vec<_>> = all.clone().map(|place| place.id().map(str::to_owned)).collect();
        match ids.filter(|_| control_plane.is_empty()) {
            _ if !control_plane.is_empty() => spec["subnetIds"] = json!(control_plane),
            Some(ids) => spec["subnetIds"] = json!(ids),
            None => spec["subnets"] = all.map(SubnetPlace::reference).collect(),
        }
        json!({"existing": spec})
    }

    /// `spec.subnets` of a node group.
    pub fn node_subnets(&self, group: &mut Section<'_>) -> Value {
        let private = group.flag("privateNetworking").unwrap_or_default() || self.only_private;
        let zones = group.texts("availabilityZones").unwrap_or_default();
        let named = group.texts("subnets").unwrap_or_default();
        if !named.is_empty() {
            if !zones.is_empty() {
                group.report_left_out("availabilityZones", "subnets already sets them");
            }
            let known: Vec<_> = named.iter().filter_map(|name| self.reference_of(group, name)).collect();
            let are_of = |tier: &[SubnetPlace]| named.iter().all(|name| tier.iter().any(|place| place.key == *name));
            let tiers = [("Private", &self.private), ("Public", &self.public)];
            let tier = tiers.into_iter().find(|(_, tier)| are_of(tier)).map(|(tier, _)| tier);
            return subnets_of(group, "subnets", &known, tier);
        }
        let tier = if private { &self.private } else { &self.public };
        if self.exists && !tier.is_empty() {
            let inside =
                |place: &&SubnetPlace| zones.is_empty() || zones.contains(&place.zone) || zones.contains(&place.key);
            let known: Vec<_> = tier.iter().filter(inside).map(SubnetPlace::reference).collect();
            if known.is_empty() {
                group.report_mistake("availabilityZones", "no subnet in vpc.subnets is in one of these zones");
            }
            return subnets_of(group, "availabilityZones", &known, Some(if private { "Private" } else { "Public" }));
        }
        if self.exists && !(self.private.is_empty() && self.public.is_empty()) {
            let (required, existing) = if private { ("private", "public") } else { ("public", "private") };
            let is = if private { "true" } else { "false, which is eksctl's default," };
            let why = format!("is {is} and so requires {required} subnets, but vpc.subnets has {existing} ones only");
            group.report_mistake("privateNetworking", why);
        }
        let mut subnets = json!({"tier": if private { "Private" } else { "Public" }});
        if !zones.is_empty() {
            subnets["zones"] = json!(zones);
        }
        subnets
    }

    fn reference_of(&self, group: &Section<'_>, name: &str) -> Option<Value> {
        let mut places = self.private.iter().chain(&self.public);
        let found = places.find(|place| place.key == name || place.id() == Some(name));
        let found = found.map(SubnetPlace::reference);
        let found = found.or_else(|| name.starts_with("subnet-").then(|| json!({"id": name})));
        if found.is_none() {
            group.report_mistake("subnets", format!("{name:?} is neither a subnet's id nor a key of vpc.subnets"));
        }
        found
    }
}

/// `spec.subnets` of a node group with these subnets of the cluster, which all are of `tier`.
fn subnets_of(group: &Section<'_>, field: &str, known: &[Value], tier: Option<&str>) -> Value {
    let of = |member: &str| known.iter().filter_map(|one| one.get(member)).cloned().collect::<Vec<_>>();
    let (ids, cidrs, zones) = (of("id"), of("cidr"), of("zone"));
    let is_by_zone = ids.is_empty() && cidrs.is_empty();
    match tier {
        _ if zones.is_empty() => {}
        Some(tier) if is_by_zone => return json!({"tier": tier, "zones": zones}),
        _ => group.report_mistake(
            field,
            "a node group takes subnets of zones, or by id and range: set the id or the cidr of those that vpc.subnets has by zone",
        ),
    }
    let mut subnets = json!({});
    for (member, list) in [("ids", ids), ("cidrs", cidrs)] {
        if !list.is_empty() {
            subnets[member] = json!(list);
        }
    }
    subnets
}
