//! Existing resources that a spec references by name: instance types, launch templates, images, addresses, endpoint services, roles, users,
//! policies. Each is read once for all callers. I/O: AWS reads.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use aws_sdk_ec2::types::{InstanceTypeInfo, LocationType};

use super::identity::decode;
use super::network_attributes::Address;
use super::reads::{filter, pages};
use super::{Keyed, List, Snapshots};
use crate::aws::errors::AwsError;
use crate::aws::service::Service::{Ec2, Iam};
use crate::aws::shared::{MaxStaleness, SharedRead};

/// The reads of a region.
#[derive(Debug, Default)]
pub(super) struct RegionalNamed {
    families: Keyed<String, Vec<InstanceType>>,
    images: Keyed<String, Option<ImageOwner>>,
    addresses: Keyed<Vec<String>, Vec<Address>>,
    endpoint_services: SharedRead<Vec<String>>,
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

/// The owner of an AMI, which never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOwner {
    /// Id of the account.
    pub account: String,
    /// How EC2 calls the owner, if it has a name for it: `amazon`, `aws-marketplace`, `aws-backup-vault`.
    pub alias: Option<String>,
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

    /// The owner of an AMI; `None` if there is no such AMI, or EC2 does not show it to this account: it is another's private one.
    ///
    /// # Errors
    /// As the read.
    pub async fn image_owner(
        &self,
        id: &str,
        max_staleness: MaxStaleness,
    ) -> Result<Arc<Option<ImageOwner>>, AwsError> {
        let read = self.regional.named.images.of(id.to_owned());
        self.shared(&read, max_staleness, |this| image_owner(this, id.to_owned())).await
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

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeImages.html>: deprecated images can be launched as well.
async fn image_owner(reads: Snapshots, id: String) -> Result<Option<ImageOwner>, AwsError> {
    let Snapshots { caller, ec2, .. } = &reads;
    let request = ec2.describe_images().image_ids(&id).include_deprecated(true);
    let response = match caller.call(Ec2, "DescribeImages", &id, request.send()).await {
        Err(error) if error.is_not_found() => return Ok(None),
        other => other?,
    };
    let found = response.images().iter().find(|image| image.image_id() == Some(&id));
    Ok(found.and_then(|image| {
        let alias = image.image_owner_alias().map(str::to_owned);
        Some(ImageOwner { account: image.owner_id()?.to_owned(), alias })
    }))
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

impl Snapshots {
    /// The Elastic IP addresses with these allocation ids, of any owner; unknown ids are missing from the list.
    ///
    /// # Errors
    /// As the read.
    pub async fn addresses_by_id(&self, ids: &[String], max_staleness: MaxStaleness) -> List<Address> {
        let mut ids = ids.to_vec();
        ids.sort();
        let read = self.regional.named.addresses.of(ids.clone());
        self.shared(&read, max_staleness, |this| addresses_by_id(this, ids)).await
    }

    /// The names of the region's endpoint services of AWS's own, such as `com.amazonaws.eu-west-1.s3`.
    ///
    /// # Errors
    /// As the read.
    pub async fn endpoint_services(&self, max_staleness: MaxStaleness) -> List<String> {
        self.shared(&self.regional.named.endpoint_services, max_staleness, endpoint_services).await
    }
}

/// By filter: one unknown id would fail the read. Not paginated.
async fn addresses_by_id(reads: Snapshots, ids: Vec<String>) -> Result<Vec<Address>, AwsError> {
    let Snapshots { caller, ec2, .. } = &reads;
    let named = ids.join(", ");
    let request = ec2.describe_addresses().set_filters(Some(filter("allocation-id", ids)));
    let answer = caller.call(Ec2, "DescribeAddresses", &named, request.send()).await?;
    Ok(answer.addresses().iter().map(Address::from).collect())
}

async fn endpoint_services(reads: Snapshots) -> Result<Vec<String>, AwsError> {
    let Snapshots { caller, ec2, .. } = &reads;
    pages(caller, Ec2, "DescribeVpcEndpointServices", |token| async move {
        let request = ec2.describe_vpc_endpoint_services().set_filters(Some(filter("owner", ["amazon"])));
        let request = request.set_next_token(token);
        let page = caller.call(Ec2, "DescribeVpcEndpointServices", "the region", request.send()).await?;
        Ok((page.service_names.unwrap_or_default(), page.next_token))
    })
    .await
}
