//! Reads shared by all clusters of an account and region: one describe call by tag filter serves all. I/O: AWS reads.
//!
//! Each caller sets the maximum age of a read ([`MaxStaleness`]), so writers need no invalidation. Caches contain the
//! small structs of [`network_attributes`] and [`identity`] instead of the SDK's, which are ten times larger.

pub mod catalogue;
pub mod identity;
pub mod images;
pub mod named;
pub mod network_attributes;
pub mod ranges;
mod reads;
pub mod refusals;

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use catalogue::{AddonOffer, AddonVersion, ClusterVersion, Zone};
pub use identity::Role;
pub use network_attributes::{
    Address, InternetGateway, NatGateway, NetworkInterface, RouteTable, RouteTarget, SecurityGroup, Subnet, Vpc,
    VpcEndpoint,
};
pub use ranges::{VpcCidr, VpcCidrState, VpcDns};

pub(crate) use self::reads::{OWNED_RESOURCES, owned, pages};
use self::refusals::Refusals;
use super::call::Caller;
use super::errors::AwsError;
use super::shared::{MaxStaleness, SharedRead};

/// A shared list.
pub type List<T> = Result<Arc<Vec<T>>, AwsError>;

/// How long a read by id waits for other callers to join.
const GATHER_DELAY: Duration = Duration::from_millis(25);
/// Parts that are not requested for this long are not read any more.
const UNUSED_EXPIRY: Duration = Duration::from_secs(3600);

/// The shared reads of one identity in one region. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshots {
    pub(crate) caller: Caller,
    pub(crate) ec2: aws_sdk_ec2::Client,
    eks: aws_sdk_eks::Client,
    iam: aws_sdk_iam::Client,
    ssm: aws_sdk_ssm::Client,
    regional: Arc<RegionalReads>,
    global: GlobalReads,
}

#[derive(Debug, Default)]
struct RegionalReads {
    vpcs: SharedRead<Vec<Vpc>>,
    subnets: SharedRead<Vec<Subnet>>,
    internet_gateways: SharedRead<Vec<InternetGateway>>,
    addresses: SharedRead<Vec<Address>>,
    nat_gateways: SharedRead<Vec<NatGateway>>,
    route_tables: SharedRead<Vec<RouteTable>>,
    vpc_endpoints: SharedRead<Vec<VpcEndpoint>>,
    security_groups: SharedRead<Vec<SecurityGroup>>,
    of_one_kind: ByType,
    zones: SharedRead<Vec<Zone>>,
    subnets_by_id: ById,
    subnets_by_tags: Keyed<(String, BTreeMap<String, String>), Vec<Subnet>>,
    vpc_dns: Keyed<String, VpcDns>,
    network_interfaces: Keyed<String, Vec<NetworkInterface>>,
    groups_of_vpc: Keyed<String, Vec<SecurityGroup>>,
    tables_of_vpc: Keyed<String, Vec<RouteTable>>,
    endpoints_of_vpc: Keyed<String, Vec<VpcEndpoint>>,
    addon_offers: Keyed<String, Vec<AddonOffer>>,
    cluster_versions: SharedRead<Vec<ClusterVersion>>,
    ami_releases: Keyed<String, Option<String>>,
    refused_releases: Refusals,
    named: named::RegionalNamed,
}

/// Reads of IAM, equal in all regions.
#[derive(Debug, Clone, Default)]
pub(super) struct GlobalReads(Arc<Global>);

#[derive(Debug, Default)]
struct Global {
    roles: SharedRead<Vec<Role>>,
    oidc_providers: SharedRead<Vec<String>>,
    named: named::GlobalNamed,
}

/// One read per key, dropped when it is no longer requested.
#[derive(Debug)]
struct Keyed<K, T>(Mutex<HashMap<K, (Instant, SharedRead<T>)>>);

impl<K, T> Default for Keyed<K, T> {
    fn default() -> Self {
        Keyed(Mutex::default())
    }
}

impl<K: std::hash::Hash + Eq, T> Keyed<K, T> {
    fn of(&self, key: K) -> SharedRead<T> {
        let now = Instant::now();
        let mut reads = self.0.lock();
        reads.retain(|_, (used, _)| now.saturating_duration_since(*used) < UNUSED_EXPIRY);
        let (used, read) = reads.entry(key).or_insert_with(|| (now, SharedRead::default()));
        *used = now;
        read.clone()
    }
}

/// Lists whose reads are in the file of the one kind that needs them, by the type of their items.
#[derive(Debug, Default)]
struct ByType(Mutex<HashMap<TypeId, Box<dyn Any + Send + Sync>>>);

impl ByType {
    fn of<T: Send + Sync + 'static>(&self) -> SharedRead<Vec<T>> {
        let mut reads = self.0.lock();
        let read = reads.entry(TypeId::of::<T>()).or_insert_with(|| Box::new(SharedRead::<Vec<T>>::default()));
        read.downcast_ref::<SharedRead<Vec<T>>>().cloned().unwrap_or_default()
    }
}

/// Subnets of others, by id: one read covers the ids that all clusters requested recently.
#[derive(Debug, Default)]
struct ById {
    requested: Mutex<HashMap<String, Instant>>,
    read: SharedRead<Vec<Subnet>, BTreeSet<String>>,
}

impl ById {
    fn register(&self, ids: &[String]) {
        let now = Instant::now();
        let mut requested = self.requested.lock();
        requested.extend(ids.iter().map(|id| (id.clone(), now)));
        requested.retain(|_, time| now.saturating_duration_since(*time) < UNUSED_EXPIRY);
    }

    fn union(&self) -> BTreeSet<String> {
        self.requested.lock().keys().cloned().collect()
    }
}

impl Snapshots {
    pub(super) fn new(
        caller: Caller,
        ec2: aws_sdk_ec2::Client,
        eks: aws_sdk_eks::Client,
        iam: aws_sdk_iam::Client,
        ssm: aws_sdk_ssm::Client,
        global: GlobalReads,
    ) -> Self {
        Snapshots { caller, ec2, eks, iam, ssm, regional: Arc::default(), global }
    }

    pub(super) fn with_caller(&self, caller: Caller) -> Self {
        Snapshots { caller, ..self.clone() }
    }

    async fn shared<T, F>(
        &self,
        read: &SharedRead<T>,
        max_staleness: MaxStaleness,
        fetch: impl FnOnce(Self) -> F,
    ) -> Result<Arc<T>, AwsError>
    where
        T: Send + Sync + 'static,
        F: Future<Output = Result<T, AwsError>> + Send + 'static,
    {
        let this = self.clone();
        read.get(max_staleness, self.caller.priority(), |()| true, || (), |_| fetch(this)).await
    }

    /// VPCs with an owner tag. The same holds for all lists below with only `max_staleness` as argument, unless stated
    /// otherwise.
    pub async fn vpcs(&self, max_staleness: MaxStaleness) -> List<Vpc> {
        self.shared(&self.regional.vpcs, max_staleness, reads::vpcs).await
    }

    /// The DNS attributes of a VPC of any owner. AWS returns them for one VPC at a time, in two calls.
    pub async fn vpc_dns(&self, vpc_id: &str, max_staleness: MaxStaleness) -> Result<Arc<VpcDns>, AwsError> {
        let read = self.regional.vpc_dns.of(vpc_id.to_owned());
        self.shared(&read, max_staleness, |this| reads::vpc_dns(this, vpc_id.to_owned())).await
    }

    pub async fn subnets(&self, max_staleness: MaxStaleness) -> List<Subnet> {
        self.shared(&self.regional.subnets, max_staleness, |this| reads::subnets(this, reads::owned())).await
    }

    pub async fn internet_gateways(&self, max_staleness: MaxStaleness) -> List<InternetGateway> {
        self.shared(&self.regional.internet_gateways, max_staleness, reads::internet_gateways).await
    }

    pub async fn addresses(&self, max_staleness: MaxStaleness) -> List<Address> {
        self.shared(&self.regional.addresses, max_staleness, reads::addresses).await
    }

    /// Without deleted ones: AWS lists them for about an hour.
    pub async fn nat_gateways(&self, max_staleness: MaxStaleness) -> List<NatGateway> {
        self.shared(&self.regional.nat_gateways, max_staleness, reads::nat_gateways).await
    }

    pub async fn route_tables(&self, max_staleness: MaxStaleness) -> List<RouteTable> {
        self.shared(&self.regional.route_tables, max_staleness, |this| reads::route_tables(this, reads::owned())).await
    }

    /// All route tables of a VPC, of any owner.
    pub async fn route_tables_of_vpc(&self, vpc_id: &str, max_staleness: MaxStaleness) -> List<RouteTable> {
        let filter = reads::filter("vpc-id", [vpc_id]);
        let read = self.regional.tables_of_vpc.of(vpc_id.to_owned());
        self.shared(&read, max_staleness, |this| reads::route_tables(this, filter)).await
    }

    pub async fn vpc_endpoints(&self, max_staleness: MaxStaleness) -> List<VpcEndpoint> {
        self.shared(&self.regional.vpc_endpoints, max_staleness, |this| reads::vpc_endpoints(this, reads::owned()))
            .await
    }

    /// All endpoints of a VPC, of any owner.
    pub async fn endpoints_of_vpc(&self, vpc_id: &str, max_staleness: MaxStaleness) -> List<VpcEndpoint> {
        let filter = reads::filter("vpc-id", [vpc_id]);
        let read = self.regional.endpoints_of_vpc.of(vpc_id.to_owned());
        self.shared(&read, max_staleness, |this| reads::vpc_endpoints(this, filter)).await
    }

    pub async fn security_groups(&self, max_staleness: MaxStaleness) -> List<SecurityGroup> {
        self.shared(&self.regional.security_groups, max_staleness, |this| reads::security_groups(this, reads::owned()))
            .await
    }

    /// A list that only one kind of resource needs: `read` is in that kind's file, and is the only one for `T`.
    pub async fn list<T, F>(&self, max_staleness: MaxStaleness, read: fn(Self) -> F) -> List<T>
    where
        T: Send + Sync + 'static,
        F: Future<Output = Result<Vec<T>, AwsError>> + Send + 'static,
    {
        self.shared(&self.regional.of_one_kind.of(), max_staleness, read).await
    }

    /// All security groups of a VPC, of any owner: for leftovers of a deletion.
    pub async fn security_groups_of_vpc(&self, vpc_id: &str, max_staleness: MaxStaleness) -> List<SecurityGroup> {
        let filter = reads::filter("vpc-id", [vpc_id]);
        let read = self.regional.groups_of_vpc.of(vpc_id.to_owned());
        self.shared(&read, max_staleness, |this| reads::security_groups(this, filter)).await
    }

    /// All network interfaces of a VPC, of any owner.
    pub async fn network_interfaces_of_vpc(&self, vpc_id: &str, max_staleness: MaxStaleness) -> List<NetworkInterface> {
        let filter = reads::filter("vpc-id", [vpc_id]);
        let read = self.regional.network_interfaces.of(vpc_id.to_owned());
        self.shared(&read, max_staleness, |this| reads::network_interfaces(this, filter)).await
    }

    /// Subnets by id, of any owner, together with those that other clusters requested; unknown ids are missing from the
    /// list.
    pub async fn subnets_by_id(&self, ids: &[String], max_staleness: MaxStaleness) -> List<Subnet> {
        let by_id = &self.regional.subnets_by_id;
        by_id.register(ids);
        let this = self.clone();
        let covers = |covered: &BTreeSet<String>| ids.iter().all(|id| covered.contains(id));
        if let Some(cached) = by_id.read.cached(max_staleness, covers) {
            return Ok(cached);
        }
        // Clusters that start together each know only their own ids: one read for all requires that all have
        // registered.
        tokio::time::sleep(GATHER_DELAY).await;
        by_id
            .read
            .get(
                max_staleness,
                self.caller.priority(),
                covers,
                || by_id.union(),
                |scope| reads::subnets_by_id(this, scope),
            )
            .await
    }

    /// Subnets of a VPC that carry all these tags.
    pub async fn subnets_by_tags(
        &self,
        vpc_id: &str,
        tags: &BTreeMap<String, String>,
        max_staleness: MaxStaleness,
    ) -> List<Subnet> {
        let mut filters = reads::filter("vpc-id", [vpc_id]);
        for (key, value) in tags {
            filters.extend(reads::filter(format!("tag:{key}"), [value]));
        }
        let read = self.regional.subnets_by_tags.of((vpc_id.to_owned(), tags.clone()));
        self.shared(&read, max_staleness, |this| reads::subnets(this, filters)).await
    }

    /// The Kubernetes versions that EKS supports in the region.
    pub async fn cluster_versions(&self, max_staleness: MaxStaleness) -> List<ClusterVersion> {
        self.shared(&self.regional.cluster_versions, max_staleness, reads::cluster_versions).await
    }

    /// The region's zones that the account may use, with the Local and Wavelength Zones that it opted in to.
    pub async fn zones(&self, max_staleness: MaxStaleness) -> List<Zone> {
        self.shared(&self.regional.zones, max_staleness, reads::zones).await
    }

    /// All versions of an add-on, newest first as AWS lists them; empty for an unknown add-on.
    pub async fn addon_offers(&self, addon: &str, max_staleness: MaxStaleness) -> List<AddonOffer> {
        let read = self.regional.addon_offers.of(addon.to_owned());
        self.shared(&read, max_staleness, |this| reads::addon_offers(this, addon.to_owned())).await
    }

    /// The versions of an add-on for a Kubernetes version.
    ///
    /// # Errors
    /// As [`Snapshots::addon_offers`].
    pub async fn addon_versions(
        &self,
        addon: &str,
        kubernetes_version: &str,
        max_staleness: MaxStaleness,
    ) -> Result<Vec<AddonVersion>, AwsError> {
        let offers = self.addon_offers(addon, max_staleness).await?;
        Ok(offers.iter().filter_map(|offer| offer.for_kubernetes(kubernetes_version)).collect())
    }

    /// The newest AMI release of a Kubernetes version; `None` where AWS does not publish it.
    pub async fn newest_release(
        &self,
        kubernetes_version: &str,
        ami_type: &str,
        max_staleness: MaxStaleness,
    ) -> Result<Option<String>, AwsError> {
        let Some(parameter) = images::release_parameter(kubernetes_version, ami_type) else { return Ok(None) };
        let read = self.regional.ami_releases.of(parameter.clone());
        Ok((*self.shared(&read, max_staleness, |this| reads::parameter(this, parameter)).await?).clone())
    }

    /// AMI releases that EKS rejected in the region.
    pub fn refused_releases(&self) -> &Refusals {
        &self.regional.refused_releases
    }

    /// Roles with an owner tag, with trust policies, policies and tags: one read of the account for all.
    pub async fn roles(&self, max_staleness: MaxStaleness) -> List<Role> {
        self.shared(&self.global.0.roles, max_staleness, reads::roles).await
    }

    /// ARNs of the account's OIDC providers: `arn:...:oidc-provider/ISSUER`.
    pub async fn oidc_providers(&self, max_staleness: MaxStaleness) -> List<String> {
        self.shared(&self.global.0.oidc_providers, max_staleness, reads::oidc_providers).await
    }
}
