//! The table of health issues, and how issues are explained.

use super::*;

fn reported(code: &str, message: &str, ids: &[&str]) -> Reported {
    let resource_ids = ids.iter().map(|id| (*id).to_owned()).collect();
    Reported { code: code.into(), message: message.into(), resource_ids }
}

#[test]
fn issue_is_explained_with_its_resources_and_what_to_do() {
    let disabled =
        reported("KmsKeyDisabled", "The AWS KMS Key associated with your cluster is disabled.", &["arn:key/1"]);
    let text = explain(Cluster, &[disabled]);
    let start = "KmsKeyDisabled: The AWS KMS Key associated with your cluster is disabled (arn:key/1). The KMS key of";
    assert!(text.starts_with(start) && text.ends_with("30 days."), "{text}");
    let named = reported("Ec2SubnetNotFound", "subnet-1 was deleted", &["subnet-1"]);
    assert!(explain(Cluster, &[named]).starts_with("Ec2SubnetNotFound: subnet-1 was deleted. A subnet"));
    let same = [reported("InstanceLimitExceeded", "", &[]), reported("VcpuLimitExceeded", "", &[])];
    assert_eq!(explain(NodeGroup, &same).matches("Request a higher limit").count(), 1);
    assert_eq!(explain(Addon, &[reported("InternalFailure", "try later", &[])]), "InternalFailure: try later");
}

#[test]
fn only_what_the_user_guide_calls_unrecoverable_is_never_recovered() {
    let lost: Vec<_> = ISSUES.iter().filter(|issue| issue.recovery == Never && issue.subjects == CL).collect();
    let codes: Vec<_> = lost.iter().map(|issue| issue.code).collect();
    assert_eq!(codes, ["VpcNotFound", "KmsKeyNotFound", "KmsGrantRevoked"]);
}

#[test]
fn unknown_issue_needs_a_person_and_a_failure_of_eks_does_not() {
    assert!(passes(Cluster, "InternalFailure") && passes(Addon, "InsufficientNumberOfReplicas"));
    assert!(!passes(Cluster, "KmsKeyDisabled") && !passes(Cluster, "SomethingNew"));
}

#[test]
fn node_group_is_recreated_only_when_it_failed_by_throttling() {
    let recreated = |code| recreates(NodeGroup, &[reported(code, "", &[])]);
    assert!(recreated("IamThrottling") && recreated("AutoScalingGroupRateLimitExceeded"));
    assert!(!recreated("AutoScalingGroupNotFound") && !recreated("NodeCreationFailure") && !recreated("New"));
}

#[test]
fn class_of_a_failed_resource_is_one_that_has_a_reason_of_its_own() {
    let class = |code| failed_class(NodeGroup, &[reported("NodeCreationFailure", "", &[]), reported(code, "", &[])]);
    assert_eq!(class("InsufficientInstanceCapacity"), Class::Capacity);
    assert_eq!(class("InstanceLimitExceeded"), Class::Quota);
    assert_eq!(class("AccessDenied"), Class::Denied);
    assert_eq!(class("Ec2SubnetNotFound"), Class::Unknown);
}

#[test]
fn launch_failure_is_explained_by_the_code_of_ec2_in_its_message() {
    let failed = |message| [reported("AsgInstanceLaunchFailures", message, &[])];
    for (message, class, advice) in [
        (
            "Could not launch On-Demand Instances. VcpuLimitExceeded - You have requested",
            Class::Quota,
            "Service Quotas",
        ),
        (
            "Could not launch Spot Instances. MaxSpotInstanceCountExceeded - Max spot",
            Class::Quota,
            "Spot Instance Requests",
        ),
        (
            "Termination Reason: Client.InvalidKMSKey.InvalidState: The KMS key",
            Class::Denied,
            "AWSServiceRoleForAutoScaling",
        ),
        ("UnauthorizedOperation - You are not authorized", Class::Denied, "these tags"),
        ("Unsupported - Your requested instance type", Class::Capacity, "activity of the Auto Scaling group"),
    ] {
        assert_eq!(failed_class(NodeGroup, &failed(message)), class, "{message}");
        assert!(explain(NodeGroup, &failed(message)).contains(advice), "{message}");
    }
    let elsewhere = [reported("NodeCreationFailure", "VcpuLimitExceeded", &[])];
    assert_eq!(failed_class(NodeGroup, &elsewhere), Class::Unknown);
}

#[test]
fn each_code_of_a_subject_has_one_row() {
    for (number, issue) in ISSUES.iter().enumerate() {
        let same = |other: &&Issue| {
            other.code == issue.code && other.subjects.iter().any(|subject| issue.subjects.contains(subject))
        };
        assert!(!ISSUES[..number].iter().any(|other| same(&other)), "{} of {:?}", issue.code, issue.subjects);
    }
}
