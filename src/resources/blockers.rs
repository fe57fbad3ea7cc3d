//! Who holds up a deletion: EC2 only says that something depends on it, so we look what.

use super::cloud::Cloud;
use crate::aws::Fresh;
use crate::aws::snapshots::NetworkInterface;
use crate::engine::{Class, Failure};

/// Most blockers named; the rest are counted.
const MOST_NAMED: usize = 5;

/// What part of a VPC is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// All of it.
    Vpc,
    /// A subnet.
    Subnet(&'a str),
}

/// Adds to a refusal by dependency what it is that depends: network interfaces with their owner, and security groups.
pub async fn named(cloud: &Cloud, vpc: &str, part: Part<'_>, failure: Failure) -> Failure {
    if failure.class != Class::Busy {
        return failure;
    }
    // What cannot be looked at is not named; the refusal stands as it is.
    let Ok(interfaces) = cloud.aws.snapshots.network_interfaces_of_vpc(vpc, Fresh::now()).await else { return failure };
    let mut held: Vec<String> = interfaces.iter().filter(|one| is_in(one, part)).map(interface).collect();
    if part == Part::Vpc
        && let Ok(groups) = cloud.aws.snapshots.security_groups_of_vpc(vpc, Fresh::now()).await
    {
        let theirs = groups.iter().filter(|group| group.name != "default" && !group.tags.is_owned_by(&cloud.owner.uid));
        held.extend(theirs.map(|group| format!("security group {} ({:?})", group.id, group.name)));
    }
    tell(failure, &held)
}

fn is_in(interface: &NetworkInterface, part: Part<'_>) -> bool {
    match part {
        Part::Vpc => true,
        Part::Subnet(id) => interface.subnet_id == id,
    }
}

fn interface(interface: &NetworkInterface) -> String {
    let instance = interface.instance_id.as_ref().map(|id| format!(", of instance {id}")).unwrap_or_default();
    format!(
        "network interface {} ({}{instance}, owner {}, {:?})",
        interface.id,
        interface.kind.as_deref().unwrap_or("interface"),
        interface.requester_id.as_deref().or(interface.owner_id.as_deref()).unwrap_or("unknown"),
        interface.description
    )
}

fn tell(mut failure: Failure, held: &[String]) -> Failure {
    if !held.is_empty() {
        let named = held.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join("; ");
        let more = held.len().saturating_sub(MOST_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        failure.message =
            format!("{} Held up by {named}{more}: delete what is not Keelson's by hand.", failure.message);
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_named_and_the_rest_counted() {
        let busy = Failure::new(Class::Busy, "ec2:DeleteVpc: DependencyViolation.");
        let held: Vec<_> = (0..7).map(|n| format!("eni-{n}")).collect();
        let told = tell(busy.clone(), &held).message;
        assert!(told.contains("Held up by eni-0; eni-1; eni-2; eni-3; eni-4 and 2 more"), "{told}");
        assert_eq!(tell(busy.clone(), &[]), busy);
    }
}
