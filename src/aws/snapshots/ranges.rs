//! Ranges and attributes of a VPC. Pure.

use aws_sdk_ec2::types as sdk;
pub use sdk::VpcCidrBlockStateCode as VpcCidrState;

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
