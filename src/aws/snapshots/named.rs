//! Existing resources that a spec references by name: instance types, launch templates, roles, users, policies. Each is
//! read once for all callers. I/O: AWS reads.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use aws_sdk_ec2::types::{InstanceTypeInfo, LocationType};

use super::identity::decode;
use super::reads::{filter, pages};
use super::{Keyed, Snapshots};
use crate::aws::errors::AwsError;
use crate::aws::service::Service::{Ec2, Iam};
use crate::aws::shared::MaxStaleness;

/// The reads of a region.
#[derive(Debug, Default)]
pub(super) struct RegionalNamed {
    families: Keyed<String, Vec<InstanceType>>,
    templates: Keyed<(TemplateRef, String), Template>,
}

/// The reads of IAM.
#[derive(Debug, Default)]
pub(super) struct GlobalNamed {
    roles: Keyed<String, Option<NamedRole>>,
    users: Keyed<String, Option<String>>,
    policies: Keyed<String, bool>,
}

/// An instance type that EC2 offers in the region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceType {
    /// For example `m7i.large`.
    pub name: String,
    /// `x86_64`, `arm64`.
    pub architectures: BTreeSet<String>,
    /// Manufacturers of its accelerators, for example `NVIDIA`; empty: it has none.
    pub accelerators: BTreeSet<String>,
    pub vcpus: u32,
    /// Network cards that take an Elastic Fabric Adapter.
    pub efa_cards: i32,
    /// Names of the availability zones where it is offered.
    pub zones: BTreeSet<String>,
}

impl From<&InstanceTypeInfo> for InstanceType {
    fn from(info: &InstanceTypeInfo) -> Self {
        let architectures = info.processor_info().map(|processor| processor.supported_architectures());
        let gpus = info.gpu_info().map(|gpus| gpus.gpus()).unwrap_or_default();
        let neuron = info.neuron_info().map(|neuron| neuron.neuron_devices()).unwrap_or_default();
        let inference = info.inference_accelerator_info().map(|all| all.accelerators()).unwrap_or_default();
        let makers = gpus.iter().filter_map(|gpu| gpu.manufacturer());
        let makers = makers.chain(inference.iter().filter_map(|one| one.manufacturer())).map(str::to_owned);
        InstanceType {
            name: info.instance_type().map(|name| name.as_str().to_owned()).unwrap_or_default(),
            architectures: architectures.unwrap_or_default().iter().map(|one| one.as_str().to_owned()).collect(),
            accelerators: makers.chain((!neuron.is_empty()).then(|| "AWS".to_owned())).collect(),
            vcpus: info
                .v_cpu_info()
                .and_then(|cpu| cpu.default_v_cpus())
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(0),
            efa_cards: efa_cards(info),
            zones: BTreeSet::new(),
        }
    }
}

/// EC2 takes one adapter on each of these cards.
fn efa_cards(info: &InstanceTypeInfo) -> i32 {
    let network = info.network_info().filter(|network| network.efa_supported() == Some(true));
    network.map_or(0, |network| network.efa_info().and_then(|efa| efa.maximum_efa_interfaces()).unwrap_or(1))
}

/// How a launch template is named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TemplateRef {
    Id(String),
    Name(String),
}

impl fmt::Display for TemplateRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (TemplateRef::Id(text) | TemplateRef::Name(text)) = self;
        f.write_str(text)
    }
}

/// A version of a launch template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// Does not exist. Holds EC2's error.
    Missing(String),
    /// Exists.
    Found {
        /// Of the template.
        id: String,
        /// It sets an AMI.
        has_image: bool,
        /// It sets an instance type.
        has_instance_type: bool,
    },
}

/// A role of any owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRole {
    /// With its path.
    pub arn: String,
    /// JSON, decoded.
    pub trust_policy: String,
}

impl Snapshots {
    /// The instance types of a family, for example `m7i`, in the region; empty for an unknown family.
    ///
    /// # Errors
    /// As the reads.
    pub async fn instance_types(
        &self,
        family: &str,
        max_staleness: MaxStaleness,
    ) -> Result<Arc<Vec<InstanceType>>, AwsError> {
        let read = self.regional.named.families.of(family.to_owned());
        self.shared(&read, max_staleness, |this| instance_types(this, family.to_owned())).await
    }

    /// A version of a launch template: a number, or `$Default`.
    ///
    /// # Errors
    /// As the read, except for a missing template or version.
    pub async fn launch_template(
        &self,
        template: &TemplateRef,
        version: &str,
        max_staleness: MaxStaleness,
    ) -> Result<Arc<Template>, AwsError> {
        let key = (template.clone(), version.to_owned());
        let read = self.regional.named.templates.of(key.clone());
        self.shared(&read, max_staleness, |this| launch_template(this, key)).await
    }

    /// The role with that name (without its path), of any owner.
    ///
    /// # Errors
    /// As the read.
    pub async fn named_role(
        &self,
        name: &str,
        max_staleness: MaxStaleness,
    ) -> Result<Arc<Option<NamedRole>>, AwsError> {
        let read = self.global.0.named.roles.of(name.to_owned());
        self.shared(&read, max_staleness, |this| role(this, name.to_owned())).await
    }

    /// ARN of the user with that name (without its path).
    ///
    /// # Errors
    /// As the read.
    pub async fn user(&self, name: &str, max_staleness: MaxStaleness) -> Result<Arc<Option<String>>, AwsError> {
        let read = self.global.0.named.users.of(name.to_owned());
        self.shared(&read, max_staleness, |this| user(this, name.to_owned())).await
    }

    /// Whether an IAM policy with that ARN exists.
    ///
    /// # Errors
    /// As the read.
    pub async fn has_policy(&self, arn: &str, max_staleness: MaxStaleness) -> Result<bool, AwsError> {
        let read = self.global.0.named.policies.of(arn.to_owned());
        Ok(*self.shared(&read, max_staleness, |this| has_policy(this, arn.to_owned())).await?)
    }
}

/// By filter rather than by name: an unknown name would fail the read.
async fn instance_types(reads: Snapshots, family: String) -> Result<Vec<InstanceType>, AwsError> {
    let (Snapshots { caller, ec2, .. }, family) = (&reads, &family);
    let filters = &filter("instance-type", [format!("{family}.*")]);
    let mut types = pages(caller, Ec2, "DescribeInstanceTypes", |token| async move {
        let request = ec2.describe_instance_types().set_filters(Some(filters.clone())).set_next_token(token);
        let page = caller.call(Ec2, "DescribeInstanceTypes", family, request.send()).await?;
        Ok((page.instance_types().iter().map(InstanceType::from).collect(), page.next_token))
    })
    .await?;
    if types.is_empty() {
        return Ok(types);
    }
    let offerings: Vec<(String, String)> = pages(caller, Ec2, "DescribeInstanceTypeOfferings", |token| async move {
        let request = ec2.describe_instance_type_offerings().location_type(LocationType::AvailabilityZone);
        let request = request.set_filters(Some(filters.clone())).set_next_token(token);
        let page = caller.call(Ec2, "DescribeInstanceTypeOfferings", family, request.send()).await?;
        let offerings = page.instance_type_offerings().iter();
        let offerings =
            offerings.filter_map(|one| Some((one.instance_type()?.as_str().to_owned(), one.location()?.to_owned())));
        Ok((offerings.collect(), page.next_token))
    })
    .await?;
    for one in &mut types {
        one.zones = offerings.iter().filter(|(name, _)| *name == one.name).map(|(_, zone)| zone.clone()).collect();
    }
    types.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(types)
}

async fn launch_template(reads: Snapshots, (template, version): (TemplateRef, String)) -> Result<Template, AwsError> {
    let Snapshots { caller, ec2, .. } = &reads;
    let request = ec2.describe_launch_template_versions().versions(&version);
    let request = match &template {
        TemplateRef::Id(id) => request.launch_template_id(id),
        TemplateRef::Name(name) => request.launch_template_name(name),
    };
    let what = template.to_string();
    let response = match caller.call(Ec2, "DescribeLaunchTemplateVersions", &what, request.send()).await {
        Err(error) if error.is_not_found() => return Ok(Template::Missing(error.to_string())),
        other => other?,
    };
    let Some(found) = response.launch_template_versions().first() else {
        return Ok(Template::Missing(format!("EC2 has no version {version} of it")));
    };
    let data = found.launch_template_data();
    Ok(Template::Found {
        id: found.launch_template_id().unwrap_or_default().to_owned(),
        has_image: data.is_some_and(|data| data.image_id().is_some()),
        has_instance_type: data.is_some_and(|data| data.instance_type().is_some()),
    })
}

async fn role(reads: Snapshots, name: String) -> Result<Option<NamedRole>, AwsError> {
    let Snapshots { caller, iam, .. } = &reads;
    match caller.call(Iam, "GetRole", &name, iam.get_role().role_name(&name).send()).await {
        Err(error) if error.is_not_found() => Ok(None),
        other => Ok(other?.role.map(|role| NamedRole {
            trust_policy: decode(role.assume_role_policy_document().unwrap_or_default()),
            arn: role.arn().to_owned(),
        })),
    }
}

async fn user(reads: Snapshots, name: String) -> Result<Option<String>, AwsError> {
    let Snapshots { caller, iam, .. } = &reads;
    match caller.call(Iam, "GetUser", &name, iam.get_user().user_name(&name).send()).await {
        Err(error) if error.is_not_found() => Ok(None),
        other => Ok(other?.user.map(|user| user.arn().to_owned())),
    }
}

async fn has_policy(reads: Snapshots, arn: String) -> Result<bool, AwsError> {
    let Snapshots { caller, iam, .. } = &reads;
    match caller.call(Iam, "GetPolicy", &arn, iam.get_policy().policy_arn(&arn).send()).await {
        Err(error) if error.is_not_found() => Ok(false),
        other => other.map(|_| true),
    }
}
