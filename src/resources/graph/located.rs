//! Resources with a location that may prove ownership. Pure.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::aws::tags::GIVEN_ADDRESS;
use crate::aws::{AwsError, snapshots};
use crate::resources::cloud::Tagged;

/// A resource with a location that may prove ownership.
pub trait Located: Tagged + Send + Sync {
    /// The VPC that it is in, if any.
    fn vpc(&self) -> Option<&str>;

    /// The VPC that proves it ours, if the VPC is.
    fn proving_vpc(&self) -> Option<&str> {
        self.vpc()
    }

    /// Whether something uses it that its location does not show.
    fn is_in_use(&self) -> bool {
        false
    }
}

/// A list of such resources, of any kind.
pub trait LocatedList: Send + Sync {
    /// Its items.
    fn items(&self) -> Vec<&dyn Located>;
}

impl<T: Located> LocatedList for Vec<T> {
    fn items(&self) -> Vec<&dyn Located> {
        self.iter().map(|one| one as &dyn Located).collect()
    }
}

/// A read of such a list.
pub type ListRead<'a> = BoxFuture<'a, Result<Arc<dyn LocatedList>, AwsError>>;

/// A shared read as the read of a list of any kind.
pub fn listed<'a, T: Located + 'static>(read: impl Future<Output = snapshots::List<T>> + Send + 'a) -> ListRead<'a> {
    Box::pin(async move { Ok(read.await? as Arc<dyn LocatedList>) })
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
    fn proving_vpc(&self) -> Option<&str> {
        (**self).proving_vpc()
    }
    fn is_in_use(&self) -> bool {
        (**self).is_in_use()
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
    /// The gateway got it as an existing address of others (`natAddresses`).
    pub is_given: bool,
}

impl LocatedAddress {
    /// Combines addresses with the VPCs of the gateways that use them.
    pub fn all(addresses: &[snapshots::Address], gateways: &[snapshots::NatGateway]) -> Vec<Self> {
        let located = |address: &snapshots::Address| {
            let has = |gateway: &&snapshots::NatGateway| gateway.allocation_ids.contains(&address.allocation_id);
            let gateway = gateways.iter().find(has);
            let is_given = gateway.is_some_and(|gateway| gateway.tags.get(GIVEN_ADDRESS).is_some());
            Self { vpc: gateway.map(|gateway| gateway.vpc_id.clone()), is_given, address: address.clone() }
        };
        addresses.iter().map(located).collect()
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
    /// An address of others stays theirs when the spec no longer names it, whatever its tags say.
    fn proving_vpc(&self) -> Option<&str> {
        self.vpc().filter(|_| !self.is_given)
    }
    fn is_in_use(&self) -> bool {
        self.address.association_id.is_some()
    }
}
