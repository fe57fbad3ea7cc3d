//! The CEL rules of the CRDs: what the schema's types do not express, each with a message that says what to do. Values
//! are checked here and not with a schema `pattern`, whose message is only the pattern. No I/O.
//!
//! Rules on one field are named after its contents; rules between fields after the struct.

use kube::core::{Reason, Rule};

pub(super) use super::rules_account::*;
pub(super) use super::rules_between::*;
pub(super) use super::rules_cluster::*;
pub(super) use super::rules_network::*;
pub(super) use super::rules_node::*;
pub(super) use super::rules_replacement::*;
pub(super) use super::rules_rollout::*;

fn rule(cel: impl Into<String>, message: &str) -> Rule {
    Rule::new(cel).message(message)
}

fn refuse(cel: impl Into<String>, message: &str) -> Rule {
    rule(cel, message).reason(Reason::FieldValueForbidden)
}

/// The value matches `pattern`.
pub(super) fn matches(pattern: &str, message: &str) -> Rule {
    rule(format!("self.matches(r'{pattern}')"), message)
}

/// Every item of the list matches `pattern`.
pub(super) fn each(pattern: &str, message: &str) -> Rule {
    rule(format!("self.all(item, item.matches(r'{pattern}'))"), message)
}

/// The hash of a plan, or the code that releases a deletion.
pub(super) fn plan_hash() -> Rule {
    matches("^[0-9a-f]{16}$", "must be the 16 hexadecimal digits of status.plan.hash, or of status.deletion.release")
}

/// No item is listed twice; for ordered lists, which cannot be sets.
pub(super) fn unique() -> Rule {
    rule("self.all(item, self.exists_one(other, other == item))", "each entry may be listed once only")
}

/// No two items have the same name; for atomic lists, which cannot be maps.
pub(super) fn unique_names() -> Rule {
    rule("self.all(item, self.exists_one(other, other.name == item.name))", "each name may be listed once only")
}

/// The field never changes. For required fields and fields with a default.
pub(super) fn immutable(what_to_do: &str) -> Rule {
    refuse("self == oldSelf", what_to_do)
}

/// The optional member `field` is never changed, added or removed. For its struct.
pub(super) fn immutable_member(field: &str, what_to_do: &str) -> Rule {
    refuse(same_member(field), what_to_do).field_path(format!(".{field}"))
}

/// `self.?field == oldSelf.?field` would be shorter, but the API server cannot bound its cost.
pub(super) fn same_member(field: &str) -> String {
    format!("has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})")
}

/// Exactly one of the members is set. For their struct.
pub(super) fn exactly_one_of(fields: &[&str]) -> Rule {
    one_of(fields, "== 1", "exactly one of", "must be set")
}

/// At most one of the members is set. For their struct.
pub(super) fn at_most_one_of(fields: &[&str]) -> Rule {
    one_of(fields, "<= 1", "at most one of", "may be set")
}

fn one_of(fields: &[&str], comparison: &str, quantity: &str, verb: &str) -> Rule {
    let present: Vec<String> = fields.iter().map(|field| format!("has(self.{field})")).collect();
    rule(
        format!("[{}].filter(set, set).size() {comparison}", present.join(", ")),
        &format!("{quantity} {} {verb}", fields.join(", ")),
    )
}

// Names and ids.

pub(super) fn object_name() -> Rule {
    matches(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "must be the name of a Kubernetes object: lower case letters, digits, '-' and '.'",
    )
}

pub(super) fn namespace_name() -> Rule {
    matches("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "must be the name of a namespace: lower case letters, digits and '-'")
}

pub(super) fn eks_name() -> Rule {
    matches(
        "^[0-9A-Za-z][A-Za-z0-9_-]*$",
        "must be a valid EKS name: letters, digits, '-' and '_', beginning with a letter or digit",
    )
}

pub(super) fn cluster_name_patterns() -> Rule {
    each(
        "^[0-9A-Za-z*][A-Za-z0-9_*-]*$",
        "each entry must be the name of an EKS cluster, in which '*' stands for any characters",
    )
}

pub(super) fn namespace_names() -> Rule {
    each(
        "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "each entry must be the name of a namespace: lower case letters, digits and '-'",
    )
}

pub(super) fn aws_name() -> Rule {
    matches("^[A-Za-z0-9][A-Za-z0-9._+-]*$", "must be a valid AWS name: letters, digits, '.', '_', '+' and '-'")
}

pub(super) fn aws_names() -> Rule {
    each("^[A-Za-z0-9][A-Za-z0-9._+-]*$", "each entry must be a valid AWS name: letters, digits, '.', '_', '+' and '-'")
}

pub(super) fn account_id() -> Rule {
    matches("^[0-9]{12}$", "must be the 12 digits of an AWS account id, in quotes")
}

pub(super) fn region() -> Rule {
    matches(REGION, "must be an AWS region, such as eu-west-1")
}

pub(super) fn regions() -> Rule {
    each(REGION, "each entry must be an AWS region, such as eu-west-1")
}

const REGION: &str = "^[a-z]{2,6}(-[a-z]+)+-[0-9]+$";

pub(super) fn zones() -> Rule {
    each(
        "^[a-z]{2,6}(-[a-z]+)+-[0-9]+[a-z]$",
        "each entry must be the name of an availability zone, such as eu-west-1a",
    )
}

pub(super) fn subnet_ids() -> Rule {
    each("^subnet-[0-9a-z]+$", "each entry must be the id of a subnet, subnet-...")
}

pub(super) fn security_group_ids() -> Rule {
    each("^sg-[0-9a-z]+$", "each entry must be the id of a security group, sg-...")
}

pub(super) fn vpc_id() -> Rule {
    matches("^vpc-[0-9a-z]+$", "must be the id of a VPC, vpc-...")
}

pub(super) fn launch_template_id() -> Rule {
    matches("^lt-[0-9a-z]+$", "must be the id of a launch template, lt-...")
}

// ARNs.

pub(super) fn role_arn() -> Rule {
    matches(
        "^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$",
        "must be the ARN of an IAM role, arn:aws:iam::<account id>:role/<name>",
    )
}

pub(super) fn principal_arn() -> Rule {
    matches(
        "^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[A-Za-z0-9_+=,.@/-]+$",
        "must be the ARN of an IAM role or user, arn:aws:iam::<account id>:role/<name>; for an assumed role, that of the role",
    )
}

pub(super) fn policy_arn() -> Rule {
    matches(IAM_POLICY, "must be the ARN of an IAM policy, arn:aws:iam::<account id>:policy/<name>")
}

pub(super) fn policy_arns() -> Rule {
    each(IAM_POLICY, "each entry must be the ARN of an IAM policy, arn:aws:iam::<account id>:policy/<name>")
}

const IAM_POLICY: &str = "^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/[A-Za-z0-9_+=,.@/-]+$";

pub(super) fn access_policy_arn() -> Rule {
    matches(
        "^arn:aws[a-z-]*:eks::aws:cluster-access-policy/[A-Za-z0-9_-]+$",
        "must be the ARN of an EKS access policy, arn:aws:eks::aws:cluster-access-policy/<name>; `aws eks list-access-policies` \
         shows them",
    )
}

pub(super) fn key_arn() -> Rule {
    matches(
        "^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$",
        "must be the ARN of a KMS key (not of an alias), arn:aws:kms:<region>:<account id>:key/<id>",
    )
}

// Versions, times, addresses.

pub(super) fn kubernetes_version() -> Rule {
    matches(VERSION, "must be a Kubernetes version as EKS names them, major and minor only, such as \"1.34\"")
}

const VERSION: &str = r"^[1-9][0-9]?\.(0|[1-9][0-9]{0,2})$";

/// Compares the old and the new version as numbers, if both are valid versions.
fn versions_compare(old: &str, new: &str, comparison: &str) -> String {
    let number = |path: &str| format!("(int({path}.split('.')[0]) * 1000 + int({path}.split('.')[1]))");
    format!(
        "!{new}.matches(r'{VERSION}') || !{old}.matches(r'{VERSION}') || {} {comparison} {}",
        number(new),
        number(old)
    )
}

/// Nothing runs yet. An edit is compared with the running version, not with the previous spec, so that a version that
/// was never reached can be reverted.
const NOTHING_TO_LOWER: &str = "!has(oldSelf.status) || !has(oldSelf.status.version)";

pub(super) fn cluster_version_not_lowered() -> Rule {
    refuse(
        format!(
            "self.spec.version == oldSelf.spec.version || self.spec.upgrade.allowRollback || {NOTHING_TO_LOWER} || {}",
            versions_compare("oldSelf.status.version", "self.spec.version", ">=")
        ),
        "the version cannot be lower than the one that the control plane has (status.version): name that or a later one; to roll \
         back by one minor version, which EKS allows for 7 days after an upgrade, set upgrade.allowRollback: true as well",
    )
    .field_path(".spec.version")
}

pub(super) fn cluster_rollback_by_one() -> Rule {
    refuse(
        format!(
            "self.spec.version == oldSelf.spec.version || !self.spec.upgrade.allowRollback || {NOTHING_TO_LOWER} || {}",
            versions_compare("oldSelf.status.version", "self.spec.version", "+ 1 >=")
        ),
        "a rollback goes back by one minor version only: name the version before the one that the control plane has \
         (status.version)",
    )
    .field_path(".spec.version")
}

pub(super) fn node_group_version_not_lowered() -> Rule {
    refuse(
        format!(
            "!has(self.spec.version) || (has(oldSelf.spec.version) && self.spec.version == oldSelf.spec.version) \
             || {NOTHING_TO_LOWER} || {}",
            versions_compare("oldSelf.status.version", "self.spec.version", ">=")
        ),
        "the version of a node group cannot be lower than the one that its nodes have (status.version): name that or a later one, \
         or create a new NodeGroup of the lower version and delete this one",
    )
    .field_path(".spec.version")
}

pub(super) fn duration() -> Rule {
    matches(r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$", "must be a duration, such as 30s, 10m or 1h30m")
}

/// Below this interval, Flux and Argo CD would poll a source without pause.
pub(super) fn at_least_a_second() -> Rule {
    rule(
        r"!self.matches(r'^([0-9]{1,6}(\.[0-9]{1,6})?(ms|s|m|h)){1,4}$') || duration(self) >= duration('1s')",
        "must be at least 1s",
    )
}

pub(super) fn cron_schedule() -> Rule {
    matches(
        r"^[0-9A-Za-z*,/#LW?-]+( [0-9A-Za-z*,/#LW?-]+){4}$",
        "must be five cron fields (minute, hour, day of month, month, day of week) with one space between them",
    )
}

pub(super) fn time_zone() -> Rule {
    matches(
        "^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$",
        "must be the name of an IANA time zone, such as Europe/Berlin",
    )
}

/// `a.b.c.d/n` without host bits.
pub(super) const NETWORK_V4: &str =
    "isCIDR(self) && cidr(self).ip().family() == 4 && cidr(self) == cidr(self).masked()";

pub(super) fn vpc_cidr() -> Rule {
    rule(
        format!(
            "{NETWORK_V4} && cidr(self).prefixLength() >= 16 && cidr(self).prefixLength() <= 24 \
             && cidr(self).ip().isGlobalUnicast()"
        ),
        "must be the IPv4 range of a network from /16 to /24, such as 10.0.0.0/16, with no host bits set: the \
         subnets of all zones are cut from it",
    )
}

pub(super) fn service_cidr() -> Rule {
    rule(
        format!(
            "{NETWORK_V4} && cidr(self).prefixLength() >= 12 && cidr(self).prefixLength() <= 24 \
             && ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16'].exists(block, cidr(block).containsCIDR(self))"
        ),
        "must be an IPv4 range from /12 to /24 inside 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, such as 172.20.0.0/16, with \
         no host bits set",
    )
}

pub(super) fn public_cidrs() -> Rule {
    rule(
        "self.all(item, isCIDR(item) && cidr(item) == cidr(item).masked())",
        "each entry must be a range such as 203.0.113.0/24, with no host bits set; a single address is \
         203.0.113.7/32",
    )
}

pub(super) fn public_cidrs_are_public() -> Rule {
    rule(
        r"self.all(item, !item.matches('^(10|127|169[.]254|172[.](1[6-9]|2[0-9]|3[01])|192[.]168|100[.](6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])|22[4-9]|23[0-9])[.]'))",
        "each entry must be a range of public addresses: EKS refuses private, shared and reserved ones here. From inside the \
         VPC and peered networks the private endpoint is used",
    )
}

// Tags, labels, taints.

pub(super) fn tag_keys() -> Rule {
    rule(
        r"self.all(key, key.size() <= 128 && key.matches(r'^[\p{L}\p{Z}\p{N}_.:/=+@-]+$'))",
        "each key must be 1 to 128 letters, digits, spaces or _.:/=+-@, as AWS allows them",
    )
}

pub(super) fn tag_values() -> Rule {
    rule(
        r"self.all(key, self[key].matches(r'^[\p{L}\p{Z}\p{N}_.:/=+@-]*$'))",
        "each value must be letters, digits, spaces or _.:/=+-@, as AWS allows them",
    )
}

pub(super) fn tag_keys_not_reserved() -> Rule {
    refuse(
        "self.all(key, key.lowerAscii() != 'name' && !key.lowerAscii().startsWith('aws:') && !key.lowerAscii().startsWith('keelson.dev/') \
         && !key.startsWith('kubernetes.io/cluster/') && !key.startsWith('kubernetes.io/role/'))",
        "Name, in any case, and keys that begin with aws:, keelson.dev/, kubernetes.io/cluster/ or kubernetes.io/role/ are set by AWS or by \
         Keelson: choose another key",
    )
}

/// IAM treats `Team` and `team` as equal and rejects both; EC2 and EKS do not.
pub(super) fn tag_keys_differ_beyond_case() -> Rule {
    rule(
        "self.all(key, self.all(other, key == other || key.lowerAscii() != other.lowerAscii()))",
        "two keys differ only in case, and IAM treats them as equal: remove one of them",
    )
}

const LABEL_KEY: &str = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$";
const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";

pub(super) fn label_keys() -> Rule {
    rule(
        format!("self.all(key, key.size() <= 317 && key.matches(r'{LABEL_KEY}'))"),
        "each key must be a Kubernetes label key, such as workload or example.com/workload",
    )
}

/// Labels that EKS rejects, or that keep kubelets from starting.
pub(super) fn label_keys_not_reserved() -> Rule {
    const RESERVED: &str = r"^([^/]*\.)?(kubernetes\.io|k8s\.io|eks\.amazonaws\.com)/";
    const OPEN: &str = r"^([^/]*\.)?(node|kubelet)\.kubernetes\.io/";
    refuse(
        format!("self.all(key, !key.matches(r'{RESERVED}') || key.matches(r'{OPEN}'))"),
        "nodes cannot set labels of eks.amazonaws.com, kubernetes.io or k8s.io, except node.kubernetes.io and \
         kubelet.kubernetes.io: choose another prefix",
    )
}

pub(super) fn label_values() -> Rule {
    rule(
        format!("self.all(key, self[key].matches(r'{LABEL_VALUE}'))"),
        "each value must be a Kubernetes label value: up to 63 letters, digits, '-', '_' and '.'; quote true, false and numbers",
    )
}

pub(super) fn label_key() -> Rule {
    matches(LABEL_KEY, "must be a Kubernetes label key, such as spot or example.com/spot")
}

pub(super) fn label_value() -> Rule {
    matches(LABEL_VALUE, "must be up to 63 letters, digits, '-', '_' and '.'")
}
