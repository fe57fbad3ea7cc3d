//! The subnets of a cluster of Cluster API, and where its nodes are. Pure.

use serde_json::Value;

use crate::cli::import::section::Section;

/// The tag of subnets that are for Pods only.
const ASSOCIATION: &str = "sigs.k8s.io/cluster-api-provider-aws/association";
const NO_ID: &str = "has no id of a subnet: pass the objects as they are in the management cluster (kubectl get -o yaml), \
                     where Cluster API has written the ids";

/// A subnet of the file.
#[derive(Clone, Debug)]
pub struct Subnet {
    pub id: String,
    zone: String,
    is_public: bool,
    is_for_pods: bool,
}

/// What is known of the network.
#[derive(Clone, Debug, Default)]
pub struct Network {
    pub vpc_id: Option<String>,
    pub is_ipv6: bool,
    pub subnets: Vec<Subnet>,
}

/// Takes `spec.network`.
pub fn network(spec: &mut Section<'_>) -> Network {
    let mut found = Network::default();
    let Some(mut network) = spec.section("network") else {
        spec.report_mistake("network", NO_ID);
        return found;
    };
    if let Some(mut vpc) = network.section("vpc") {
        found.vpc_id = vpc.text("id");
        found.is_ipv6 = vpc.value("ipv6").is_some();
        // It exists, with whatever was chosen at its creation.
        for name in vpc.names() {
            vpc.value(&name);
        }
    }
    for mut subnet in network.sections("subnets") {
        let ids = [subnet.text("resourceID"), subnet.text("id")];
        let id = ids.into_iter().flatten().find(|id| is_id(id));
        let tags = subnet.value("tags").unwrap_or_default();
        let is_public = subnet.flag("isPublic").unwrap_or_default();
        match id {
            Some(id) => found.subnets.push(Subnet {
                id,
                zone: subnet.text("availabilityZone").unwrap_or_default(),
                is_public,
                is_for_pods: tags[ASSOCIATION] == "secondary",
            }),
            None => subnet.report_mistake("id", NO_ID),
        }
        for name in subnet.names() {
            subnet.value(&name);
        }
    }
    if found.subnets.is_empty() {
        network.report_mistake("subnets", NO_ID);
    }
    const RULES: &str = "rules of security groups stay as they are: Keelson refers to security groups by id";
    // The status has the ids that result.
    network.value("securityGroupOverrides");
    network.refuse_each(&[
        ("cni", RULES),
        ("additionalControlPlaneIngressRules", RULES),
        ("additionalNodeIngressRules", RULES),
        ("nodePortIngressRuleCidrBlocks", RULES),
    ]);
    found
}

/// Whether it is an id of EC2's: Cluster API has names of its own in the same place.
fn is_id(text: &str) -> bool {
    text.strip_prefix("subnet-")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl Network {
    /// All of them, for the control plane.
    pub fn ids(&self, private_only: bool) -> Vec<String> {
        self.subnets.iter().filter(|one| !private_only || !one.is_public).map(|one| one.id.clone()).collect()
    }

    /// The private ones, for a Fargate profile without subnets.
    pub fn private(&self) -> Vec<String> {
        self.ids(true)
    }

    /// The subnets of nodes in these zones, or in all without one, as Cluster API chooses them.
    pub fn of_nodes(&self, zones: &[String], type_: Option<&str>) -> Vec<String> {
        let private = |one: &&Subnet| !one.is_public && !one.is_for_pods;
        if zones.is_empty() {
            return self.subnets.iter().filter(private).map(|one| one.id.clone()).collect();
        }
        let fits = |one: &&Subnet| match type_ {
            Some("public") => one.is_public && !one.is_for_pods,
            Some("private") => private(one),
            _ => true,
        };
        let mut found = Vec::new();
        for zone in zones {
            found.extend(self.subnets.iter().filter(|one| one.zone == *zone).filter(fits).map(|one| one.id.clone()));
        }
        found
    }
}

/// The security group that Cluster API adds to the control plane, from the status.
pub fn security_groups(status: &Value) -> Vec<String> {
    let group = status.pointer("/networkStatus/securityGroups/node-eks-additional/id").and_then(Value::as_str);
    group.map(str::to_owned).into_iter().collect()
}
