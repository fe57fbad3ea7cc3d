//! The reads, each complete over all its pages. I/O: AWS reads.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_sdk_ec2::types::{Filter, VpcAttributeName};
use aws_sdk_iam::types::EntityType;

use super::Snapshots;
use super::catalogue::{AddonOffer, ClusterVersion, Zone};
use super::identity::Role;
use super::network_attributes::{
    Address, InternetGateway, NatGateway, NetworkInterface, RouteTable, SecurityGroup, Subnet, Vpc, VpcEndpoint,
};
use super::ranges::VpcDns;
use crate::aws::call::Caller;
use crate::aws::errors::{AwsError, Class};
use crate::aws::service::Service::{self, Ec2, Eks, Iam, Ssm};
use crate::aws::tags;

/// Resource name of the shared reads in traces.
pub(crate) const OWNED_RESOURCES: &str = "all owned resources";
/// EC2's maximum number of values in a filter.
const FILTER_VALUES: usize = 200;

pub(crate) type Page<T> = Result<(Vec<T>, Option<String>), AwsError>;

/// Reads all pages. A repeated token would loop forever: that is a failure, not the end.
pub(crate) async fn pages<T, F>(
    caller: &Caller,
    service: Service,
    action: &'static str,
    mut page: impl FnMut(Option<String>) -> F,
) -> Result<Vec<T>, AwsError>
where
    F: Future<Output = Page<T>>,
{
    let mut all = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let (mut items, next) = page(token.clone()).await?;
        all.append(&mut items);
        match next.filter(|next| !next.is_empty()) {
            None => break,
            next if next == token => {
                return Err(caller
                    .describe(service, action, OWNED_RESOURCES)
                    .failed(Class::Unavailable, "AWS returned the same page token twice")
                    .into());
            }
            next => token = next,
        }
    }
    all.shrink_to_fit();
    Ok(all)
}

pub(super) fn filter<V: Into<String>>(name: impl Into<String>, values: impl IntoIterator<Item = V>) -> Vec<Filter> {
    let values = values.into_iter().map(Into::into).collect();
    vec![Filter::builder().name(name).set_values(Some(values)).build()]
}

/// All resources with an owner tag.
pub(crate) fn owned() -> Vec<Filter> {
    filter("tag-key", [tags::OWNER])
}

fn convert_all<'a, S: 'a, T: From<&'a S>>(items: &'a [S]) -> Vec<T> {
    items.iter().map(T::from).collect()
}

pub(super) async fn vpcs(reads: Snapshots) -> Result<Vec<Vpc>, AwsError> {
    let Snapshots { caller, ec2, .. } = &reads;
    pages(caller, Ec2, "DescribeVpcs", |token| async move {
        let request = ec2.describe_vpcs().set_filters(Some(owned())).set_next_token(token);
        let page = caller.call(Ec2, "DescribeVpcs", OWNED_RESOURCES, request.send()).await?;
        Ok((convert_all(page.vpcs()), page.next_token))
    })
    .await
}

pub(super) async fn vpc_dns(reads: Snapshots, vpc_id: String) -> Result<VpcDns, AwsError> {
    let Snapshots { caller, ec2, .. } = &reads;
    let attribute = |name: VpcAttributeName| {
        let request = ec2.describe_vpc_attribute().vpc_id(&vpc_id).attribute(name);
        caller.call(Ec2, "DescribeVpcAttribute", &vpc_id, request.send())
    };
    let (support, hostnames) = futures::try_join!(
        attribute(VpcAttributeName::EnableDnsSupport),
        attribute(VpcAttributeName::EnableDnsHostnames)
    )?;
    Ok(VpcDns {
        support: support.enable_dns_support().and_then(|value| value.value()).unwrap_or_default(),
        hostnames: hostnames.enable_dns_hostnames().and_then(|value| value.value()).unwrap_or_default(),
    })
}

pub(super) async fn subnets(reads: Snapshots, filters: Vec<Filter>) -> Result<Vec<Subnet>, AwsError> {
    let (Snapshots { caller, ec2, .. }, filters) = (&reads, &filters);
    pages(caller, Ec2, "DescribeSubnets", |token| async move {
        let request = ec2.describe_subnets().set_filters(Some(filters.clone())).set_next_token(token);
        let page = caller.call(Ec2, "DescribeSubnets", OWNED_RESOURCES, request.send()).await?;
        Ok((convert_all(page.subnets()), page.next_token))
    })
    .await
}

/// By filter rather than by id: one unknown id would fail the read for all clusters.
pub(super) async fn subnets_by_id(reads: Snapshots, ids: Arc<BTreeSet<String>>) -> Result<Vec<Subnet>, AwsError> {
    let ids: Vec<&String> = ids.iter().collect();
    let chunks =
        ids.chunks(FILTER_VALUES).map(|chunk| subnets(reads.clone(), filter("subnet-id", chunk.iter().copied())));
    Ok(futures::future::try_join_all(chunks).await?.into_iter().flatten().collect())
}

pub(super) async fn internet_gateways(reads: Snapshots) -> Result<Vec<InternetGateway>, AwsError> {
    let Snapshots { caller, ec2, .. } = &reads;
    pages(caller, Ec2, "DescribeInternetGateways", |token| async move {
        let request = ec2.describe_internet_gateways().set_filters(Some(owned())).set_next_token(token);
        let page = caller.call(Ec2, "DescribeInternetGateways", OWNED_RESOURCES, request.send()).await?;
        Ok((convert_all(page.internet_gateways()), page.next_token))
    })
    .await
}

/// DescribeAddresses is not paginated.
pub(super) async fn addresses(reads: Snapshots) -> Result<Vec<Address>, AwsError> {
    let Snapshots { caller, ec2, .. } = &reads;
    let request = ec2.describe_addresses().set_filters(Some(owned()));
    let response = caller.call(Ec2, "DescribeAddresses", OWNED_RESOURCES, request.send()).await?;
    Ok(convert_all(response.addresses()))
}

pub(super) async fn nat_gateways(reads: Snapshots) -> Result<Vec<NatGateway>, AwsError> {
    let Snapshots { caller, ec2, .. } = &reads;
    pages(caller, Ec2, "DescribeNatGateways", |token| async move {
        let mut filters = owned();
        filters.extend(filter("state", ["pending", "available", "failed", "deleting"]));
        let request = ec2.describe_nat_gateways().set_filter(Some(filters)).set_next_token(token);
        let page = caller.call(Ec2, "DescribeNatGateways", OWNED_RESOURCES, request.send()).await?;
        Ok((convert_all(page.nat_gateways()), page.next_token))
    })
    .await
}

pub(super) async fn route_tables(reads: Snapshots, filters: Vec<Filter>) -> Result<Vec<RouteTable>, AwsError> {
    let (Snapshots { caller, ec2, .. }, filters) = (&reads, &filters);
    pages(caller, Ec2, "DescribeRouteTables", |token| async move {
        let request = ec2.describe_route_tables().set_filters(Some(filters.clone())).set_next_token(token);
        let page = caller.call(Ec2, "DescribeRouteTables", OWNED_RESOURCES, request.send()).await?;
        Ok((convert_all(page.route_tables()), page.next_token))
    })
    .await
}

pub(super) async fn vpc_endpoints(reads: Snapshots, filters: Vec<Filter>) -> Result<Vec<VpcEndpoint>, AwsError> {
    let (Snapshots { caller, ec2, .. }, filters) = (&reads, &filters);
    pages(caller, Ec2, "DescribeVpcEndpoints", |token| async move {
        let request = ec2.describe_vpc_endpoints().set_filters(Some(filters.clone())).set_next_token(token);
        let page = caller.call(Ec2, "DescribeVpcEndpoints", OWNED_RESOURCES, request.send()).await?;
        Ok((convert_all(page.vpc_endpoints()), page.next_token))
    })
    .await
}

pub(super) async fn security_groups(reads: Snapshots, filters: Vec<Filter>) -> Result<Vec<SecurityGroup>, AwsError> {
    let (Snapshots { caller, ec2, .. }, filters) = (&reads, &filters);
    pages(caller, Ec2, "DescribeSecurityGroups", |token| async move {
        let request = ec2.describe_security_groups().set_filters(Some(filters.clone())).set_next_token(token);
        let page = caller.call(Ec2, "DescribeSecurityGroups", OWNED_RESOURCES, request.send()).await?;
        Ok((convert_all(page.security_groups()), page.next_token))
    })
    .await
}

pub(super) async fn network_interfaces(
    reads: Snapshots,
    filters: Vec<Filter>,
) -> Result<Vec<NetworkInterface>, AwsError> {
    let (Snapshots { caller, ec2, .. }, filters) = (&reads, &filters);
    pages(caller, Ec2, "DescribeNetworkInterfaces", |token| async move {
        let request = ec2.describe_network_interfaces().set_filters(Some(filters.clone())).set_next_token(token);
        let page = caller.call(Ec2, "DescribeNetworkInterfaces", OWNED_RESOURCES, request.send()).await?;
        Ok((convert_all(page.network_interfaces()), page.next_token))
    })
    .await
}

pub(super) async fn zones(reads: Snapshots) -> Result<Vec<Zone>, AwsError> {
    let Snapshots { caller, ec2, .. } = &reads;
    let request = ec2.describe_availability_zones();
    let response = caller.call(Ec2, "DescribeAvailabilityZones", "the region", request.send()).await?;
    let mut zones: Vec<Zone> = convert_all(response.availability_zones());
    // The choice of zones must not depend on the order of AWS's response.
    zones.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(zones)
}

/// The Kubernetes versions available for new clusters, in EKS's order.
pub(super) async fn cluster_versions(reads: Snapshots) -> Result<Vec<ClusterVersion>, AwsError> {
    let Snapshots { caller, eks, .. } = &reads;
    pages(caller, Eks, "DescribeClusterVersions", |token| async move {
        let request = eks.describe_cluster_versions().set_next_token(token);
        let page = caller.call(Eks, "DescribeClusterVersions", "the region", request.send()).await?;
        let versions = page.cluster_versions().iter().filter_map(ClusterVersion::of);
        Ok((versions.collect(), page.next_token))
    })
    .await
}

/// All versions of an add-on, for all Kubernetes versions: one read serves every step of an upgrade.
pub(super) async fn addon_offers(reads: Snapshots, addon: String) -> Result<Vec<AddonOffer>, AwsError> {
    let (Snapshots { caller, eks, .. }, addon) = (&reads, &addon);
    let versions = pages(caller, Eks, "DescribeAddonVersions", |token| async move {
        let request = eks.describe_addon_versions().addon_name(addon).set_next_token(token);
        let page = caller.call(Eks, "DescribeAddonVersions", addon, request.send()).await?;
        let infos =
            page.addons().iter().filter(|info| info.addon_name() == Some(addon)).flat_map(|info| info.addon_versions());
        Ok((infos.filter_map(AddonOffer::of).collect(), page.next_token))
    })
    .await;
    match versions {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        other => other,
    }
}

/// The value of a public parameter; `None` for an unknown name.
pub(super) async fn parameter(reads: Snapshots, name: String) -> Result<Option<String>, AwsError> {
    let Snapshots { caller, ssm, .. } = &reads;
    match caller.call(Ssm, "GetParameter", &name, ssm.get_parameter().name(&name).send()).await {
        Err(error) if error.is_not_found() => Ok(None),
        other => Ok(other?.parameter.and_then(|parameter| parameter.value)),
    }
}

/// Reads all roles of the account and filters for owned ones: IAM has no filter by tag, and reading each role would
/// cost three calls.
pub(super) async fn roles(reads: Snapshots) -> Result<Vec<Role>, AwsError> {
    const PAGE: i32 = 200;
    let Snapshots { caller, iam, .. } = &reads;
    pages(caller, Iam, "GetAccountAuthorizationDetails", |token| async move {
        let request =
            iam.get_account_authorization_details().filter(EntityType::Role).max_items(PAGE).set_marker(token);
        let page = caller.call(Iam, "GetAccountAuthorizationDetails", OWNED_RESOURCES, request.send()).await?;
        let ours = page.role_detail_list().iter().filter(|role| role.tags().iter().any(|tag| tag.key() == tags::OWNER));
        Ok((ours.map(Role::from).collect(), page.marker.filter(|_| page.is_truncated)))
    })
    .await
}

pub(super) async fn oidc_providers(reads: Snapshots) -> Result<Vec<String>, AwsError> {
    let Snapshots { caller, iam, .. } = &reads;
    let response = caller
        .call(Iam, "ListOpenIDConnectProviders", OWNED_RESOURCES, iam.list_open_id_connect_providers().send())
        .await?;
    Ok(response
        .open_id_connect_provider_list()
        .iter()
        .filter_map(|provider| provider.arn().map(str::to_owned))
        .collect())
}
