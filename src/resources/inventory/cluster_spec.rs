//! Converts an existing cluster to an EksCluster spec that changes nothing of it. Pure.

use std::collections::BTreeSet;

use aws_sdk_eks::types::{
    AccessScopeType, AuthenticationMode as Mode, IpFamily as Family, PodIdentityAssociation, SupportType as Support,
};

use super::{FoundAddon, FoundEntry, Inventory, Note};
use crate::api::EksClusterSpec;
use crate::api::access::{
    Access, AccessEntry, AccessPolicy, AccessScope, AuthenticationMode, EntryType, PodIdentity, ScopeType,
};
use crate::api::addons::{Addon, FargateProfile, FargateSelector, PruneCoreAddons};
use crate::api::capability::Capability;
use crate::api::cluster::{
    AutoMode, ControlPlaneScaling, EndpointAccess, PersistentVolumes, SecretsEncryption, SupportType,
};
use crate::api::listing::first_few;
use crate::api::log_group::LogGroup;
use crate::api::network::{ExistingNetwork, IpFamily, KubernetesNetwork, Network};
use crate::api::policy::{AdoptionPolicy, ChangePolicy, DeletionPolicy, DriftPolicy};
use crate::api::remote_networks::RemoteNetworks;
use crate::api::upgrade::Upgrade;
use crate::resources::deletion::prune_calls::is_service_role;
use crate::resources::eks::addon_diff::configuration;
use crate::resources::eks::capability_settings;
use crate::resources::eks::control_plane_config;
use crate::resources::eks::identity_provider_settings;

/// EKS's default, which it does not report for older clusters.
const STANDARD_TIER: &str = "standard";

/// The type of the access entries of capabilities.
const OF_CAPABILITY: &str = "CAPABILITY";

/// The spec, and notes on what it does not cover.
pub fn spec(inventory: &Inventory, region: &str) -> (EksClusterSpec, Vec<Note>) {
    let cluster = &inventory.cluster;
    let mut notes = notes(inventory);
    let vpc = cluster.resources_vpc_config();
    let network = cluster.kubernetes_network_config();
    let ids = |ids: &[String]| Some(ids.to_vec()).filter(|ids| !ids.is_empty());
    let existing = ExistingNetwork {
        vpc_id: None,
        subnet_ids: vpc.map(|vpc| vpc.subnet_ids().to_vec()),
        subnet_selector: None,
        subnets: None,
        security_group_ids: vpc.and_then(|vpc| ids(vpc.security_group_ids())),
    };
    let tier = cluster.control_plane_scaling_config().and_then(|scaling| scaling.tier()).map(|tier| tier.as_str());
    let support = cluster.upgrade_policy().and_then(|policy| policy.support_type());
    let shifts = cluster.zonal_shift_config().and_then(|shift| shift.enabled()).unwrap_or(false);
    let spec = EksClusterSpec {
        account_ref: None,
        region: region.to_owned(),
        cluster_name: None,
        version: cluster.version().unwrap_or_default().to_owned(),
        tags: Default::default(),
        change_policy: ChangePolicy::default(),
        drift_policy: DriftPolicy::default(),
        // A cluster that others created outlives the object, unless the user decides otherwise.
        deletion_policy: DeletionPolicy::Retain,
        adoption_policy: AdoptionPolicy::Adopt,
        suspend: false,
        network: Network { vpc: None, existing: Some(existing) },
        kubernetes_network: KubernetesNetwork {
            ip_family: match network.and_then(|network| network.ip_family()) {
                Some(Family::Ipv6) => IpFamily::IPv6,
                _ => IpFamily::IPv4,
            },
            service_cidr: network.and_then(|network| network.service_ipv4_cidr()).map(str::to_owned),
        },
        endpoint_access: endpoint_access(inventory, &mut notes),
        logging: logging(inventory),
        log_group: log_group(inventory),
        secrets_encryption: encryption(inventory, &mut notes),
        role_arn: cluster.role_arn().map(str::to_owned),
        support_type: match support {
            Some(Support::Standard) => Some(SupportType::Standard),
            Some(Support::Extended) => Some(SupportType::Extended),
            _ => None,
        },
        control_plane_scaling: tier
            .filter(|tier| *tier != STANDARD_TIER)
            .map(|tier| ControlPlaneScaling { tier: tier.to_owned() }),
        control_plane: control_plane_config::imported(cluster),
        remote_networks: Some(control_plane_config::observed_networks(cluster))
            .filter(|found| *found != RemoteNetworks::default()),
        zonal_shift: shifts.then_some(true),
        persistent_volumes: PersistentVolumes::default(),
        deletion_protection: cluster.deletion_protection().filter(|on| *on),
        auto_mode: cluster.compute_config().filter(|compute| compute.enabled() == Some(true)).map(auto_mode),
        access: access(inventory, &mut notes),
        oidc_provider: inventory.oidc_provider,
        pod_identities: inventory.pod_identities.iter().filter_map(|one| pod_identity(one, &mut notes)).collect(),
        addons: inventory.addons.iter().map(|found| addon(found, &mut notes)).collect(),
        prune_addons: false,
        prune_core_addons: PruneCoreAddons::default(),
        fargate_profiles: inventory.fargate_profiles.iter().map(fargate_profile).collect(),
        // Roles and a queue that others created for Karpenter stay theirs.
        karpenter: None,
        capabilities: inventory.capabilities.iter().filter_map(|one| capability(one, &mut notes)).collect(),
        upgrade: Upgrade::default(),
        hooks: Vec::new(),
        gitops: None,
        write_kubeconfig_to_secret_ref: None,
        register_with: None,
        registration: None,
    };
    (spec, notes)
}

/// What the API has no field for, or only a field that would change the cluster.
fn notes(inventory: &Inventory) -> Vec<Note> {
    let cluster = &inventory.cluster;
    let mut notes = Vec::new();
    let mut note = |what: String, why: &str| notes.push(Note::new(what, why));
    if let Some(tags) = super::node_group_spec::describe_tags(cluster.tags()) {
        note(
            format!("tags of the cluster ({tags})"),
            "spec.tags apply to all resources of a cluster: list the tags there if you want that",
        );
    }
    let unknown = [("its Outpost", cluster.outpost_config().is_some())];
    for (what, _) in unknown.into_iter().filter(|(_, is_set)| *is_set) {
        note(what.to_owned(), "Keelson has no field for it");
    }
    if !inventory.subnets_gone.is_empty() {
        note(
            format!("subnets {}", inventory.subnets_gone.join(", ")),
            "they no longer exist in EC2: remove them from network.existing.subnetIds, which then updates EKS",
        );
    }
    if !inventory.other_instances.is_empty() {
        note(
            format!("instances {}", first_few(&inventory.other_instances, 5)),
            "they are in no managed node group: whatever created them (a self-managed group, Karpenter) keeps \
             managing them",
        );
    }
    notes
}

fn auto_mode(compute: &aws_sdk_eks::types::ComputeConfigResponse) -> AutoMode {
    let role = compute.node_role_arn().filter(|_| !compute.node_pools().is_empty());
    AutoMode { enabled: true, node_pools: compute.node_pools().to_vec(), node_role_arn: role.map(str::to_owned) }
}

fn endpoint_access(inventory: &Inventory, notes: &mut Vec<Note>) -> EndpointAccess {
    let Some(vpc) = inventory.cluster.resources_vpc_config() else { return EndpointAccess::default() };
    let public = vpc.endpoint_public_access();
    let cidrs = vpc.public_access_cidrs();
    if public && cidrs.iter().any(|cidr| cidr.parse::<ipnet::IpNet>().is_ok_and(|net| net != net.trunc())) {
        let what = format!("endpointAccess.publicCidrs ({})", cidrs.join(", "));
        notes.push(Note::new(what, "one has host bits set, which Keelson rejects: write it without them"));
    }
    let public_cidrs =
        if public && !cidrs.is_empty() { cidrs.to_vec() } else { EndpointAccess::default().public_cidrs };
    EndpointAccess { public, public_cidrs, private: vpc.endpoint_private_access() }
}

/// The enabled log types; `None` if there are none.
fn logging(inventory: &Inventory) -> Option<Vec<String>> {
    let setups = inventory.cluster.logging().map_or(&[][..], |logging| logging.cluster_logging());
    let on = setups.iter().filter(|setup| setup.enabled() == Some(true)).flat_map(|setup| setup.types());
    let on: BTreeSet<_> = on.map(|log| log.as_str().to_owned()).collect();
    (!on.is_empty()).then(|| on.into_iter().collect())
}

/// The log group, if its logs have an end of retention; then it stays when the cluster is deleted, as before.
fn log_group(inventory: &Inventory) -> Option<LogGroup> {
    let found = inventory.log_group.as_ref()?;
    Some(LogGroup {
        retention_days: found.retention_days?.try_into().ok()?,
        kms_key_arn: found.kms_key_arn.clone(),
        deletion_policy: DeletionPolicy::Retain,
    })
}

fn encryption(inventory: &Inventory, notes: &mut Vec<Note>) -> Option<SecretsEncryption> {
    let key = inventory.cluster.encryption_config().first()?.provider()?.key_arn()?;
    if key.contains(":key/") {
        return Some(SecretsEncryption { kms_key_arn: key.to_owned() });
    }
    notes.push(Note::new(format!("secretsEncryption ({key})"), "it is not the ARN of a key"));
    None
}

fn access(inventory: &Inventory, notes: &mut Vec<Note>) -> Access {
    let mode = inventory.cluster.access_config().and_then(|access| access.authentication_mode());
    let authentication_mode = match mode {
        Some(Mode::ConfigMap) => AuthenticationMode::ConfigMap,
        Some(Mode::ApiAndConfigMap) => AuthenticationMode::ApiAndConfigMap,
        _ => AuthenticationMode::Api,
    };
    let entries = inventory.access_entries.iter().filter_map(|found| entry(found, inventory, notes)).collect();
    let oidc_identity_provider = inventory.identity_provider.as_ref().map(identity_provider_settings::imported);
    Access { authentication_mode, prune: false, entries, oidc_identity_provider }
}

/// The username that EKS gives the principal in Kubernetes by default.
fn default_username(principal: &str) -> String {
    let mut parts = principal.split(':');
    let (partition, account) = (parts.nth(1).unwrap_or("aws"), parts.nth(2).unwrap_or_default());
    match principal.split_once(":role/") {
        Some((_, role)) => {
            let name = role.rsplit('/').next().unwrap_or(role);
            format!("arn:{partition}:sts::{account}:assumed-role/{name}/{{{{SessionName}}}}")
        }
        None => principal.to_owned(),
    }
}

/// Whether EKS created the entry of the principal, for the nodes of a node group or of Auto Mode.
fn is_of_eks(inventory: &Inventory, principal: &str) -> bool {
    let auto = inventory.cluster.compute_config().and_then(|compute| compute.node_role_arn());
    auto == Some(principal) || inventory.node_groups.iter().any(|group| group.node_role() == Some(principal))
}

fn entry(found: &FoundEntry, inventory: &Inventory, notes: &mut Vec<Note>) -> Option<AccessEntry> {
    let FoundEntry { entry, policies } = found;
    let principal = entry.principal_arn()?;
    let what = format!("access entry {principal}");
    let kind = entry.r#type().unwrap_or("STANDARD");
    if kind == OF_CAPABILITY {
        // EKS created it with the capability.
        return None;
    }
    let Some(type_) = EntryType::ALL.into_iter().find(|one| one.in_eks() == kind && !is_of_eks(inventory, principal))
    else {
        notes.push(Note::new(what, format!("its type is {kind}: EKS creates entries for nodes itself")));
        return None;
    };
    if is_service_role(principal) {
        notes.push(Note::new(what, "EKS created it for its own use"));
        return None;
    }
    let is_standard = type_ == EntryType::Standard;
    let username =
        entry.username().filter(|name| is_standard && !name.is_empty() && *name != default_username(principal));
    let policy = |one: &aws_sdk_eks::types::AssociatedAccessPolicy| {
        let scope = one.access_scope();
        let of_namespaces = scope.and_then(|scope| scope.r#type()) == Some(&AccessScopeType::Namespace);
        let namespaces = scope.map(|scope| scope.namespaces().to_vec()).unwrap_or_default();
        let scope = if of_namespaces {
            AccessScope { type_: ScopeType::Namespace, namespaces }
        } else {
            AccessScope::default()
        };
        AccessPolicy { policy_arn: one.policy_arn().unwrap_or_default().to_owned(), scope }
    };
    Some(AccessEntry {
        principal_arn: principal.to_owned(),
        type_,
        username: username.map(str::to_owned),
        kubernetes_groups: Some(entry.kubernetes_groups().to_vec()).filter(|groups| is_standard && !groups.is_empty()),
        policies: Some(policies.iter().map(policy).collect()).filter(|policies: &Vec<_>| !policies.is_empty()),
    })
}

fn pod_identity(one: &PodIdentityAssociation, notes: &mut Vec<Note>) -> Option<PodIdentity> {
    let (namespace, service_account) = (one.namespace()?.to_owned(), one.service_account()?.to_owned());
    let what = format!("pod identity of service account {namespace}/{service_account}");
    if one.policy().is_some() {
        let why = "Keelson has no field for it and does not change it";
        notes.push(Note::new(format!("session policy of the {what}"), why));
    }
    Some(PodIdentity {
        namespace,
        service_account,
        role_arn: Some(one.role_arn()?.to_owned()),
        role: None,
        target_role_arn: one.target_role_arn().map(str::to_owned),
        disable_session_tags: one.disable_session_tags().filter(|disabled| *disabled),
    })
}

fn fargate_profile(found: &aws_sdk_eks::types::FargateProfile) -> FargateProfile {
    let selector = |one: &aws_sdk_eks::types::FargateProfileSelector| FargateSelector {
        namespace: one.namespace().unwrap_or_default().to_owned(),
        labels: one.labels().map(|labels| labels.clone().into_iter().collect()).unwrap_or_default(),
    };
    FargateProfile {
        name: found.fargate_profile_name().unwrap_or_default().to_owned(),
        selectors: found.selectors().iter().map(selector).collect(),
        pod_execution_role_arn: found.pod_execution_role_arn().map(str::to_owned),
        subnet_ids: Some(found.subnets().to_vec()).filter(|ids| !ids.is_empty()),
    }
}

fn capability(found: &aws_sdk_eks::types::Capability, notes: &mut Vec<Note>) -> Option<Capability> {
    let imported = capability_settings::imported(found);
    if imported.is_none() {
        let what = format!("capability {}", found.capability_name().unwrap_or_default());
        notes.push(Note::new(what, "it has a type or a role that this version does not know"));
    }
    imported
}

fn addon(found: &FoundAddon, notes: &mut Vec<Note>) -> Addon {
    let FoundAddon { addon, is_default, pod_identity_roles } = found;
    let name = addon.addon_name().unwrap_or_default();
    let mut note = |what: String, why: &str| notes.push(Note::new(format!("{what} of add-on {name}"), why));
    let values = addon.configuration_values().filter(|text| !text.trim().is_empty());
    let configuration = match values.map(|text| (text, configuration(text))) {
        None | Some((_, Some(serde_json::Value::Null))) => None,
        Some((_, Some(serde_json::Value::Object(values)))) => Some(values),
        Some(_) => {
            note("the configuration".into(), "it is not an object");
            None
        }
    };
    let service_account_role_arn = addon.service_account_role_arn().map(str::to_owned);
    let pod_identity_role_arn = match pod_identity_roles.as_slice() {
        [] => None,
        [one] if service_account_role_arn.is_none() => Some(one.clone()),
        several => {
            let why = "Keelson supports one role per add-on: through IRSA, or one for all its service accounts \
                       through pod identity";
            note(format!("pod identity roles ({})", several.join(", ")), why);
            None
        }
    };
    let namespace = addon.namespace_config().and_then(|config| config.namespace());
    let namespace = namespace.filter(|name| *name != "kube-system").map(str::to_owned);
    let version = if *is_default { "Default" } else { addon.addon_version().unwrap_or("Default") };
    Addon {
        version: version.to_owned(),
        configuration,
        service_account_role_arn,
        pod_identity_role_arn,
        namespace,
        ..Addon::named(name)
    }
}
