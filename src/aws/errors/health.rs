//! Every health issue and update error of EKS: its class, whether it passes, and what a person should do. Pure.
//!
//! From EKS's service model (`e2e/tests/test_error_codes.py` compares them), with the remedies of
//! <https://docs.aws.amazon.com/eks/latest/userguide/troubleshooting.html>, whose table of cluster health names what is not
//! recoverable, and of <https://docs.aws.amazon.com/eks/latest/APIReference/API_Issue.html>.

use Recovery::{ByItself, Never, OnceFixed, Recreated};
use Subject::{Addon, Capability, Cluster, FargateProfile, NodeGroup, Update};

use super::Class;

/// What an issue is reported for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Cluster,
    NodeGroup,
    Addon,
    FargateProfile,
    Capability,
    /// The error of an update, of any of them.
    Update,
}

/// How an issue ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// EKS clears it.
    ByItself,
    /// Once a person fixed the cause; EKS may take up to three hours to notice.
    OnceFixed,
    /// A resource that failed with it is deleted and created again, without a person: AWS only throttled.
    Recreated,
    /// The cluster is lost: it has to be created again, under another object.
    Never,
}

/// A row of the table.
pub struct Issue {
    pub subjects: &'static [Subject],
    pub code: &'static str,
    pub class: Class,
    pub recovery: Recovery,
    /// Without a full stop; empty: the message is enough, or nothing has to be done.
    pub advice: &'static str,
}

const fn issue(
    subjects: &'static [Subject],
    code: &'static str,
    class: Class,
    recovery: Recovery,
    advice: &'static str,
) -> Issue {
    Issue { subjects, code, class, recovery, advice }
}

const CL: &[Subject] = &[Cluster];
const NG: &[Subject] = &[NodeGroup];
const AD: &[Subject] = &[Addon];
const ADDON_OR_UPDATE: &[Subject] = &[Addon, Update];

const REMAKE_CLUSTER: &str =
    "AWS cannot recover the cluster: save what you need, delete this EksCluster, and apply it again";

/// The table: the first row of a subject and code applies.
#[rustfmt::skip]
pub const ISSUES: &[Issue] = &[
    // Clusters
    issue(CL, "AccessDenied", Class::Denied, OnceFixed,
        "EKS cannot assume the cluster's role or its service-linked role, or lacks permissions: check that the role exists, its trust policy \
         (eks.amazonaws.com), its policies, and Deny statements of the organization"),
    issue(CL, "IamRoleNotFound", Class::NotFound, OnceFixed,
        "The cluster's role no longer exists: Keelson creates its own again; one that roleArn names, its owner has to create again with the \
         same name"),
    issue(CL, "Ec2SubnetNotFound", Class::NotFound, OnceFixed,
        "A subnet of the cluster no longer exists: Keelson creates its own again; for an existing network, name other subnets of the VPC in \
         spec.network.existing.subnetIds"),
    issue(CL, "Ec2SecurityGroupNotFound", Class::NotFound, OnceFixed,
        "A security group of the cluster no longer exists: name another one in spec.network.existing.securityGroupIds, or remove it there"),
    issue(CL, "VpcNotFound", Class::NotFound, Never, REMAKE_CLUSTER),
    issue(CL, "InsufficientFreeAddresses", Class::Capacity, OnceFixed,
        "A subnet of the cluster lacks free addresses for EKS's interfaces (at least 6, better 16): free some, or name other subnets in \
         spec.network.existing.subnetIds"),
    issue(CL, "KmsKeyDisabled", Class::Denied, OnceFixed,
        "The KMS key of spec.secretsEncryption is disabled: who administers the key can enable it (aws kms enable-key); AWS ensures recovery \
         for 30 days"),
    issue(CL, "KmsKeyMarkedForDeletion", Class::Denied, OnceFixed,
        "The KMS key of spec.secretsEncryption is about to be deleted, and with it every Secret of the cluster: who administers the key can \
         cancel that now (aws kms cancel-key-deletion), and enable the key"),
    issue(CL, "KmsKeyNotFound", Class::NotFound, Never, REMAKE_CLUSTER),
    issue(CL, "KmsGrantRevoked", Class::Denied, Never, REMAKE_CLUSTER),
    issue(CL, "StsRegionalEndpointDisabled", Class::Denied, OnceFixed,
        "STS is not enabled in this region: who administers the account can enable it (IAM, Account settings)"),
    issue(CL, "Ec2ServiceNotSubscribed", Class::Denied, OnceFixed,
        "The account has no subscription of EC2: who administers it can complete the sign-up in the AWS console"),
    issue(CL, "UnsupportedVersion", Class::Invalid, OnceFixed,
        "EKS no longer supports the cluster's version: raise spec.version"),
    issue(CL, "ResourceLimitExceeded", Class::Quota, OnceFixed,
        "Request a higher limit in Service Quotas, or delete unused resources"),
    issue(CL, "ResourceNotFound", Class::NotFound, OnceFixed,
        "Something that the cluster needs no longer exists: restore what the message names"),
    issue(CL, "ConfigurationConflict", Class::Conflict, OnceFixed,
        "Something in the cluster conflicts with what EKS manages: remove what the message names"),
    issue(CL, "ClusterUnreachable", Class::Unavailable, ByItself, ""),
    issue(CL, "InternalFailure", Class::Unavailable, ByItself, ""),
    issue(CL, "Other", Class::Unknown, OnceFixed,
        "If the message names no cause: ask AWS Support"),
    // Node groups
    issue(NG, "AccessDenied", Class::Denied, OnceFixed,
        "EKS or the nodes are not authorized in the cluster: check the access entry of the node role, and that the ClusterRole and \
         ClusterRoleBinding eks:node-manager exist"),
    issue(NG, "AmiIdNotFound", Class::NotFound, OnceFixed,
        "The AMI of the launch template does not exist or is not shared with this account: name another one in spec.node.imageId, or in a new version of your template"),
    issue(NG, "AsgInstanceLaunchFailures", Class::Capacity, OnceFixed,
        "See the activity of the Auto Scaling group for the reason; without capacity, use more instance types or zones"),
    issue(NG, "AutoScalingGroupNotFound", Class::NotFound, OnceFixed,
        "The Auto Scaling group was deleted outside EKS: delete this NodeGroup and apply it again"),
    issue(NG, "AutoScalingGroupInvalidConfiguration", Class::Invalid, OnceFixed,
        "The Auto Scaling group was changed outside EKS: undo that change"),
    issue(NG, "AutoScalingGroupInstanceRefreshActive", Class::Busy, ByItself,
        "Somebody started an instance refresh of the Auto Scaling group: EKS continues when it has ended"),
    issue(NG, "AutoScalingGroupOptInRequired", Class::Denied, OnceFixed,
        "The account is not signed up for EC2 Auto Scaling: who administers it can complete the sign-up in the AWS console"),
    issue(NG, "AutoScalingGroupRateLimitExceeded", Class::Throttled, Recreated, ""),
    issue(NG, "Ec2InstanceTypeDoesNotExist", Class::Invalid, OnceFixed,
        "Create a NodeGroup with instance types that the region has, in place of this one"),
    issue(NG, "Ec2LaunchTemplateDeletionFailure", Class::Busy, OnceFixed,
        "EKS could not delete its launch template: remove what uses it, and the operator's and EKS's permissions that the message names"),
    issue(NG, "Ec2LaunchTemplateInvalidConfiguration", Class::Invalid, OnceFixed,
        "Correct spec.node; or, with a launch template of your own, correct it in a new version, and name that in spec.launchTemplate.version"),
    issue(NG, "Ec2LaunchTemplateMaxLimitExceeded", Class::Quota, OnceFixed,
        "Delete launch templates that nobody uses: a region has a maximum number of them"),
    issue(NG, "Ec2LaunchTemplateNotFound", Class::NotFound, OnceFixed,
        "The launch template that EKS made was deleted: delete this NodeGroup and apply it again"),
    issue(NG, "Ec2LaunchTemplateVersionMaxLimitExceeded", Class::Quota, OnceFixed,
        "Delete old versions of the launch template"),
    issue(NG, "Ec2LaunchTemplateVersionMismatch", Class::Invalid, OnceFixed,
        "The Auto Scaling group's launch template version was changed outside EKS: set it back to the one that EKS made"),
    issue(NG, "SourceEc2LaunchTemplateNotFound", Class::NotFound, OnceFixed,
        "The launch template of the NodeGroup no longer exists: create a NodeGroup with another one in place of this one"),
    issue(NG, "Ec2SecurityGroupDeletionFailure", Class::Busy, OnceFixed,
        "The node group's security group for remote access is in use: remove what refers to it"),
    issue(NG, "Ec2SecurityGroupNotFound", Class::NotFound, Never, REMAKE_CLUSTER),
    issue(NG, "Ec2SubnetInvalidConfiguration", Class::Invalid, OnceFixed,
        "Nodes in public subnets need public addresses: turn on auto-assign public IPv4 address of the subnets, or create a NodeGroup in \
         private subnets in place of this one"),
    issue(NG, "Ec2SubnetListTooLong", Class::Invalid, OnceFixed,
        "Create a NodeGroup in fewer subnets, in place of this one"),
    issue(NG, "Ec2SubnetMissingIpv6Assignment", Class::Invalid, OnceFixed,
        "The cluster uses IPv6: turn on auto-assign IPv6 address of the subnets"),
    issue(NG, "Ec2SubnetNotFound", Class::NotFound, OnceFixed,
        "A subnet of the node group no longer exists: create a NodeGroup in other subnets, in place of this one"),
    issue(NG, "IamInstanceProfileNotFound", Class::NotFound, OnceFixed,
        "The instance profile that EKS made was deleted: create it again with the same name and role"),
    issue(NG, "IamLimitExceeded", Class::Quota, OnceFixed,
        "Request a higher limit in IAM's quotas (instance profiles, roles), or delete unused ones"),
    issue(NG, "IamNodeRoleNotFound", Class::NotFound, OnceFixed,
        "The node role no longer exists: Keelson creates its own again; one that roleArn names, its owner has to create again with the same name"),
    // Throttled, not denied: AWS's documented fix is to recreate the group.
    issue(NG, "IamThrottling", Class::Throttled, Recreated, ""),
    issue(NG, "InstanceLimitExceeded", Class::Quota, OnceFixed,
        "Request a higher limit of \"Running On-Demand instances\" in Service Quotas, or use fewer or smaller instances"),
    issue(NG, "InsufficientFreeAddresses", Class::Capacity, OnceFixed,
        "A subnet of the node group has no free addresses for nodes and pods: free some, or create a NodeGroup in other subnets"),
    // Not in the model: EKS passes on what EC2 said, as a code or in the message of AsgInstanceLaunchFailures (see OF_EC2).
    issue(NG, "InsufficientInstanceCapacity", Class::Capacity, OnceFixed,
        "Use more instance types or zones, or wait"),
    issue(NG, "InvalidKMSKey", Class::Denied, OnceFixed,
        "The KMS key of a volume is not enabled, or its policy does not allow AWSServiceRoleForAutoScaling to use it: who administers the key can \
         change that"),
    issue(NG, "MaxSpotInstanceCountExceeded", Class::Quota, OnceFixed,
        "Request a higher limit of \"Spot Instance Requests\" in Service Quotas, or use fewer or smaller instances"),
    issue(NG, "UnauthorizedOperation", Class::Denied, OnceFixed,
        "A policy denies the launch: where it demands tags on instances and volumes, create a NodeGroup with spec.node and these tags, in place \
         of this one"),
    issue(NG, "VcpuLimitExceeded", Class::Quota, OnceFixed,
        "Request a higher limit of \"Running On-Demand instances\" in Service Quotas, or use fewer or smaller instances"),
    issue(NG, "InternalFailure", Class::Unavailable, ByItself, ""),
    issue(NG, "KubernetesLabelInvalid", Class::Invalid, OnceFixed,
        "Correct the labels in spec.labels"),
    issue(NG, "LimitExceeded", Class::Quota, OnceFixed,
        "Request a higher limit in Service Quotas, or delete unused resources"),
    issue(NG, "NodeCreationFailure", Class::Unknown, OnceFixed,
        "Instances did not join, or did not become Ready, in time: check the node role's policies, the way out of the subnets (NAT gateway, or \
         endpoints for a cluster without internet), security groups, the cluster's endpoint access, user data and AMI of a launch template, \
         and that a CNI runs (the add-on vpc-cni, or the one that Git installs)"),
    issue(NG, "NodeTerminationFailure", Class::Busy, OnceFixed,
        "Instances are not terminated: check their termination protection, and lifecycle hooks of the Auto Scaling group"),
    issue(NG, "PodEvictionFailure", Class::EvictionBlocked, OnceFixed,
        "Allow the pods to be evicted: see their PodDisruptionBudgets"),
    issue(NG, "ClusterUnreachable", Class::Unavailable, ByItself,
        "If it stays: check that EKS reaches the API server (webhooks that time out, security groups)"),
    issue(NG, "Unknown", Class::Unknown, OnceFixed,
        "If the message names no cause: ask AWS Support"),
    // Add-ons
    issue(ADDON_OR_UPDATE, "AccessDenied", Class::Denied, OnceFixed,
        "EKS is not authorized to do this: check the ClusterRole and ClusterRoleBinding eks:addon-manager in the cluster, and the policies of the \
         roles involved"),
    issue(AD, "AddonPermissionFailure", Class::Denied, OnceFixed,
        "The add-on lacks AWS permissions: give it a role with podIdentityRoleArn or serviceAccountRoleArn of its entry in spec.addons"),
    issue(AD, "AddonSubscriptionNeeded", Class::Denied, OnceFixed,
        "Subscribe to the add-on in AWS Marketplace with this account"),
    issue(ADDON_OR_UPDATE, "AdmissionRequestDenied", Class::Denied, OnceFixed,
        "A webhook or policy in the cluster denies the add-on's objects: exempt kube-system and EKS's identity (eks:addon-manager) from it"),
    issue(ADDON_OR_UPDATE, "ClusterUnreachable", Class::Unavailable, ByItself,
        "If it stays: check that EKS reaches the API server (webhooks that time out, security groups)"),
    issue(ADDON_OR_UPDATE, "ConfigurationConflict", Class::Conflict, OnceFixed,
        "Fields of the add-on's objects were set by others (a self-managed installation, kubectl, Helm): set conflicts: Overwrite of its entry in \
         spec.addons, or Preserve to keep them during updates"),
    issue(ADDON_OR_UPDATE, "InsufficientNumberOfReplicas", Class::Unavailable, ByItself,
        "Its pods do not run: check that nodes or a Fargate profile can take them (kubectl get pods -n kube-system)"),
    issue(AD, "InternalFailure", Class::Unavailable, ByItself, ""),
    issue(ADDON_OR_UPDATE, "K8sResourceNotFound", Class::NotFound, OnceFixed,
        "An object of the add-on was deleted from the cluster: change its version or configuration in spec.addons, and EKS applies it again"),
    issue(ADDON_OR_UPDATE, "UnsupportedAddonModification", Class::Invalid, OnceFixed,
        "Correct the add-on's entry in spec.addons: EKS does not support this change of it"),
    // Fargate profiles
    issue(&[FargateProfile], "PodExecutionRoleAlreadyInUse", Class::Conflict, OnceFixed,
        "The pod execution role is mapped for other nodes already: remove that access entry, or its line in the ConfigMap aws-auth"),
    issue(&[FargateProfile], "AccessDenied", Class::Denied, OnceFixed,
        "EKS is not authorized to create the profile: check the trust policy of the pod execution role (eks-fargate-pods.amazonaws.com) and the \
         cluster's access entries"),
    issue(&[FargateProfile], "ClusterUnreachable", Class::Unavailable, ByItself,
        "If it stays: check that EKS reaches the API server (webhooks that time out, security groups)"),
    issue(&[FargateProfile], "InternalFailure", Class::Unavailable, ByItself, ""),
    // Capabilities
    issue(&[Capability], "AccessDenied", Class::Denied, OnceFixed,
        "Check the role of the capability: its trust policy (capabilities.eks.amazonaws.com, sts:AssumeRole and sts:TagSession), its policies, \
         and its access entry; and with users of IAM Identity Center, the operator's permissions there"),
    issue(&[Capability], "ClusterUnreachable", Class::Unavailable, ByItself,
        "If it stays: check that EKS reaches the API server (webhooks that time out, security groups)"),
    // Updates
    issue(&[Update], "SubnetNotFound", Class::NotFound, OnceFixed,
        "A subnet of the cluster no longer exists: for an existing network, name other subnets of the VPC in spec.network.existing.subnetIds"),
    issue(&[Update], "SecurityGroupNotFound", Class::NotFound, OnceFixed,
        "A security group of the cluster no longer exists: name another one in spec.network.existing.securityGroupIds, or remove it there"),
    issue(&[Update], "EniLimitReached", Class::Quota, OnceFixed,
        "Request a higher limit of \"Network interfaces per Region\" in Service Quotas"),
    issue(&[Update], "IpNotAvailable", Class::Capacity, OnceFixed,
        "A subnet of the cluster lacks free addresses (at least 6, better 16): free some, or name other subnets in spec.network.existing.subnetIds"),
    issue(&[Update], "InsufficientFreeAddresses", Class::Capacity, OnceFixed,
        "A subnet lacks free addresses: free some, or use other subnets"),
    issue(&[Update], "OperationNotPermitted", Class::Denied, OnceFixed,
        "The cluster's role lacks permissions: check that AmazonEKSClusterPolicy is attached, and Deny statements of the organization"),
    issue(&[Update], "VpcIdNotFound", Class::NotFound, Never, REMAKE_CLUSTER),
    issue(&[Update], "NodeCreationFailure", Class::OperationFailed, OnceFixed,
        "New instances did not join: check the node role's policies, the way out of the subnets, capacity, and user data and AMI of a launch \
         template"),
    // What to do is in the message of the failed update.
    issue(&[Update], "PodEvictionFailure", Class::EvictionBlocked, OnceFixed, ""),
    issue(&[Update], "Unknown", Class::Unknown, OnceFixed, ""),
];

/// The row of a code; `None` if this version does not know it.
pub fn find(subject: Subject, code: &str) -> Option<&'static Issue> {
    ISSUES.iter().find(|issue| issue.code == code && issue.subjects.contains(&subject))
}

/// Codes of EC2 that explain why an Auto Scaling group cannot launch instances.
const OF_EC2: [&str; 5] = [
    "InsufficientInstanceCapacity",
    "InvalidKMSKey",
    "MaxSpotInstanceCountExceeded",
    "UnauthorizedOperation",
    "VcpuLimitExceeded",
];

/// The row of an issue as EKS reports it.
fn row(subject: Subject, issue: &Reported) -> Option<&'static Issue> {
    let is_launch = issue.code == "AsgInstanceLaunchFailures";
    let of_ec2 = OF_EC2.into_iter().find(|code| is_launch && issue.message.contains(code));
    find(subject, of_ec2.unwrap_or(&issue.code))
}

/// "CODE: message (ids); CODE: message. Advice.", where each piece of advice occurs once.
pub fn explain(subject: Subject, issues: &[Reported]) -> String {
    let texts: Vec<_> = issues.iter().map(ToString::to_string).collect();
    let mut advice: Vec<&str> = Vec::new();
    for issue in issues.iter().filter_map(|issue| row(subject, issue)) {
        if !issue.advice.is_empty() && !advice.contains(&issue.advice) {
            advice.push(issue.advice);
        }
    }
    if advice.is_empty() { texts.join("; ") } else { format!("{}. {}.", texts.join("; "), advice.join(". ")) }
}

/// Most resources that a message names.
const MAX_IDS: usize = 10;

/// An issue as EKS reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    pub code: String,
    pub message: String,
    pub resource_ids: Vec<String>,
}

impl std::fmt::Display for Reported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.code)?;
        let message = self.message.trim_end_matches('.');
        if !message.is_empty() {
            write!(f, ": {message}")?;
        }
        let unnamed = || self.resource_ids.iter().filter(|id| !message.contains(id.as_str()));
        let shown: Vec<_> = unnamed().take(MAX_IDS).cloned().collect();
        match unnamed().count() - shown.len() {
            _ if shown.is_empty() => Ok(()),
            0 => write!(f, " ({})", shown.join(", ")),
            more => write!(f, " ({} and {more} more)", shown.join(", ")),
        }
    }
}

/// Whether the issue passes without a person. One that is not known needs one.
pub fn passes(subject: Subject, code: &str) -> bool {
    find(subject, code).is_some_and(|issue| issue.recovery == ByItself || issue.class == Class::Throttled)
}

/// The class of a resource that failed with these: what decides the reason of its condition. `Unknown` for all others.
pub fn failed_class(subject: Subject, issues: &[Reported]) -> Class {
    let classes = issues.iter().filter_map(|issue| Some(row(subject, issue)?.class));
    let decides = |class: &Class| matches!(class, Class::Capacity | Class::Quota | Class::Denied);
    classes.into_iter().find(decides).unwrap_or(Class::Unknown)
}

/// Whether a resource that failed with one of these is deleted and created again.
pub fn recreates(subject: Subject, issues: &[Reported]) -> bool {
    issues.iter().filter_map(|issue| find(subject, &issue.code)).any(|issue| issue.recovery == Recreated)
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
