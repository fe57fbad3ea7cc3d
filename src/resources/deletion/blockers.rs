//! Finds what blocks a deletion: EC2 only reports that some resource depends on it. I/O: reads of EC2, and only after a
//! deletion was refused.
//!
//! The resources listed here are not owned by Keelson, or AWS created them for such a resource: Keelson never changes
//! them.

use std::collections::BTreeSet;

use super::blocker_lists::{instances, services};
use super::makers::{self, Advice, Maker};
use crate::api::listing::first_few_joined;
use crate::aws::MaxStaleness;
use crate::aws::snapshots::{NetworkInterface, SecurityGroup};
use crate::engine::{Class, Failure};
use crate::resources::cloud::Cloud;

/// Most blockers in one message; the rest are counted.
const MAX_NAMED: usize = 5;

/// The resource being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The VPC.
    Vpc,
    /// A subnet.
    Subnet(&'a str),
    /// A security group.
    SecurityGroup(&'a str),
    /// The internet gateway, which public addresses block.
    InternetGateway,
}

/// A blocking resource, described so that a user can find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocker {
    pub(super) id: String,
    pub(super) description: String,
    /// What to do; `None`: delete it by hand.
    pub(super) advice: Option<Advice>,
}

impl Blocker {
    /// `kind` is AWS's name for it; `about` adds details: type, owner, name.
    pub(super) fn new<'a>(kind: &str, id: &str, about: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let about: Vec<_> = about.into_iter().flatten().filter(|text| !text.is_empty()).collect();
        let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join(", ")) };
        Self { id: id.to_owned(), description: format!("{kind} {id}{about}"), advice: None }
    }

    pub(super) fn advised(self, maker: Option<Maker>) -> Self {
        Self { advice: maker.and_then(|maker| maker.advice), ..self }
    }
}

/// Adds the dependent resources to a dependency error, with type, owner and description.
pub async fn with_blockers(cloud: &Cloud, vpc: &str, part: Part<'_>, failure: Failure) -> Failure {
    if failure.class != Class::Busy {
        return failure;
    }
    let mut blockers = services(cloud, vpc, part).await;
    // What cannot be read is not listed; the error stays as it is.
    if let Ok(interfaces) = cloud.aws.snapshots.network_interfaces_of_vpc(vpc, MaxStaleness::now()).await {
        let using: Vec<_> = interfaces.iter().filter(|one| uses(one, part)).collect();
        let ids: BTreeSet<&str> = using.iter().filter_map(|one| one.instance_id.as_deref()).collect();
        // Their public addresses are reported with their interfaces.
        if part != Part::InternetGateway {
            blockers.extend(instances(cloud, &ids).await.unwrap_or_default());
        }
        blockers.extend(using.into_iter().map(interface));
    }
    if let Part::Vpc | Part::SecurityGroup(_) = part
        && let Ok(groups) = cloud.aws.snapshots.security_groups_of_vpc(vpc, MaxStaleness::now()).await
    {
        let using = groups.iter().filter(|group| group_uses(group, part, &cloud.owner.uid));
        blockers.extend(using.map(|group| match part {
            Part::SecurityGroup(_) => referring_group(group),
            Part::Vpc | Part::Subnet(_) | Part::InternetGateway => security_group(group),
        }));
    }
    add_blockers(failure, &without_named_interfaces(blockers))
}

fn uses(interface: &NetworkInterface, part: Part<'_>) -> bool {
    match part {
        Part::Vpc => true,
        Part::Subnet(id) => interface.subnet_id == id,
        Part::SecurityGroup(id) => interface.security_group_ids.iter().any(|group| group == id),
        Part::InternetGateway => interface.public_ip.is_some(),
    }
}

fn interface(interface: &NetworkInterface) -> Blocker {
    let kind = interface.kind.as_deref().unwrap_or("interface");
    let instance = interface.instance_id.as_ref().map(|id| format!("of instance {id}"));
    // If a service created the interface, the requester is that service; otherwise it is only the principal that made
    // the call.
    let service = interface.requester_id.as_deref().filter(|_| interface.requester_managed);
    let maker = makers::of_interface(interface);
    let by = maker.as_ref().map(|maker| format!("of {}", maker.name));
    let owner = owned_by(service.or(interface.owner_id.as_deref()));
    let address = interface.public_ip.as_ref().map(|address| format!("public address {address}"));
    let description = format!("{:?}", interface.description);
    let (by, instance, address) = (by.as_deref(), instance.as_deref(), address.as_deref());
    let about = [Some(kind), by, instance, address, Some(owner.as_str()), Some(description.as_str())];
    Blocker::new("network interface", &interface.id, about).advised(maker)
}

/// Describes a security group so that a user can find it.
pub fn describe_group(group: &SecurityGroup) -> String {
    security_group(group).description
}

/// Describes a network interface so that a user can find it.
pub fn describe_interface(one: &NetworkInterface) -> String {
    interface(one).description
}

fn group_uses(group: &SecurityGroup, part: Part<'_>, owner: &str) -> bool {
    match part {
        Part::Vpc => group.name != "default" && !group.tags.is_owned_by(owner),
        Part::SecurityGroup(id) => group.id != id && group.refers_to(id),
        Part::Subnet(_) | Part::InternetGateway => false,
    }
}

fn security_group(group: &SecurityGroup) -> Blocker {
    let owner = owned_by(group.owner_id.as_deref());
    let (name, description) = (format!("{:?}", group.name), format!("{:?}", group.description));
    Blocker::new("security group", &group.id, [Some(name.as_str()), Some(owner.as_str()), Some(description.as_str())])
        .advised(makers::of_group(group))
}

/// A group whose rules refer to the one that is deleted: the rules block, not the group.
fn referring_group(group: &SecurityGroup) -> Blocker {
    let blocker = security_group(group);
    let description = format!("{} in its rules", blocker.description);
    let advice = "a security group that others refer to cannot be deleted: remove those rules by hand, not their group";
    Blocker { description, advice: blocker.advice.or(Some(Advice::Borrowed(advice))), ..blocker }
}

/// Who owns something, in words.
pub(super) fn owned_by(owner: Option<&str>) -> String {
    format!("owner {}", owner.unwrap_or("unknown"))
}

/// Omits an interface whose description names another blocker.
fn without_named_interfaces(blockers: Vec<Blocker>) -> Vec<Blocker> {
    let ids: BTreeSet<String> =
        blockers.iter().map(|one| one.id.clone()).filter(|id| !id.starts_with("eni-")).collect();
    let is_named =
        |one: &Blocker| one.id.starts_with("eni-") && ids.iter().any(|id| one.description.contains(id.as_str()));
    blockers.into_iter().filter(|one| !is_named(one)).collect()
}

fn add_blockers(mut failure: Failure, blockers: &[Blocker]) -> Failure {
    if blockers.is_empty() {
        return failure;
    }
    let described = blockers.iter().map(|one| one.description.as_str());
    let named = first_few_joined(described, MAX_NAMED, "; ", " and ");
    let mut advice: Vec<&str> = Vec::new();
    for text in blockers.iter().filter_map(|one| one.advice.as_deref()) {
        if !advice.contains(&text) {
            advice.push(text);
        }
    }
    let advice: String = advice.iter().map(|text| format!(" ({text})")).collect();
    let message = &failure.message;
    failure.message = format!("{message} Blocked by {named}: delete what Keelson does not own by hand{advice}.");
    failure
}

#[cfg(test)]
#[path = "blockers_tests.rs"]
mod tests;
