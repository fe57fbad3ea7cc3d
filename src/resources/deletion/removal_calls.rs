//! Finds and deletes the resources of [`super::removals`]. I/O: EC2, IAM and EKS.

use super::removals::{Detail, Found, Removals, removal_of, route_key};
use crate::aws::snapshots::network_attributes::{NatGatewayState, RouteState};
use crate::aws::snapshots::{Address, NatGateway, RouteTable, RouteTarget};
use crate::aws::{MaxStaleness, Service};
use crate::engine::{AllowedTarget, Class, Failure, Key};
use crate::resources::cloud::{Cloud, Tagged};
use crate::resources::eks::{capability, identity_provider};
use crate::resources::graph::kinds;
use crate::resources::iam::oidc_provider;
use crate::resources::network::vpc;
use crate::resources::network::vpc_endpoint::delete_endpoint;
use crate::resources::network::{elastic_ip, nat_gateway, route, security_group, vpc_endpoint};

/// Destination of the routes to NAT gateways.
const ANYWHERE: &str = "0.0.0.0/0";

/// Whether a NAT gateway still uses an address or serves a route.
fn is_active(gateway: &NatGateway) -> bool {
    !matches!(gateway.state, Some(NatGatewayState::Deleted | NatGatewayState::Failed))
}

impl Removals {
    /// The resources that still exist.
    pub(crate) async fn find(&self, cloud: &Cloud, staleness: MaxStaleness) -> Result<Detail, Failure> {
        let reads = &cloud.aws.snapshots;
        let (gateways, addresses, endpoints, groups) = futures::try_join!(
            reads.nat_gateways(staleness),
            reads.addresses(staleness),
            reads.vpc_endpoints(staleness),
            reads.security_groups(staleness),
        )?;
        let to_delete: Vec<(&Key, &NatGateway)> = self
            .ids_of(&nat_gateway::KIND)
            .filter_map(|(key, id)| Some((key, gateways.iter().find(|one| self.matches(*one, id) && is_active(one))?)))
            .collect();
        let tables = self.tables(cloud, &to_delete).await?;
        let mut found = self.routes(&tables, &to_delete);
        for (key, gateway) in &to_delete {
            let (used_by, blocked_by) = self.route_users(gateway, &tables);
            let deleting = gateway.state == Some(NatGatewayState::Deleting);
            let one = self.found(key, &gateway.id, gateway.tags().owner(), Some(&gateway.vpc_id));
            found.push(Found { deleting, used_by, blocked_by, ..one });
        }
        for (key, id) in self.ids_of(&elastic_ip::KIND) {
            let Some(address) = addresses.iter().find(|one| self.matches(*one, id)) else { continue };
            let has = |gateway: &&NatGateway| is_active(gateway) && gateway.allocation_ids.contains(id);
            let gateway = gateways.iter().find(has);
            let one = self.found(key, id, address.tags().owner(), gateway.map(|gateway| &gateway.vpc_id));
            let blocked_by = foreign_user(address, gateway);
            found.push(Found { used_by: gateway.iter().map(|one| one.id.clone()).collect(), blocked_by, ..one });
        }
        let owned: Vec<_> = self
            .ids_of(&vpc_endpoint::KIND)
            .filter_map(|(key, id)| Some((key, endpoints.iter().find(|one| self.matches(*one, id))?)))
            .collect();
        for (key, endpoint) in &owned {
            let state = endpoint.state.as_ref().map_or("", |state| state.as_str()).to_lowercase();
            if state == "deleted" {
                continue;
            }
            let one = self.found(key, &endpoint.id, endpoint.tags().owner(), Some(&endpoint.vpc_id));
            found.push(Found { deleting: state == "deleting", ..one });
        }
        for (key, id) in self.ids_of(&security_group::KIND) {
            let Some(group) = groups.iter().find(|one| self.matches(*one, id)) else { continue };
            // Gateway endpoints use no group, but deleting them first does no harm.
            let used_by =
                found.iter().filter(|one| vpc_endpoint::KIND.is_of(&one.key)).map(|one| one.id.clone()).collect();
            found.push(Found { used_by, ..self.found(key, id, group.tags().owner(), Some(&group.vpc_id)) });
        }
        for (key, arn) in self.ids_of(&oidc_provider::KIND) {
            if reads.oidc_providers(staleness).await?.contains(arn)
                && let Some(tags) = oidc_provider::tags_of(&cloud.aws, arn).await?
                && tags.is_owned_by(&self.owner)
            {
                found.push(self.found(key, arn, tags.owner(), None));
            }
        }
        for kind in kinds::ALL.iter().filter(|kind| kind.removal.is_some() && self.ids_of(kind).next().is_some()) {
            if let Some(tags_of) = kind.tags_of {
                for (key, id) in self.ids_of(kind) {
                    let tags = tags_of(&cloud.aws, id).await?.filter(|tags| tags.is_owned_by(&self.owner));
                    found.extend(tags.map(|tags| self.found(key, id, tags.owner(), None)));
                }
            }
            let Some(read) = kind.read(&cloud.aws, staleness) else { continue };
            let list = read.await?;
            for (key, id) in self.ids_of(kind) {
                if let Some(one) = list.items().into_iter().find(|one| self.matches(one, id)) {
                    found.push(self.found(key, id, one.tags().owner(), one.vpc().map(str::to_owned).as_ref()));
                }
            }
        }
        for (key, name) in self.resources.iter().filter(|(key, _)| kinds::is_in_cluster(key)) {
            found.extend(self.in_cluster(cloud, key, name).await?);
        }
        let roles = self.unwanted_roles(cloud, staleness).await?;
        found.extend(roles.found);
        let later = roles.later;
        let exists = |key: &Key| later.contains(key) || found.iter().any(|one| one.key == *key);
        let deleted = self.resources.iter().map(|(key, _)| key).filter(|key| !exists(key)).cloned().collect();
        Ok(Detail { found, deleted, later })
    }

    /// What exists within the cluster and carries our tag.
    async fn in_cluster(&self, cloud: &Cloud, key: &Key, name: &str) -> Result<Option<Found>, Failure> {
        let state = match key.kind() {
            kind if kind == identity_provider::KIND.name => {
                identity_provider::removal_state(&cloud.aws, &self.cluster, name).await?
            }
            kind if kind == capability::KIND.name => capability::removal_state(&cloud.aws, &self.cluster, name).await?,
            _ => None,
        };
        let ours = state.filter(|(_, tags)| tags.is_owned_by(&self.owner));
        Ok(ours.map(|(deleting, tags)| Found { deleting, ..self.found(key, name, tags.owner(), None) }))
    }

    /// Whether it is the resource with that id and still carries our tag; without the tag, somebody else keeps it.
    fn matches<T: Tagged>(&self, one: &T, id: &str) -> bool {
        one.id() == id && one.tags().is_owned_by(&self.owner)
    }

    pub(super) fn found(&self, key: &Key, id: &str, owner: Option<&str>, vpc_id: Option<&String>) -> Found {
        Found {
            key: key.clone(),
            id: id.to_owned(),
            owner: owner.unwrap_or_default().to_owned(),
            place: vpc_id.map(|id| (vpc::key(), id.clone())),
            deleting: false,
            used_by: Vec::new(),
            blocked_by: None,
        }
    }

    /// All route tables in the VPCs of those gateways, whoever created them: a route to a deleted gateway leads
    /// nowhere.
    async fn tables(&self, cloud: &Cloud, to_delete: &[(&Key, &NatGateway)]) -> Result<Vec<RouteTable>, Failure> {
        let Some((_, gateway)) = to_delete.first() else { return Ok(Vec::new()) };
        let filter = aws_sdk_ec2::types::Filter::builder().name("vpc-id").values(&gateway.vpc_id).build();
        let mut all = Vec::new();
        let mut next = None;
        loop {
            let request = cloud.aws.ec2.describe_route_tables().filters(filter.clone()).set_next_token(next);
            let answer = cloud.aws.call(Service::Ec2, "DescribeRouteTables", &gateway.vpc_id, request.send()).await?;
            all.extend(answer.route_tables().iter().map(RouteTable::from));
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(all);
            }
        }
    }

    /// Our routes to those gateways or to deleted gateways, except those that a resource of the graph moves to another
    /// target.
    fn routes(&self, tables: &[RouteTable], to_delete: &[(&Key, &NatGateway)]) -> Vec<Found> {
        let mut found = Vec::new();
        for table in tables.iter().filter(|table| table.tags.is_owned_by(&self.owner)) {
            let Some((key, table_key)) = keys_of(table).filter(|(key, _)| !self.wanted_routes.contains(key)) else {
                continue;
            };
            let uses_deleted_gateway = table.routes.iter().any(|route| match &route.target {
                RouteTarget::NatGateway(id) if route.destination == ANYWHERE => {
                    route.state == Some(RouteState::Blackhole) || to_delete.iter().any(|(_, gateway)| gateway.id == *id)
                }
                _ => false,
            });
            if uses_deleted_gateway {
                let one = self.found(&key, &format!("{}:{ANYWHERE}", table.id), table.tags.owner(), None);
                found.push(Found { place: Some((table_key, table.id.clone())), ..one });
            }
        }
        found
    }

    /// The routes to a gateway: ours, which are removed or moved first, and one that is not ours.
    fn route_users(&self, gateway: &NatGateway, tables: &[RouteTable]) -> (Vec<String>, Option<String>) {
        let is_to_gateway = |target: &RouteTarget| matches!(target, RouteTarget::NatGateway(id) if *id == gateway.id);
        let (mut ours, mut blocked_by) = (Vec::new(), None);
        for table in tables {
            for route in table.routes.iter().filter(|route| is_to_gateway(&route.target)) {
                let is_ours =
                    table.tags.is_owned_by(&self.owner) && keys_of(table).is_some() && route.destination == ANYWHERE;
                if is_ours {
                    ours.push(format!("{}:{ANYWHERE}", table.id));
                } else {
                    blocked_by.get_or_insert(format!(
                        "the route to {} in route table {}, which Keelson did not create, uses it: remove that route",
                        route.destination, table.id
                    ));
                }
            }
        }
        (ours, blocked_by)
    }

    /// Deletes what the checker allowed, routes before gateways. Returns what is left.
    pub(crate) async fn remove(
        &self,
        cloud: &Cloud,
        observed: &Detail,
        allowed: &[AllowedTarget],
    ) -> Result<Detail, Failure> {
        let mut failed = None;
        let mut left = observed.clone();
        for one in allowed {
            // An id is unique within its kind only: an identity provider may have the name of a capability.
            let Some(key) = one.key() else { continue };
            let is_it = |found: &Found| found.key == *key && found.id == one.id();
            let deleted = match removal_of(key) {
                Some(removal) => (removal.delete)(&cloud.aws, &self.cluster, one.id()).await.map_err(Failure::from),
                None => delete(cloud, key, one.id()).await,
            };
            match deleted {
                Err(failure) if failure.class != Class::NotFound => {
                    failed.get_or_insert(failure);
                    // If a route cannot be deleted, its gateway stays.
                    if route::KIND.is_of(key) {
                        break;
                    }
                }
                answer => {
                    let is_slow =
                        nat_gateway::KIND.is_of(key) || vpc_endpoint::KIND.is_of(key) || kinds::is_in_cluster(key);
                    if answer.is_ok() && is_slow {
                        left.found.iter_mut().filter(|found| is_it(found)).for_each(|found| found.deleting = true);
                    } else {
                        left.deleted
                            .extend(left.found.iter().filter(|found| is_it(found)).map(|found| found.key.clone()));
                        left.found.retain(|found| !is_it(found));
                    }
                }
            }
        }
        failed.map_or(Ok(left), Err)
    }
}

/// The key of a route in a table of ours, and the table's key.
fn keys_of(table: &RouteTable) -> Option<(Key, Key)> {
    let table_key = Key::parse(table.tags.resource()?);
    Some((route_key(table_key.name())?, table_key))
}

/// What uses an address, other than our NAT gateway.
fn foreign_user(address: &Address, gateway: Option<&NatGateway>) -> Option<String> {
    address.association_id.as_ref().filter(|_| gateway.is_none()).map(|_| {
        let by = address.network_interface_id.as_deref().unwrap_or("something");
        format!("it is associated with {by}: disassociate it")
    })
}

/// Deletes one resource whose kind has no deletion of its own in the table.
async fn delete(cloud: &Cloud, key: &Key, id: &str) -> Result<(), Failure> {
    let aws = &cloud.aws;
    let deleted = match key.kind() {
        kind if kind == route::KIND.name => {
            let (table, destination) = id.split_once(':').unwrap_or((id, ANYWHERE));
            let request = aws.ec2.delete_route().route_table_id(table).destination_cidr_block(destination);
            aws.call(Service::Ec2, "DeleteRoute", table, request.send()).await.map(drop)
        }
        kind if kind == nat_gateway::KIND.name => {
            let request = aws.ec2.delete_nat_gateway().nat_gateway_id(id);
            aws.call(Service::Ec2, "DeleteNatGateway", id, request.send()).await.map(drop)
        }
        kind if kind == elastic_ip::KIND.name => {
            let request = aws.ec2.release_address().allocation_id(id);
            aws.call(Service::Ec2, "ReleaseAddress", id, request.send()).await.map(drop)
        }
        kind if kind == vpc_endpoint::KIND.name => delete_endpoint(aws, id).await,
        kind if kind == security_group::KIND.name => {
            let request = aws.ec2.delete_security_group().group_id(id);
            aws.call(Service::Ec2, "DeleteSecurityGroup", id, request.send()).await.map(drop)
        }
        kind if kind == oidc_provider::KIND.name => {
            let request = aws.iam.delete_open_id_connect_provider().open_id_connect_provider_arn(id);
            aws.call(Service::Iam, "DeleteOpenIDConnectProvider", id, request.send()).await.map(drop)
        }
        // A test holds these kinds against the table.
        _ => return Err(Failure::invalid(format!("{key} {id} is not removed: it has no deletion of its own"))),
    };
    Ok(deleted?)
}
