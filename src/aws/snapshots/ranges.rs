//! Ranges and attributes of a VPC, Elastic IP addresses of others, endpoint services. I/O: AWS reads.

use aws_sdk_ec2::types as sdk;
pub use sdk::VpcCidrBlockStateCode as VpcCidrState;

use super::Snapshots;
use super::network::Address;
use super::reads::filter;
use crate::aws::errors::AwsError;
use crate::aws::service::Service::Ec2;
use crate::aws::shared::MaxStaleness;

/// A range that is, was or will be one of a VPC's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VpcCidr {
    /// `vpc-cidr-assoc-...`.
    pub id: String,
    pub cidr: String,
    pub state: Option<VpcCidrState>,
    /// What EC2 says about the state.
    pub message: Option<String>,
}

impl VpcCidr {
    fn new(id: Option<&str>, cidr: Option<&str>, state: Option<&sdk::VpcCidrBlockState>) -> Self {
        Self {
            id: id.unwrap_or_default().to_owned(),
            cidr: cidr.unwrap_or_default().to_owned(),
            state: state.and_then(|state| state.state()).cloned(),
            message: state.and_then(|state| state.status_message()).map(str::to_owned),
        }
    }

    /// Whether it is the VPC's, or about to be.
    pub fn is_kept(&self) -> bool {
        use VpcCidrState::{Disassociated, Disassociating, Failed};
        !matches!(self.state, Some(Disassociated | Disassociating | Failed))
    }

    /// Whether subnets can be in it.
    pub fn is_usable(&self) -> bool {
        self.state.as_ref().is_none_or(|state| *state == VpcCidrState::Associated)
    }
}

impl From<&sdk::VpcCidrBlockAssociation> for VpcCidr {
    fn from(of: &sdk::VpcCidrBlockAssociation) -> Self {
        Self::new(of.association_id(), of.cidr_block(), of.cidr_block_state())
    }
}

impl From<&sdk::VpcIpv6CidrBlockAssociation> for VpcCidr {
    fn from(of: &sdk::VpcIpv6CidrBlockAssociation) -> Self {
        Self::new(of.association_id(), of.ipv6_cidr_block(), of.ipv6_cidr_block_state())
    }
}

/// DNS attributes of a VPC: EKS's private endpoint needs both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VpcDns {
    pub support: bool,
    pub hostnames: bool,
}

impl Snapshots {
    /// The Elastic IP addresses with these allocation ids, of any owner; unknown ids are missing from the list.
    ///
    /// # Errors
    /// As the read.
    pub async fn addresses_by_id(&self, ids: &[String], max_staleness: MaxStaleness) -> super::List<Address> {
        let mut ids = ids.to_vec();
        ids.sort();
        let read = self.regional.addresses_by_id.of(ids.clone());
        self.shared(&read, max_staleness, |this| addresses_by_id(this, ids)).await
    }

    /// The names of the region's endpoint services of AWS's own, such as `com.amazonaws.eu-west-1.s3`.
    ///
    /// # Errors
    /// As the read.
    pub async fn endpoint_services(&self, max_staleness: MaxStaleness) -> super::List<String> {
        self.shared(&self.regional.endpoint_services, max_staleness, endpoint_services).await
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
    super::pages(caller, Ec2, "DescribeVpcEndpointServices", |token| async move {
        let request = ec2.describe_vpc_endpoint_services().set_filters(Some(filter("owner", ["amazon"])));
        let request = request.set_next_token(token);
        let page = caller.call(Ec2, "DescribeVpcEndpointServices", "the region", request.send()).await?;
        Ok((page.service_names.unwrap_or_default(), page.next_token))
    })
    .await
}
