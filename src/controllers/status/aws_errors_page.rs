//! Generates docs/aws-errors.md, and the table of the commonest errors in docs/troubleshooting.md, from the tables of codes and
//! health issues: `UPDATE_DOCS=1 cargo test --lib aws_errors_page`. Only for tests.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::reasons::reason;
use crate::aws::Service;
use crate::aws::errors::codes::{self, Advice, Row};
use crate::aws::errors::health::{self, Issue, Recovery, Subject};
use crate::engine::Class;

/// What each class means, and what to do where an error has no advice of its own.
const CLASSES: [(Class, &str, &str); 17] = [
    (Class::NotFound, "does not exist, or is not visible yet", "nothing: Keelson observes and creates it"),
    (
        Class::NotYetVisible,
        "a new role or principal is not visible to the service yet",
        "nothing for two minutes; then check what the message names",
    ),
    (
        Class::Conflict,
        "something of that name or address exists already",
        "choose another name, or adopt what exists ([policies](policies.md#adoption))",
    ),
    (
        Class::Busy,
        "in use, or another operation is in progress",
        "nothing: Keelson retries, and names what is in the way once it lasts",
    ),
    (Class::NoChange, "already as requested", "nothing"),
    (Class::Throttled, "AWS or Keelson's own rate limit holds calls back", "nothing: Keelson slows down"),
    (
        Class::Quota,
        "a quota of the account is used up",
        "request a higher limit in Service Quotas (for IAM: in IAM), or delete what nobody uses",
    ),
    (
        Class::Denied,
        "a policy denies it",
        "the message names the policy that denied, where AWS tells it, and who can change it ([denials](aws-errors.md#denials))",
    ),
    (
        Class::CredentialsUnavailable,
        "no credentials, or AWS rejects them",
        "check the operator's or the AwsAccount's role, its trust policy, and the clock",
    ),
    (Class::Invalid, "AWS does not accept a value, or not in this state", "correct the field that the message names"),
    (
        Class::Capacity,
        "AWS has no capacity there",
        "use other zones or instance types; the message lists zones that work, where AWS does",
    ),
    (
        Class::Unavailable,
        "no answer, or an error of AWS",
        "nothing: Keelson retries; if it lasts, check the AWS Health Dashboard",
    ),
    (Class::NotLeader, "this replica no longer leads, so it sent nothing", "nothing"),
    (
        Class::WrongAccount,
        "the credentials belong to another account",
        "correct the account id, the role, or the credentials",
    ),
    (
        Class::OperationFailed,
        "AWS accepted an operation that then failed",
        "the message has AWS's error; Keelson starts it three times, then waits for an edit",
    ),
    (
        Class::EvictionBlocked,
        "pods cannot be evicted",
        "let their PodDisruptionBudgets allow it, then set the annotation `keelson.dev/reconcile-at`",
    ),
    (Class::Unknown, "none of these", "read the message"),
];

/// The errors that users of EKS report most, by service, code and, where it decides, a part of the message.
const COMMONEST: [(Service, &str, &str); 22] = [
    (Service::Eks, "AccessDeniedException", ""),
    (Service::Ec2, "UnauthorizedOperation", ""),
    (Service::Sts, "AccessDenied", ""),
    (Service::Sts, "ExpiredToken", ""),
    (Service::Sts, "RegionDisabledException", ""),
    (Service::Ec2, "OptInRequired", ""),
    (Service::Ec2, "RequestLimitExceeded", ""),
    (Service::Ec2, "VpcLimitExceeded", ""),
    (Service::Ec2, "AddressLimitExceeded", ""),
    (Service::Ec2, "NatGatewayLimitExceeded", ""),
    (Service::Ec2, "DependencyViolation", ""),
    (Service::Ec2, "InsufficientFreeAddressesInSubnet", ""),
    (Service::Ec2, "InvalidParameter", "conflicting DNS domain"),
    (Service::Ec2, "TagPolicyViolation", ""),
    (Service::Eks, "UnsupportedAvailabilityZoneException", ""),
    (Service::Eks, "ResourceInUseException", "already exists"),
    (Service::Eks, "ResourceLimitExceededException", ""),
    (Service::Eks, "InvalidParameterException", "could not be assumed because"),
    (Service::Eks, "InvalidRequestException", ""),
    (Service::Eks, "InvalidStateException", ""),
    (Service::Iam, "EntityAlreadyExists", ""),
    (Service::Iam, "LimitExceeded", ""),
];

const SUBJECTS: [(Subject, &str); 6] = [
    (Subject::Cluster, "Clusters: `DescribeCluster`, `status.healthIssues` of an EksCluster"),
    (Subject::NodeGroup, "Node groups: `DescribeNodegroup`, `status.healthIssues` of a NodeGroup"),
    (Subject::Addon, "Add-ons: `DescribeAddon`, `status.addons[].issues`"),
    (Subject::FargateProfile, "Fargate profiles: `DescribeFargateProfile`"),
    (Subject::Capability, "Capabilities: `DescribeCapability`"),
    (Subject::Update, "Updates: `DescribeUpdate`"),
];

fn of_class(class: Class) -> &'static str {
    CLASSES.iter().find(|(of, ..)| *of == class).map_or("", |(_, _, advice)| advice)
}

fn advice(row: &Row) -> String {
    match row.advice {
        Advice::Do(text) => text.to_owned(),
        Advice::Quota(quota) => {
            format!("Request a higher limit of \"{quota}\" in Service Quotas, or delete unused resources")
        }
        Advice::Retried => "nothing: Keelson retries".to_owned(),
        Advice::OfClass => of_class(row.class).to_owned(),
    }
}

fn services(row: &Row) -> String {
    let names: Vec<_> = row.services.iter().map(|service| service.as_str()).collect();
    if names.is_empty() { "all".to_owned() } else { names.join(", ") }
}

fn listed(texts: &[&str], mark: &str) -> String {
    texts.iter().map(|text| format!("{mark}{text}{mark}")).collect::<Vec<_>>().join(", ")
}

fn codes_part() -> String {
    let mut text =
        String::from("## Classes\n\n| class | meaning | reason of the condition | what to do |\n|---|---|---|---|\n");
    for (class, meaning, what_to_do) in CLASSES {
        let _ = writeln!(text, "| `{class}` | {meaning} | `{}` | {what_to_do} |", reason(class));
    }
    text.push_str("\n## Codes\n\nCodes are compared without a trailing `Exception`. Where the message decides, that row applies first.\n");
    for (title, rows) in codes::TABLES {
        let _ = write!(
            text,
            "\n### {title}\n\n| code | returned by | message contains | class | what to do |\n|---|---|---|---|---|\n"
        );
        for row in rows {
            let codes = if row.codes.is_empty() { "any".to_owned() } else { listed(row.codes, "`") };
            let phrases = listed(row.phrases, "\"");
            let _ = writeln!(text, "| {codes} | {} | {phrases} | `{}` | {} |", services(row), row.class, advice(row));
        }
    }
    text
}

fn health_part() -> String {
    let mut text = String::from("\n## Health issues of EKS\n");
    for (subject, title) in SUBJECTS {
        let _ = write!(text, "\n### {title}\n\n| code | class | ends | what to do |\n|---|---|---|---|\n");
        for issue in health::ISSUES.iter().filter(|issue| issue.subjects.contains(&subject)) {
            let _ =
                writeln!(text, "| `{}` | `{}` | {} | {} |", issue.code, issue.class, ends(issue), issue_advice(issue));
        }
    }
    text
}

fn ends(issue: &Issue) -> &'static str {
    match issue.recovery {
        Recovery::ByItself => "by itself",
        Recovery::OnceFixed => "once the cause is fixed",
        Recovery::Recreated if issue.class == Class::Throttled => {
            "Keelson deletes the failed resource and creates it again"
        }
        Recovery::Recreated => "the resource has to be created again",
        Recovery::Never => "never: the cluster has to be created again",
    }
}

fn issue_advice(issue: &Issue) -> &str {
    match issue.advice {
        "" if issue.recovery == Recovery::OnceFixed => "read the message",
        "" => "nothing",
        advice => advice,
    }
}

fn commonest() -> String {
    let mut text = String::from("| error | class | reason | what to do |\n|---|---|---|---|\n");
    for (service, code, message) in COMMONEST {
        let row = codes::find(service, code, message).unwrap_or_else(|| panic!("{code} is not in the table"));
        let of = service.as_str();
        let with = if message.is_empty() { String::new() } else { format!(", \"{message}\"") };
        let _ = writeln!(text, "| {of} `{code}`{with} | `{}` | `{}` | {} |", row.class, reason(row.class), advice(row));
    }
    text
}

/// Compares the part of a page between two lines with `wanted`, or writes it.
fn check(page: &str, start: &str, end: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(start).unwrap_or_else(|| panic!("{page} has no line {start}"));
    let tail = if end.is_empty() { "" } else { &rest[rest.find(end).unwrap_or(rest.len())..] };
    let wanted = format!("{head}{start}{wanted}{tail}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let is_current = fs::read_to_string(&path).unwrap() == wanted;
    assert!(is_current, "{page} is stale: UPDATE_DOCS=1 cargo test --lib aws_errors_page");
}

#[test]
fn page_lists_every_code_and_issue() {
    let start = "<!-- Generated from here on: UPDATE_DOCS=1 cargo test --lib aws_errors_page -->\n\n";
    check("docs/aws-errors.md", start, "", &format!("{}{}", codes_part(), health_part()));
}

#[test]
fn troubleshooting_lists_the_commonest_errors() {
    let start = "<!-- Generated: UPDATE_DOCS=1 cargo test --lib aws_errors_page -->\n\n";
    check("docs/troubleshooting.md", start, "\nAll others are in", &commonest());
}

#[test]
fn every_class_has_a_row() {
    let missing: Vec<_> = Class::ALL.into_iter().filter(|class| of_class(*class).is_empty()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
