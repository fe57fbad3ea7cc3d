//! How a control plane differs from the spec, and which differences one EKS update resolves. Pure.
//!
//! Follows <https://docs.aws.amazon.com/eks/latest/APIReference/API_UpdateClusterConfig.html>: one type of change at a
//! time.

use std::collections::BTreeSet;

use super::cluster::Cluster;
use super::control_plane_config;
use super::control_plane_zones::placeable;
use crate::api::KubernetesVersion;
use crate::api::access::AuthenticationMode;
use crate::api::cluster::{AutoMode, SupportType};
use crate::api::control_plane_settings::ControlPlane;
use crate::api::network::IpFamily;
use crate::api::remote_networks::RemoteNetworks;
use crate::aws::tags::Tags;
use crate::engine::{Change, Refs};
use crate::resources::cloud::tag_changes;
use crate::resources::iam::role::{self, Purpose};

/// What to do about a value that neither EKS nor admission allows to change.
const RECREATE: &str = "delete this EksCluster with deletionPolicy: Retain, which leaves AWS as it is, and apply it \
                        again with the actual value";

/// What Keelson observes of a control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    pub(crate) version: String,
    pub(crate) role_arn: String,
    pub(crate) subnets: BTreeSet<String>,
    pub(crate) security_groups: BTreeSet<String>,
    pub(crate) public: bool,
    pub(crate) private: bool,
    pub(crate) public_cidrs: BTreeSet<String>,
    pub(crate) logging: BTreeSet<String>,
    pub(crate) support: String,
    pub(crate) deletion_protection: bool,
    pub(crate) authentication: String,
    pub(crate) kms_key: Option<String>,
    pub(crate) ip_family: String,
    pub(crate) service_cidr: Option<String>,
    pub(crate) zonal_shift: bool,
    pub(crate) tier: String,
    /// The node pools of Auto Mode, if it is on.
    pub(crate) auto_mode: Option<BTreeSet<String>>,
    pub(crate) auto_mode_role: Option<String>,
    pub(crate) control_plane: ControlPlane,
    pub(crate) remote_networks: RemoteNetworks,
    pub(crate) tags: Tags,
}

/// What EKS changes in one update, in the order in which Keelson requests it: cluster protection first, the version
/// last because the other changes may block it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    DeletionProtection,
    AuthenticationMode,
    Encryption,
    Placement,
    EndpointAccess,
    Logging,
    SupportType,
    ControlPlaneScaling,
    ZonalShift,
    AutoMode,
    EgressMode,
    Components,
    RemoteNetworks,
    Version,
}

const PARTS: [(&str, Part); 16] = [
    ("deletionProtection", Part::DeletionProtection),
    ("access.authenticationMode", Part::AuthenticationMode),
    ("secretsEncryption.kmsKeyArn", Part::Encryption),
    ("network.subnetIds", Part::Placement),
    ("network.securityGroupIds", Part::Placement),
    ("endpointAccess.public", Part::EndpointAccess),
    ("endpointAccess.private", Part::EndpointAccess),
    ("endpointAccess.publicCidrs", Part::EndpointAccess),
    ("logging", Part::Logging),
    ("supportType", Part::SupportType),
    ("controlPlaneScaling.tier", Part::ControlPlaneScaling),
    ("zonalShift", Part::ZonalShift),
    ("autoMode.enabled", Part::AutoMode),
    ("autoMode.nodePools", Part::AutoMode),
    (control_plane_config::EGRESS, Part::EgressMode),
    ("version", Part::Version),
];

impl Part {
    /// The part that a change belongs to; `None` for a tag.
    fn of(change: &Change) -> Option<Self> {
        let starts = |prefix: &&str| change.field.starts_with(*prefix);
        if control_plane_config::COMPONENTS.iter().any(starts) {
            return Some(Self::Components);
        }
        if starts(&control_plane_config::REMOTE) {
            return Some(Self::RemoteNetworks);
        }
        PARTS.iter().find(|(field, _)| *field == change.field).map(|(_, part)| *part)
    }

    /// The changes to apply in one step: tags, and the first part that changes.
    pub(crate) fn batch(changes: &[Change]) -> Vec<Change> {
        let first = changes.iter().filter_map(Self::of).min();
        let at_once = |change: &&Change| Self::of(change).is_none() || Self::of(change) == first;
        changes.iter().filter(at_once).cloned().collect()
    }

    /// The first part that changes, with its changes.
    pub(crate) fn first(changes: &[Change]) -> Option<(Self, Vec<&Change>)> {
        let part = changes.iter().filter_map(Self::of).min()?;
        Some((part, changes.iter().filter(|change| Self::of(change) == Some(part)).collect()))
    }
}

/// The authentication mode without access entries.
pub(crate) const CONFIG_MAP: &str = "CONFIG_MAP";
const BOTH: &str = "API_AND_CONFIG_MAP";

/// In EKS's notation.
pub(crate) fn mode(mode: AuthenticationMode) -> &'static str {
    match mode {
        AuthenticationMode::Api => "API",
        AuthenticationMode::ApiAndConfigMap => BOTH,
        AuthenticationMode::ConfigMap => CONFIG_MAP,
    }
}

/// In EKS's notation.
pub(crate) fn ip_family(family: IpFamily) -> &'static str {
    match family {
        IpFamily::IPv4 => "ipv4",
        IpFamily::IPv6 => "ipv6",
    }
}

/// In EKS's notation.
pub(crate) fn support(support: SupportType) -> &'static str {
    match support {
        SupportType::Standard => "STANDARD",
        SupportType::Extended => "EXTENDED",
    }
}

/// The next authentication mode towards the wanted one: EKS goes from CONFIG_MAP to API through API_AND_CONFIG_MAP.
fn next_mode<'a>(current: &str, wanted: &'a str) -> &'a str {
    if current == CONFIG_MAP && wanted != CONFIG_MAP { BOTH } else { wanted }
}

fn list(set: &BTreeSet<String>) -> String {
    set.iter().cloned().collect::<Vec<_>>().join(", ")
}

fn set(list: &[String]) -> BTreeSet<String> {
    list.iter().cloned().collect()
}

/// Collects the fields that differ.
#[derive(Default)]
struct Differences(Vec<Change>);

impl Differences {
    fn compare(&mut self, field: &str, from: impl ToString, to: impl ToString) {
        let (from, to) = (from.to_string(), to.to_string());
        if from != to {
            self.0.push(Change::in_place(field, from, to));
        }
    }

    fn forbid(&mut self, field: &str, from: &str, to: &str, advice: &str) {
        if from != to {
            self.0.push(Change::forbidden(field, from, to, advice));
        }
    }
}

impl Cluster {
    /// All fields that differ.
    pub(crate) fn differences(&self, current: &Detail, refs: &Refs) -> Vec<Change> {
        let mut all = Differences(tag_changes(&self.tags, &current.tags));
        self.compare_immutable(&mut all, current, refs);
        let spec = &self.spec;
        if let Some(wanted) = spec.deletion_protection {
            all.compare("deletionProtection", current.deletion_protection, wanted);
        }
        self.compare_authentication(&mut all, current);
        self.compare_encryption(&mut all, current);
        self.compare_placement(&mut all, current, refs);
        let access = &spec.endpoint_access;
        all.compare("endpointAccess.public", current.public, access.public);
        all.compare("endpointAccess.private", current.private, access.private);
        if access.public {
            all.compare("endpointAccess.publicCidrs", list(&current.public_cidrs), list(&set(&access.public_cidrs)));
        }
        if let Some(logging) = &spec.logging {
            all.compare("logging", list(&current.logging), list(&set(logging)));
        }
        if let Some(wanted) = spec.support_type {
            all.compare("supportType", &current.support, support(wanted));
        }
        if let Some(wanted) = &spec.control_plane_scaling {
            all.compare("controlPlaneScaling.tier", &current.tier, &wanted.tier);
        }
        if let Some(wanted) = spec.zonal_shift {
            all.compare("zonalShift", current.zonal_shift, wanted);
        }
        if let Some(wanted) = &spec.auto_mode {
            compare_auto_mode(&mut all, wanted, current);
        }
        self.compare_settings(&mut all, current);
        self.compare_version(&mut all, current);
        all.0
    }

    fn compare_settings(&self, all: &mut Differences, current: &Detail) {
        let settings = self.spec.control_plane.iter();
        let settings = settings.flat_map(|wanted| control_plane_config::differences(wanted, &current.control_plane));
        let networks = self.spec.remote_networks.iter();
        let networks =
            networks.flat_map(|wanted| control_plane_config::network_differences(wanted, &current.remote_networks));
        for (field, from, to) in settings.chain(networks) {
            // What EKS does not report is what it does by default.
            if field == control_plane_config::EGRESS && to == "AwsManaged" {
                let why =
                    "EKS never gives the routes of the control plane back to AWS: set egressMode to the actual value";
                all.forbid(&field, if from == "(none)" { "AwsManaged" } else { &from }, &to, why);
            } else {
                all.compare(&field, from, to);
            }
        }
    }

    /// What EKS never changes. Admission rejects such an edit, too; this covers clusters created or changed by others.
    fn compare_immutable(&self, all: &mut Differences, current: &Detail, refs: &Refs) {
        let family = ip_family(self.spec.kubernetes_network.ip_family);
        let why = format!("EKS cannot change the address family: {RECREATE}");
        all.forbid("kubernetesNetwork.ipFamily", &current.ip_family, family, &why);
        if let (Some(wanted), Some(current)) = (&self.spec.kubernetes_network.service_cidr, &current.service_cidr) {
            let why = format!("EKS cannot change the Service CIDR: {RECREATE}");
            all.forbid("kubernetesNetwork.serviceCidr", current, wanted, &why);
        }
        if let Some(arn) = refs.output(&role::key(Purpose::Cluster), "arn") {
            let why = format!("EKS cannot change the role of a cluster: {RECREATE}");
            all.forbid("roleArn", &current.role_arn, arn, &why);
        }
    }

    fn compare_authentication(&self, all: &mut Differences, current: &Detail) {
        let (field, wanted) = ("access.authenticationMode", mode(self.spec.access.authentication_mode));
        let is_downgrade = current.authentication == "API" || current.authentication == BOTH && wanted == CONFIG_MAP;
        if is_downgrade {
            let why = "EKS changes the mode only from ConfigMap to ApiAndConfigMap to Api: set authenticationMode to \
                       the actual value";
            all.forbid(field, &current.authentication, wanted, why);
        } else {
            all.compare(field, &current.authentication, next_mode(&current.authentication, wanted));
        }
    }

    fn compare_encryption(&self, all: &mut Differences, current: &Detail) {
        let Some(wanted) = &self.spec.secrets_encryption else { return };
        let field = "secretsEncryption.kmsKeyArn";
        match &current.kms_key {
            None => all.compare(field, "", &wanted.kms_key_arn),
            Some(key) => {
                let why = format!("EKS can add encryption of Secrets, but cannot change its key: {RECREATE}");
                all.forbid(field, key, &wanted.kms_key_arn, &why);
            }
        }
    }

    /// Compared only if all subnets are known.
    fn compare_placement(&self, all: &mut Differences, current: &Detail, refs: &Refs) {
        if let Ok(ids) = self.subnet_ids(refs) {
            let zones = self.zones_of(refs);
            let placeable = set(&placeable(ids, &zones, &current.subnets));
            all.compare("network.subnetIds", list(&current.subnets), list(&placeable));
        }
        if let Some(groups) = self.security_groups() {
            all.compare("network.securityGroupIds", list(&current.security_groups), list(&set(&groups)));
        }
    }

    /// One minor version up or down; a later version waits for the steps before it.
    ///
    /// Down only if the user asks for it. A version that was chosen from an older observation, while an update by
    /// somebody else or by a previous process ended, is lower as well and must not become a rollback.
    fn compare_version(&self, all: &mut Differences, current: &Detail) {
        let Some(wanted) = &self.version else { return };
        let (Ok(from), Ok(to)) = (current.version.parse::<KubernetesVersion>(), wanted.parse::<KubernetesVersion>())
        else {
            return;
        };
        match to.minors_ahead_of(from) {
            Some(0) => {}
            Some(..0) if !self.is_rollback(from) => {}
            Some(1 | -1) => all.compare("version", from, to),
            Some(2..) => {
                let why = "EKS upgrades one minor version at a time: the earlier versions come first";
                all.forbid("version", &current.version, wanted, why);
            }
            _ => {
                let why =
                    "EKS rolls back only one minor version, soon after an upgrade: set version to the actual value";
                all.forbid("version", &current.version, wanted, why);
            }
        }
    }

    /// Whether the spec asks for a lower version than the current one and allows a rollback.
    fn is_rollback(&self, from: KubernetesVersion) -> bool {
        let goal = self.spec.version.parse::<KubernetesVersion>();
        self.spec.upgrade.allow_rollback && goal.is_ok_and(|goal| goal < from)
    }
}

fn compare_auto_mode(all: &mut Differences, wanted: &AutoMode, current: &Detail) {
    let AutoMode { enabled, node_pools, node_role_arn } = wanted;
    if !enabled {
        all.compare("autoMode.enabled", current.auto_mode.is_some(), false);
        return;
    }
    let format_pools = |pools: &BTreeSet<String>| if pools.is_empty() { "on".to_owned() } else { list(pools) };
    let from = current.auto_mode.as_ref().map_or("off".to_owned(), format_pools);
    all.compare("autoMode.nodePools", from, format_pools(&set(node_pools)));
    if let (Some(wanted), Some(role)) = (node_role_arn, &current.auto_mode_role) {
        let why = "EKS cannot change the role of Auto Mode's nodes while it is on: set nodeRoleArn to the actual value";
        all.forbid("autoMode.nodeRoleArn", role, wanted, why);
    }
}

/// Extracts the fields that Keelson compares.
pub(crate) fn to_detail(cluster: &aws_sdk_eks::types::Cluster) -> Detail {
    let vpc = cluster.resources_vpc_config();
    let network = cluster.kubernetes_network_config();
    let on = cluster.logging().map_or(&[][..], |logging| logging.cluster_logging());
    let on = on.iter().filter(|setup| setup.enabled() == Some(true));
    let auto = cluster.compute_config().filter(|compute| compute.enabled() == Some(true));
    let access = cluster.access_config().and_then(|access| access.authentication_mode());
    let key = cluster.encryption_config().first().and_then(|config| config.provider());
    let tier = cluster.control_plane_scaling_config().and_then(|scaling| scaling.tier());
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Detail {
        version: text(cluster.version()),
        role_arn: text(cluster.role_arn()),
        subnets: vpc.map(|vpc| set(vpc.subnet_ids())).unwrap_or_default(),
        security_groups: vpc.map(|vpc| set(vpc.security_group_ids())).unwrap_or_default(),
        public: vpc.is_some_and(|vpc| vpc.endpoint_public_access()),
        private: vpc.is_some_and(|vpc| vpc.endpoint_private_access()),
        public_cidrs: vpc.map(|vpc| set(vpc.public_access_cidrs())).unwrap_or_default(),
        logging: on.flat_map(|setup| setup.types()).map(|log| log.as_str().to_owned()).collect(),
        support: text(
            cluster.upgrade_policy().and_then(|policy| policy.support_type()).map(|support| support.as_str()),
        ),
        deletion_protection: cluster.deletion_protection().unwrap_or(false),
        authentication: text(access.map(|mode| mode.as_str())),
        kms_key: key.and_then(|provider| provider.key_arn()).map(str::to_owned),
        ip_family: network.and_then(|n| n.ip_family()).map_or("ipv4", |family| family.as_str()).to_owned(),
        service_cidr: network.and_then(|n| n.service_ipv4_cidr()).map(str::to_owned),
        zonal_shift: cluster.zonal_shift_config().and_then(|shift| shift.enabled()).unwrap_or(false),
        // Clusters older than the tiers report none.
        tier: tier.map_or("standard", |tier| tier.as_str()).to_owned(),
        auto_mode: auto.map(|compute| set(compute.node_pools())),
        auto_mode_role: auto.and_then(|compute| compute.node_role_arn()).map(str::to_owned),
        control_plane: control_plane_config::observed(cluster),
        remote_networks: control_plane_config::observed_networks(cluster),
        tags: Tags::from_eks(cluster.tags()),
    }
}

#[cfg(test)]
#[path = "cluster_diff_tests.rs"]
mod tests;
