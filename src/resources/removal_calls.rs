//! How what [`super::removals`] is about is found and deleted. I/O: EC2 and IAM.

use super::cloud::{Cloud, Tagged};
use super::removals::{Detail, Found, Removals, route_key};
use super::{oidc_provider, vpc};
use crate::aws::snapshots::network::{NatGatewayState, RouteState};
use crate::aws::snapshots::{Address, NatGateway, RouteTable, RouteTarget};
use crate::aws::{AwsError, MaxStaleness, Service};
use crate::engine::{AllowedTarget, Class, Failure, Key};

/// Destination of the routes to NAT gateways.
const ANYWHERE: &str = "0.0.0.0/0";

/// Which NAT gateways still hold an address or answer a route.
fn lives(gateway: &NatGateway) -> bool {
    !matches!(gateway.state, Some(NatGatewayState::Deleted | NatGatewayState::Failed))
}

impl Removals {
    /// What is there of them.
    pub(super) async fn find(&self, cloud: &Cloud, fresh: MaxStaleness) -> Result<Detail, Failure> {
        let reads = &cloud.aws.snapshots;
        let (gateways, addresses, endpoints, groups) = futures::try_join!(
            reads.nat_gateways(fresh),
            reads.addresses(fresh),
            reads.vpc_endpoints(fresh),
            reads.security_groups(fresh),
        )?;
        let going: Vec<(&Key, &NatGateway)> = self
            .ids_of("natGateway")
            .filter_map(|(key, id)| Some((key, gateways.iter().find(|one| self.is(*one, id) && lives(one))?)))
            .collect();
        let tables = self.tables(cloud, &going).await?;
        let mut found = self.routes(&tables, &going);
        for (key, gateway) in &going {
            let (used_by, held_by) = self.users(gateway, &tables);
            let deleting = gateway.state == Some(NatGatewayState::Deleting);
            let one = self.found(key, &gateway.id, gateway.tags().owner(), Some(&gateway.vpc_id));
            found.push(Found { deleting, used_by, held_by, ..one });
        }
        for (key, id) in self.ids_of("elasticIp") {
            let Some(address) = addresses.iter().find(|one| self.is(*one, id)) else { continue };
            let has = |gateway: &&NatGateway| lives(gateway) && gateway.allocation_ids.contains(id);
            let gateway = gateways.iter().find(has);
            let one = self.found(key, id, address.tags().owner(), gateway.map(|gateway| &gateway.vpc_id));
            let held_by = used_by_others(address, gateway);
            found.push(Found { used_by: gateway.iter().map(|one| one.id.clone()).collect(), held_by, ..one });
        }
        let of_ours: Vec<_> = self
            .ids_of("vpcEndpoint")
            .filter_map(|(key, id)| Some((key, endpoints.iter().find(|one| self.is(*one, id))?)))
            .collect();
        for (key, endpoint) in &of_ours {
            let state = endpoint.state.as_ref().map_or("", |state| state.as_str()).to_lowercase();
            if state == "deleted" {
                continue;
            }
            let one = self.found(key, &endpoint.id, endpoint.tags().owner(), Some(&endpoint.vpc_id));
            found.push(Found { deleting: state == "deleting", ..one });
        }
        for (key, id) in self.ids_of("securityGroup") {
            let Some(group) = groups.iter().find(|one| self.is(*one, id)) else { continue };
            // Gateway endpoints have none, but that they go first costs nothing.
            let used_by =
                found.iter().filter(|one| one.key.kind() == "vpcEndpoint").map(|one| one.id.clone()).collect();
            found.push(Found { used_by, ..self.found(key, id, group.tags().owner(), Some(&group.vpc_id)) });
        }
        for (key, arn) in self.ids_of("oidcProvider") {
            if reads.oidc_providers(fresh).await?.contains(arn)
                && let Some(tags) = oidc_provider::tags_of(&cloud.aws, arn).await?
                && tags.is_owned_by(&self.owner)
            {
                found.push(self.found(key, arn, tags.owner(), None));
            }
        }
        let is_there = |key: &Key| found.iter().any(|one| one.key == *key);
        let gone = self.things.iter().map(|(key, _)| key).filter(|key| !is_there(key)).cloned().collect();
        Ok(Detail { found, gone })
    }

    /// Whether it is that one, and still carries our tag: without it, somebody keeps it.
    fn is<T: Tagged>(&self, one: &T, id: &str) -> bool {
        one.id() == id && one.tags().is_owned_by(&self.owner)
    }

    fn found(&self, key: &Key, id: &str, owner: Option<&str>, vpc_id: Option<&String>) -> Found {
        Found {
            key: key.clone(),
            id: id.to_owned(),
            owner: owner.unwrap_or_default().to_owned(),
            place: vpc_id.map(|id| (vpc::key(), id.clone())),
            deleting: false,
            used_by: Vec::new(),
            held_by: None,
        }
    }

    /// All route tables of the VPCs of those gateways, whoever made them: what leads to a gateway that goes leads nowhere.
    async fn tables(&self, cloud: &Cloud, going: &[(&Key, &NatGateway)]) -> Result<Vec<RouteTable>, Failure> {
        let Some((_, gateway)) = going.first() else { return Ok(Vec::new()) };
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

    /// Our routes to those gateways, or to gateways that are gone, which no node of the graph moves elsewhere.
    fn routes(&self, tables: &[RouteTable], going: &[(&Key, &NatGateway)]) -> Vec<Found> {
        let mut found = Vec::new();
        for table in tables.iter().filter(|table| table.tags.is_owned_by(&self.owner)) {
            let Some((key, table_key)) = keys_of(table).filter(|(key, _)| !self.wanted_routes.contains(key)) else {
                continue;
            };
            let leads_there = table.routes.iter().any(|route| match &route.target {
                RouteTarget::NatGateway(id) if route.destination == ANYWHERE => {
                    route.state == Some(RouteState::Blackhole) || going.iter().any(|(_, gateway)| gateway.id == *id)
                }
                _ => false,
            });
            if leads_there {
                let one = self.found(&key, &format!("{}:{ANYWHERE}", table.id), table.tags.owner(), None);
                found.push(Found { place: Some((table_key, table.id.clone())), ..one });
            }
        }
        found
    }

    /// Routes that lead to a gateway: ours, which go or are moved first; and one that is not ours.
    fn users(&self, gateway: &NatGateway, tables: &[RouteTable]) -> (Vec<String>, Option<String>) {
        let leads = |target: &RouteTarget| matches!(target, RouteTarget::NatGateway(id) if *id == gateway.id);
        let (mut ours, mut held) = (Vec::new(), None);
        for table in tables {
            for route in table.routes.iter().filter(|route| leads(&route.target)) {
                let is_ours =
                    table.tags.is_owned_by(&self.owner) && keys_of(table).is_some() && route.destination == ANYWHERE;
                if is_ours {
                    ours.push(format!("{}:{ANYWHERE}", table.id));
                } else {
                    held.get_or_insert(format!(
                        "the route to {} in route table {}, which Keelson did not make, leads to it: remove that route",
                        route.destination, table.id
                    ));
                }
            }
        }
        (ours, held)
    }

    /// Deletes what the checker let pass, routes before gateways. Returns what is left.
    pub(super) async fn remove(
        &self,
        cloud: &Cloud,
        seen: &Detail,
        allowed: &[AllowedTarget],
    ) -> Result<Detail, Failure> {
        let mut failed = None;
        let mut left = seen.clone();
        for one in allowed {
            match delete(cloud, one.id()).await {
                Err(error) if error.class() != Class::NotFound => {
                    failed.get_or_insert(Failure::from(error));
                    // What it leads to is not taken from under it.
                    if one.id().starts_with("rtb-") {
                        break;
                    }
                }
                answer => {
                    let takes_time = answer.is_ok() && (one.id().starts_with("nat-") || one.id().starts_with("vpce-"));
                    if takes_time {
                        left.found
                            .iter_mut()
                            .filter(|found| found.id == one.id())
                            .for_each(|found| found.deleting = true);
                    } else {
                        let is_it = |found: &Found| found.id == one.id();
                        left.gone.extend(left.found.iter().filter(|found| is_it(found)).map(|found| found.key.clone()));
                        left.found.retain(|found| !is_it(found));
                    }
                }
            }
        }
        failed.map_or(Ok(left), Err)
    }
}

/// The route of a table of ours, and the table.
fn keys_of(table: &RouteTable) -> Option<(Key, Key)> {
    let table_key = Key::parse(table.tags.resource()?);
    Some((route_key(table_key.name())?, table_key))
}

/// What uses an address that is not a NAT gateway of ours.
fn used_by_others(address: &Address, gateway: Option<&NatGateway>) -> Option<String> {
    address.association_id.as_ref().filter(|_| gateway.is_none()).map(|_| {
        let by = address.network_interface_id.as_deref().unwrap_or("something");
        format!("it is associated with {by}: disassociate it")
    })
}

/// Deletes one, whose id says what it is.
async fn delete(cloud: &Cloud, id: &str) -> Result<(), AwsError> {
    let aws = &cloud.aws;
    match id.split_once(['-', ':']).map(|(kind, _)| kind) {
        Some("rtb") => {
            let (table, destination) = id.split_once(':').unwrap_or((id, ANYWHERE));
            let request = aws.ec2.delete_route().route_table_id(table).destination_cidr_block(destination);
            aws.call(Service::Ec2, "DeleteRoute", table, request.send()).await.map(drop)
        }
        Some("nat") => {
            let request = aws.ec2.delete_nat_gateway().nat_gateway_id(id);
            aws.call(Service::Ec2, "DeleteNatGateway", id, request.send()).await.map(drop)
        }
        Some("eipalloc") => {
            let request = aws.ec2.release_address().allocation_id(id);
            aws.call(Service::Ec2, "ReleaseAddress", id, request.send()).await.map(drop)
        }
        Some("vpce") => {
            let request = aws.ec2.delete_vpc_endpoints().vpc_endpoint_ids(id);
            aws.call(Service::Ec2, "DeleteVpcEndpoints", id, request.send()).await.map(drop)
        }
        Some("sg") => {
            let request = aws.ec2.delete_security_group().group_id(id);
            aws.call(Service::Ec2, "DeleteSecurityGroup", id, request.send()).await.map(drop)
        }
        _ => {
            let request = aws.iam.delete_open_id_connect_provider().open_id_connect_provider_arn(id);
            aws.call(Service::Iam, "DeleteOpenIDConnectProvider", id, request.send()).await.map(drop)
        }
    }
}
