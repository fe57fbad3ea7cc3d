//! `iam` and `ssh` of a node group: its role, and the policies attached to it. Pure.

use serde_json::{Value, json};

use super::addon_policies::{self, WorkloadPolicies};
use crate::aws::partitions;
use crate::cli::import::section::Section;

/// Policies that the role created by Keelson for a cluster's nodes always has.
const HAS: [&str; 3] = ["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly", "AmazonEKS_CNI_Policy"];
/// The additional policy that deploy/iam-policy-roles.json lets the operator attach.
const MAY_ATTACH: &str = ":iam::aws:policy/AmazonSSMManagedInstanceCore";
/// AWS policies that eksctl attaches by a switch.
const SWITCHES: [(&str, &str); 5] = [
    ("imageBuilder", "AmazonEC2ContainerRegistryPowerUser"),
    ("cloudWatch", "CloudWatchAgentServerPolicy"),
    ("ebs", "service-role/AmazonEBSCSIDriverPolicy"),
    // The same permissions as eksctl's own.
    ("xRay", "AWSXRayDaemonWriteAccess"),
    // As AWS documents it for the driver.
    ("fsx", "AmazonFSxFullAccess"),
];
/// Switches for which eksctl writes inline policies into the role, and no policy of AWS or of Keelson grants the same.
const INLINE_SWITCHES: [&str; 2] = ["appMesh", "appMeshPreview"];
const INLINE: &str = "Keelson writes no inline policies: create a policy and list it in additionalRolePolicies, or \
                      better, give the workload its own role under podIdentities";

/// The AWS-managed policy of that name, in the partition of the region.
fn of_aws(name: &str, region: &str) -> String {
    format!("arn:{}:iam::aws:policy/{name}", partitions::of_region(region).id)
}

/// Sets `roleArn` or `additionalRolePolicies`.
pub fn role(item: &mut Section<'_>, spec: &mut Value, region: &str, workloads: &WorkloadPolicies) {
    // Each with the field that requests it.
    let mut policies: Vec<(String, String)> = Vec::new();
    let mut role = None;
    ssh(item, &mut policies, region);
    if let Some(mut iam) = item.section("iam") {
        role = iam.some_text("instanceRoleARN");
        for (n, arn) in iam.texts("attachPolicyARNs").unwrap_or_default().into_iter().enumerate() {
            policies.push((format!("iam.attachPolicyARNs[{n}]"), arn));
        }
        if let Some(mut switches) = iam.section("withAddonPolicies") {
            for (field, name) in SWITCHES {
                if switches.flag(field) == Some(true) {
                    policies.push((format!("iam.withAddonPolicies.{field}"), of_aws(name, region)));
                }
            }
            addon_policies::take(&mut switches, workloads);
            INLINE_SWITCHES.iter().for_each(|field| switches.refuse_unless(field, false, INLINE));
        }
        const OWN_ROLE: &str = "Keelson names the role that it creates for the nodes: for another name, create the \
                                role and set it in roleArn";
        iam.refuse_each(&[
            ("attachPolicy", INLINE),
            ("instanceProfileARN", "managed node groups have no custom instance profile"),
            ("instanceRoleName", OWN_ROLE),
            (
                "instanceRolePermissionsBoundary",
                "permissionsBoundaryArn of an AwsAccount applies to every role that Keelson creates in it",
            ),
        ]);
    }
    if let Some(role) = role {
        for (path, arn) in policies {
            item.report_left_out(
                &path,
                format!("{arn}: the role in iam.instanceRoleARN is yours, and Keelson does not change it"),
            );
        }
        spec["roleArn"] = json!(role);
        return;
    }
    let mut attached: Vec<String> = Vec::new();
    for (path, arn) in policies {
        let ours = arn.contains(":iam::aws:policy/") && HAS.iter().any(|name| arn.ends_with(&format!("/{name}")));
        if ours || attached.contains(&arn) {
            continue;
        }
        if !arn.ends_with(MAY_ATTACH) {
            let how = "every node of the cluster gets it, as its node groups share one role; and the operator can \
                       attach it only if iam:PolicyARN in its IAM policy lists it (deploy/iam-policy-roles.json)";
            item.report_difference(&path, format!("{arn}: {how}"));
        }
        attached.push(arn);
    }
    if !attached.is_empty() {
        spec["additionalRolePolicies"] = json!(attached);
    }
}

/// SSH keys are not supported; a shell through AWS Systems Manager is.
fn ssh(item: &mut Section<'_>, policies: &mut Vec<(String, String)>, region: &str) {
    let Some(mut ssh) = item.section("ssh") else { return };
    const KEYS: [&str; 3] = ["publicKeyPath", "publicKey", "publicKeyName"];
    const SHELL: &str = "a shell on nodes is by Session Manager (`aws ssm start-session`) in place of SSH, and IAM decides who \
                         gets one; the nodes' role needs AmazonSSMManagedInstanceCore for it (additionalRolePolicies); port 22 stays closed";
    const NO_KEY: &str = "no SSH key is set on nodes, and no rule for port 22 in security groups";
    // For eksctl, a key alone means access.
    let key = KEYS.into_iter().find(|field| ssh.has(field));
    let asked_by = if ssh.has("allow") { "allow" } else { key.unwrap_or("allow") };
    let allow = ssh.flag("allow").unwrap_or(key.is_some());
    let by_ssm = ssh.flag("enableSsm") == Some(true);
    if allow {
        ssh.report_difference(asked_by, SHELL);
    }
    if by_ssm || allow {
        let field = if by_ssm { "enableSsm" } else { asked_by };
        policies.push((format!("ssh.{field}"), of_aws("AmazonSSMManagedInstanceCore", region)));
    }
    KEYS.iter().for_each(|field| ssh.differ(field, NO_KEY));
    ssh.differ("sourceSecurityGroupIds", NO_KEY);
}
