//! Resources with a location that may prove ownership. Pure.

use crate::aws::snapshots;
use crate::resources::cloud::Tagged;

/// A resource with a location that may prove ownership.
pub trait Located: Tagged {
    /// The VPC that it is in, if any.
    fn vpc(&self) -> Option<&str>;
}

impl Tagged for &dyn Located {
    fn id(&self) -> &str {
        (**self).id()
    }
    fn tags(&self) -> &crate::aws::tags::Tags {
        (**self).tags()
    }
}

impl Located for &dyn Located {
    fn vpc(&self) -> Option<&str> {
        (**self).vpc()
    }
}

macro_rules! located {
    ($($kind:ident),* $(,)?) => {$(
        impl Located for snapshots::$kind {
            fn vpc(&self) -> Option<&str> {
                Some(&self.vpc_id)
            }
        }
    )*};
}

located!(Subnet, NatGateway, RouteTable, VpcEndpoint, SecurityGroup);

impl Located for snapshots::Vpc {
    /// A VPC has no location: its own id must be recorded.
    fn vpc(&self) -> Option<&str> {
        None
    }
}

impl Located for snapshots::InternetGateway {
    fn vpc(&self) -> Option<&str> {
        self.vpc_id.as_deref()
    }
}

/// An address, and the VPC of the NAT gateway that uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatedAddress {
    /// The address.
    pub address: snapshots::Address,
    /// The VPC where it is used.
    pub vpc: Option<String>,
}

impl LocatedAddress {
    /// Combines addresses with the VPCs of the gateways that use them.
    pub fn all(addresses: &[snapshots::Address], gateways: &[snapshots::NatGateway]) -> Vec<Self> {
        let vpc = |address: &snapshots::Address| {
            let has = |gateway: &&snapshots::NatGateway| gateway.allocation_ids.contains(&address.allocation_id);
            gateways.iter().find(has).map(|gateway| gateway.vpc_id.clone())
        };
        addresses.iter().map(|address| Self { vpc: vpc(address), address: address.clone() }).collect()
    }
}

impl Tagged for LocatedAddress {
    fn id(&self) -> &str {
        self.address.id()
    }
    fn tags(&self) -> &crate::aws::tags::Tags {
        self.address.tags()
    }
}

impl Located for LocatedAddress {
    fn vpc(&self) -> Option<&str> {
        self.vpc.as_deref()
    }
}
