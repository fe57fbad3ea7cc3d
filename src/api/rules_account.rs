//! CEL rules for the allowlists of an AwsAccount: ids and ARNs in which `*` matches any characters. No I/O.

use kube::core::Rule;

use super::rules::{each, matches};

pub(super) fn role_patterns() -> Rule {
    each(
        r"^(\*|arn:[a-z*-]+:iam::[0-9*]+:role/[A-Za-z0-9_+=,.@/*-]+)$",
        "each entry must be the ARN of an IAM role, arn:aws:iam::<account id>:role/<name>, in which * stands for any characters; a \
         single \"*\" allows any role",
    )
}

pub(super) fn policy_patterns() -> Rule {
    each(
        r"^(\*|arn:[a-z*-]+:iam::([0-9*]+|aws):policy/[A-Za-z0-9_+=,.@/*-]+)$",
        "each entry must be the ARN of an IAM policy, arn:aws:iam::<account id>:policy/<name>, in which * stands for any \
         characters; a single \"*\" allows any policy",
    )
}

pub(super) fn key_patterns() -> Rule {
    each(
        r"^(\*|arn:[a-z*-]+:kms:[a-z0-9*-]+:[0-9*]+:key/[A-Za-z0-9*-]+)$",
        "each entry must be the ARN of a KMS key, arn:aws:kms:<region>:<account id>:key/<id>, in which * stands for any \
         characters; a single \"*\" allows any key",
    )
}

pub(super) fn vpc_patterns() -> Rule {
    each(r"^(\*|vpc-[0-9a-z*]+)$", "each entry must be the id of a VPC, vpc-...; a single \"*\" allows any VPC")
}

pub(super) fn security_group_patterns() -> Rule {
    each(
        r"^(\*|sg-[0-9a-z*]+)$",
        "each entry must be the id of a security group, sg-...; a single \"*\" allows any security group",
    )
}

pub(super) fn launch_template_patterns() -> Rule {
    each(
        r"^(\*|lt-[0-9a-z*]+)$",
        "each entry must be the id of a launch template, lt-...; a single \"*\" allows any launch template",
    )
}

pub(super) fn image_owners() -> Rule {
    each(
        r"^(\*|amazon|aws-marketplace|[0-9]{12})$",
        "each entry must be amazon, aws-marketplace or the id of an account; a single \"*\" allows any AMI",
    )
}

pub(super) fn image_patterns() -> Rule {
    each(r"^(\*|ami-[0-9a-z*]+)$", "each entry must be the id of an AMI, ami-...; a single \"*\" allows any AMI")
}

pub(super) fn capacity_reservation_patterns() -> Rule {
    each(
        r"^(\*|cr-[0-9a-z*]+)$",
        "each entry must be the id of a capacity reservation, cr-...; a single \"*\" allows any of them",
    )
}

pub(super) fn placement_group_patterns() -> Rule {
    each("^[ -~]+$", "each entry must be the name of a placement group: printable ASCII characters, * stands for any")
}

pub(super) fn allocation_patterns() -> Rule {
    each(
        r"^(\*|eipalloc-[0-9a-z*]+)$",
        "each entry must be the allocation id of an Elastic IP address, eipalloc-...; a single \"*\" allows any address",
    )
}

pub(super) fn role_path() -> Rule {
    matches(r"^/([A-Za-z0-9_+=,.@-]+/)*$", "must be an IAM path, which begins and ends with /, such as /keelson/")
}

pub(super) fn workload_policy_names(names: &[&str]) -> Rule {
    each(
        &format!(r"^(\*|{})$", names.join("|")),
        &format!("each entry must be one of {}; a single \"*\" allows all", names.join(", ")),
    )
}

pub(super) fn inline_policies_need_boundary() -> Rule {
    Rule::new("!self.allowInlinePolicies || has(self.workloadPermissionsBoundaryArn)")
        .message(
            "allowInlinePolicies needs workloadPermissionsBoundaryArn: without a boundary, whoever writes a policy may do whatever \
             the account allows",
        )
        .field_path(".allowInlinePolicies")
}
