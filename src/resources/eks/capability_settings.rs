//! The settings of a capability: as EKS reports them, how they differ from the spec, and as EKS takes them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_eks::types::{
    AckConfigRequest, ArgoCdAwsIdcConfigRequest, ArgoCdConfigRequest, ArgoCdNetworkAccessConfigRequest,
    ArgoCdRoleMapping, Capability, CapabilityConfigurationRequest, SsoIdentity as Identity, UpdateAckConfig,
    UpdateArgoCdConfig, UpdateCapabilityConfiguration, UpdateRoleMappings,
};

use crate::api::capability::{
    AckCapability, ArgoCdCapability, ArgoCdNetworkAccess, ArgoCdRole, ArgoCdRoleMapping as DesiredMapping,
    AwsIdentityCenter, Capability as DesiredCapability, CapabilityConfiguration, CapabilityType,
    DeletePropagationPolicy, SsoIdentity, SsoIdentityType,
};
use crate::engine::{Change, Failure};
use crate::resources::cloud::changes_field;

pub(super) const TYPE: &str = "type";
pub(super) const ROLE: &str = "roleArn";
const VPC_ENDPOINTS: &str = "configuration.argoCd.networkAccess.vpceIds";
const CROSS_NAMESPACE: &str = "configuration.ack.enableCrossNamespace";
const DISABLED: &str = "configuration.ack.disabledServices";

/// The identities of each role of Argo CD, each as its type and id, in EKS's terms.
type Mappings = BTreeMap<String, BTreeSet<(String, String)>>;

/// What EKS reports of a capability.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub(super) kind: String,
    pub(super) role_arn: String,
    /// What EKS does not change, by the field of the spec.
    fixed: BTreeMap<&'static str, String>,
    mappings: Mappings,
    vpc_endpoints: BTreeSet<String>,
    cross_namespace: bool,
    disabled_services: BTreeSet<String>,
}

fn set(items: &[String]) -> BTreeSet<String> {
    items.iter().cloned().collect()
}

fn list(items: &BTreeSet<String>) -> String {
    items.iter().cloned().collect::<Vec<_>>().join(", ")
}

fn format_identities(identities: Option<&BTreeSet<(String, String)>>) -> String {
    let all: Vec<_> = identities.into_iter().flatten().map(|(kind, id)| format!("{kind} {id}")).collect();
    all.join(", ")
}

fn mapping_field(role: &str) -> String {
    format!("configuration.argoCd.rbacRoleMappings[{role}]")
}

impl Settings {
    /// Those of a capability that exists.
    pub(super) fn of(found: &Capability) -> Self {
        let configuration = found.configuration();
        let argo = configuration.and_then(|all| all.argo_cd());
        let ack = configuration.and_then(|all| all.ack());
        let idc = argo.and_then(|argo| argo.aws_idc());
        let mapping = |one: &ArgoCdRoleMapping| {
            let identities = one.identities().iter().map(|who| (who.r#type().as_str().to_owned(), who.id().to_owned()));
            (one.role().as_str().to_owned(), identities.collect())
        };
        Self {
            kind: found.r#type().map_or("", |kind| kind.as_str()).to_owned(),
            role_arn: found.role_arn().unwrap_or_default().to_owned(),
            fixed: fixed([
                argo.and_then(|argo| argo.namespace()),
                idc.and_then(|idc| idc.idc_instance_arn()),
                idc.and_then(|idc| idc.idc_region()),
                argo.and_then(|argo| argo.endpoint_prefix()),
            ]),
            mappings: argo.map(|argo| argo.rbac_role_mappings()).unwrap_or_default().iter().map(mapping).collect(),
            vpc_endpoints: set(argo
                .and_then(|argo| argo.network_access())
                .map(|net| net.vpce_ids())
                .unwrap_or_default()),
            cross_namespace: ack.and_then(|ack| ack.enable_cross_namespace()).unwrap_or(false),
            disabled_services: set(ack.map(|ack| ack.disabled_services()).unwrap_or_default()),
        }
    }

    /// What differs from the spec.
    pub(super) fn differences(&self, wanted: &DesiredCapability) -> Vec<Change> {
        let DesiredCapability { name, type_, role_arn, configuration, delete_propagation_policy: _ } = wanted;
        let mut changes = Vec::new();
        let why = format!(
            "EKS does not change it: put the old value back, or remove capability {name}, wait until it is gone, and add it again"
        );
        if self.kind != type_.in_eks() {
            changes.push(Change::forbidden(TYPE, &self.kind, type_.in_eks(), &why));
        }
        if self.role_arn != *role_arn {
            changes.push(Change::in_place(ROLE, &self.role_arn, role_arn));
        }
        let CapabilityConfiguration { argo_cd, ack } = configuration.clone().unwrap_or_default();
        for (field, wanted) in argo_cd.iter().flat_map(wanted_fixed) {
            let current = self.fixed.get(field).cloned().unwrap_or_default();
            if current != wanted {
                changes.push(Change::forbidden(field, current, wanted, &why));
            }
        }
        if let Some(wanted) = argo_cd.as_ref().and_then(|argo| argo.rbac_role_mappings.as_deref()).map(wanted_mappings)
        {
            let roles: BTreeSet<_> = wanted.keys().chain(self.mappings.keys()).collect();
            for role in roles {
                let [from, to] = [&self.mappings, &wanted].map(|all| format_identities(all.get(role)));
                if from != to {
                    changes.push(Change::in_place(mapping_field(role), from, to));
                }
            }
        }
        if let Some(ArgoCdNetworkAccess { vpce_ids }) = argo_cd.as_ref().and_then(|argo| argo.network_access.as_ref())
            && set(vpce_ids) != self.vpc_endpoints
        {
            changes.push(Change::in_place(VPC_ENDPOINTS, list(&self.vpc_endpoints), list(&set(vpce_ids))));
        }
        let AckCapability { enable_cross_namespace, disabled_services } = ack.unwrap_or_default();
        if let Some(wanted) = enable_cross_namespace.filter(|wanted| *wanted != self.cross_namespace) {
            changes.push(Change::in_place(CROSS_NAMESPACE, self.cross_namespace.to_string(), wanted.to_string()));
        }
        if let Some(wanted) =
            disabled_services.map(|services| set(&services)).filter(|one| *one != self.disabled_services)
        {
            changes.push(Change::in_place(DISABLED, list(&self.disabled_services), list(&wanted)));
        }
        changes
    }

    /// The configuration that makes `changes`; `None` if they are of none.
    ///
    /// # Errors
    /// Never: all that EKS requires is set.
    pub(super) fn update(
        &self,
        wanted: &DesiredCapability,
        changes: &[Change],
    ) -> Result<Option<UpdateCapabilityConfiguration>, Failure> {
        let CapabilityConfiguration { argo_cd, ack } = wanted.configuration.clone().unwrap_or_default();
        let is_changed = |prefix: &str| changes.iter().any(|change| change.field.starts_with(prefix));
        let mut update = UpdateCapabilityConfiguration::builder();
        if let Some(argo) = argo_cd.filter(|_| is_changed("configuration.argoCd.")) {
            let mappings = wanted_mappings(argo.rbac_role_mappings.as_deref().unwrap_or_default());
            let mappings = self.changed_mappings(&mappings, changes)?;
            let network = argo.network_access.filter(|_| changes_field(changes, VPC_ENDPOINTS)).map(network_access);
            update = update.argo_cd(
                UpdateArgoCdConfig::builder().set_rbac_role_mappings(mappings).set_network_access(network).build(),
            );
        }
        if let Some(ack) = ack.filter(|_| is_changed("configuration.ack.")) {
            let cross = ack.enable_cross_namespace.filter(|_| changes_field(changes, CROSS_NAMESPACE));
            let disabled = ack.disabled_services.filter(|_| changes_field(changes, DISABLED));
            let builder = UpdateAckConfig::builder().set_enable_cross_namespace(cross).set_disabled_services(disabled);
            update = update.ack(builder.build());
        }
        Ok(is_changed("configuration.").then(|| update.build()))
    }

    /// The mappings of the roles in `changes`: added in full where identities are missing; otherwise those that are too many are
    /// removed. EKS does not document whether a mapping that is added replaces the role's others: if not, the next update removes them.
    fn changed_mappings(&self, wanted: &Mappings, changes: &[Change]) -> Result<Option<UpdateRoleMappings>, Failure> {
        let nobody = BTreeSet::new();
        let (mut add, mut remove) = (Vec::new(), Vec::new());
        let roles: BTreeSet<_> = wanted.keys().chain(self.mappings.keys()).collect();
        for role in roles.into_iter().filter(|role| changes_field(changes, &mapping_field(role))) {
            let to = wanted.get(role).unwrap_or(&nobody);
            let from = self.mappings.get(role).unwrap_or(&nobody);
            if to.is_subset(from) {
                remove.push(mapping(role, from.difference(to))?);
            } else {
                add.push(mapping(role, to)?);
            }
        }
        let some = |list: Vec<_>| Some(list).filter(|list| !list.is_empty());
        let (add, remove) = (some(add), some(remove));
        let builder = UpdateRoleMappings::builder();
        let update = (add.is_some() || remove.is_some())
            .then(|| builder.set_add_or_update_role_mappings(add).set_remove_role_mappings(remove).build());
        Ok(update)
    }
}

/// The fields that EKS does not change, with their values.
fn fixed(values: [Option<&str>; 4]) -> BTreeMap<&'static str, String> {
    let fields = [
        "configuration.argoCd.namespace",
        "configuration.argoCd.awsIdc.idcInstanceArn",
        "configuration.argoCd.awsIdc.idcRegion",
        "configuration.argoCd.endpointPrefix",
    ];
    fields.into_iter().zip(values).filter_map(|(field, value)| Some((field, value?.to_owned()))).collect()
}

fn wanted_fixed(argo: &ArgoCdCapability) -> BTreeMap<&'static str, String> {
    let AwsIdentityCenter { idc_instance_arn, idc_region } = &argo.aws_idc;
    fixed([argo.namespace.as_deref(), Some(idc_instance_arn), idc_region.as_deref(), argo.endpoint_prefix.as_deref()])
}

fn wanted_mappings(mappings: &[DesiredMapping]) -> Mappings {
    let mapping = |one: &DesiredMapping| {
        let identities = one.identities.iter().map(|who| (who.type_.in_eks().to_owned(), who.id.clone()));
        (one.role.in_eks().to_owned(), identities.collect())
    };
    mappings.iter().map(mapping).collect()
}

fn mapping<'i>(
    role: &str,
    identities: impl IntoIterator<Item = &'i (String, String)>,
) -> Result<ArgoCdRoleMapping, Failure> {
    let invalid = |error: aws_sdk_eks::error::BuildError| Failure::invalid(error.to_string());
    let mut builder = ArgoCdRoleMapping::builder().role(role.into());
    for (kind, id) in identities {
        builder = builder.identities(Identity::builder().r#type(kind.as_str().into()).id(id).build().map_err(invalid)?);
    }
    builder.build().map_err(invalid)
}

fn network_access(access: ArgoCdNetworkAccess) -> ArgoCdNetworkAccessConfigRequest {
    ArgoCdNetworkAccessConfigRequest::builder().set_vpce_ids(Some(access.vpce_ids)).build()
}

/// The configuration of a new capability; `None` if the spec has none.
///
/// # Errors
/// Never: all that EKS requires is set.
pub(super) fn request(wanted: &DesiredCapability) -> Result<Option<CapabilityConfigurationRequest>, Failure> {
    let Some(CapabilityConfiguration { argo_cd, ack }) = wanted.configuration.clone() else { return Ok(None) };
    let mut request = CapabilityConfigurationRequest::builder();
    if let Some(argo) = argo_cd {
        let ArgoCdCapability { namespace, aws_idc, rbac_role_mappings, network_access: access, endpoint_prefix } = argo;
        let AwsIdentityCenter { idc_instance_arn, idc_region } = aws_idc;
        let idc = ArgoCdAwsIdcConfigRequest::builder().idc_instance_arn(idc_instance_arn).set_idc_region(idc_region);
        let idc = idc.build().map_err(|error| Failure::invalid(error.to_string()))?;
        let mappings = rbac_role_mappings.as_deref().map(wanted_mappings).unwrap_or_default();
        let mappings =
            mappings.iter().map(|(role, identities)| mapping(role, identities)).collect::<Result<Vec<_>, _>>()?;
        let argo = ArgoCdConfigRequest::builder()
            .set_namespace(namespace)
            .aws_idc(idc)
            .set_rbac_role_mappings(Some(mappings).filter(|all| !all.is_empty()))
            .set_network_access(access.filter(|access| !access.vpce_ids.is_empty()).map(network_access))
            .set_endpoint_prefix(endpoint_prefix);
        request = request.argo_cd(argo.build());
    }
    if let Some(AckCapability { enable_cross_namespace, disabled_services }) = ack {
        let ack = AckConfigRequest::builder().set_enable_cross_namespace(enable_cross_namespace);
        request = request.ack(ack.set_disabled_services(disabled_services).build());
    }
    Ok(Some(request.build()))
}

/// The spec that changes nothing of a capability; `None`: it has what this version does not know.
pub(crate) fn imported(found: &Capability) -> Option<DesiredCapability> {
    let configuration = found.configuration();
    let argo_cd = configuration.and_then(|all| all.argo_cd()).map(|argo| {
        let idc = argo.aws_idc();
        let text = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
        let mappings: Option<Vec<_>> = argo.rbac_role_mappings().iter().map(imported_mapping).collect();
        let endpoints = argo.network_access().map(|net| net.vpce_ids().to_vec()).filter(|ids| !ids.is_empty());
        Some(ArgoCdCapability {
            namespace: text(argo.namespace()),
            aws_idc: AwsIdentityCenter {
                idc_instance_arn: text(idc.and_then(|idc| idc.idc_instance_arn()))?,
                idc_region: text(idc.and_then(|idc| idc.idc_region())),
            },
            rbac_role_mappings: Some(mappings?).filter(|all| !all.is_empty()),
            network_access: endpoints.map(|vpce_ids| ArgoCdNetworkAccess { vpce_ids }),
            endpoint_prefix: text(argo.endpoint_prefix()),
        })
    });
    let argo_cd = match argo_cd {
        Some(None) => return None,
        other => other.flatten(),
    };
    let ack = configuration.and_then(|all| all.ack()).map(|ack| AckCapability {
        enable_cross_namespace: ack.enable_cross_namespace(),
        disabled_services: Some(ack.disabled_services().to_vec()).filter(|all| !all.is_empty()),
    });
    let kind = found.r#type()?.as_str();
    Some(DesiredCapability {
        name: found.capability_name()?.to_owned(),
        type_: CapabilityType::ALL.into_iter().find(|one| one.in_eks() == kind)?,
        role_arn: found.role_arn()?.to_owned(),
        configuration: (argo_cd.is_some() || ack.is_some()).then_some(CapabilityConfiguration { argo_cd, ack }),
        delete_propagation_policy: DeletePropagationPolicy::Retain,
    })
}

fn imported_mapping(one: &ArgoCdRoleMapping) -> Option<DesiredMapping> {
    let identity = |who: &Identity| {
        let kind = who.r#type().as_str();
        let type_ = SsoIdentityType::ALL.into_iter().find(|one| one.in_eks() == kind)?;
        Some(SsoIdentity { id: who.id().to_owned(), type_ })
    };
    let role = ArgoCdRole::ALL.into_iter().find(|role| role.in_eks() == one.role().as_str())?;
    Some(DesiredMapping { role, identities: one.identities().iter().map(identity).collect::<Option<_>>()? })
}

#[cfg(test)]
#[path = "capability_tests.rs"]
mod tests;
