//! CEL rules for what EKS cannot change in a node group that exists: refused, or allowed by `replacementPolicy`. No I/O.

use kube::core::{Reason, Rule};

/// The edit leads to a replacement: the policy asks for it, and status has the digest of what it is compared with.
const REPLACED: &str =
    "self.spec.replacementPolicy == 'MakeBeforeBreak' && has(oldSelf.status) && has(oldSelf.status.immutableDigest)";

const INSTEAD: &str = "create a new NodeGroup with the other value and delete this one, or set replacementPolicy: MakeBeforeBreak, \
                       with which Keelson creates a node group beside the old one, drains that one and deletes it";

fn refuse(same: &str, field: &str, message: &str) -> Rule {
    Rule::new(format!("({same}) || ({REPLACED})"))
        .message(format!("{message}, {INSTEAD}").as_str())
        .reason(Reason::FieldValueForbidden)
        .field_path(format!(".spec.{field}"))
}

fn rule(cel: &str, message: &str) -> Rule {
    Rule::new(cel).message(message)
}

/// A field that is always set changes only by a replacement. For the NodeGroup.
pub(super) fn replaced_if_other(field: &str, message: &str) -> Rule {
    refuse(&format!("self.spec.{field} == oldSelf.spec.{field}"), field, message)
}

/// An optional field changes only by a replacement. For the NodeGroup.
pub(super) fn replaced_if_other_member(field: &str, message: &str) -> Rule {
    refuse(&same("spec", field), field, message)
}

/// A launch template is added, removed or exchanged only by a replacement. For the NodeGroup.
pub(super) fn replaced_if_other_template() -> Rule {
    let (is_same, both) = (
        |member| same("spec.launchTemplate", member),
        "has(self.spec.launchTemplate) == has(oldSelf.spec.launchTemplate)",
    );
    refuse(
        &format!("{both} && (!has(self.spec.launchTemplate) || ({} && {}))", is_same("id"), is_same("name")),
        "launchTemplate",
        "a launch template can be neither added, removed nor replaced, only its version can change: put the old value back",
    )
}

fn same(path: &str, member: &str) -> String {
    let (new, old) = (format!("self.{path}.{member}"), format!("oldSelf.{path}.{member}"));
    format!("has({new}) == has({old}) && (!has({new}) || {new} == {old})")
}

/// What has begun ends, or is taken back. For the NodeGroup.
pub(super) fn replacement_ends_before_its_policy() -> Rule {
    Rule::new(
        "self.spec.replacementPolicy == oldSelf.spec.replacementPolicy || self.spec.replacementPolicy == 'MakeBeforeBreak' \
         || !has(oldSelf.status) || !has(oldSelf.status.replacement)",
    )
    .message(
        "a replacement of the node group is in progress (status.replacement): leave replacementPolicy: MakeBeforeBreak until it \
         has ended, or put the field that began it back to its old value",
    )
    .reason(Reason::FieldValueForbidden)
    .field_path(".spec.replacementPolicy")
}

/// The reserved instances are in use by the old nodes. For the spec.
pub(super) fn replacement_without_capacity_block() -> Rule {
    rule(
        "self.capacityType != 'CapacityBlock' || self.replacementPolicy != 'MakeBeforeBreak'",
        "a Capacity Block has no instances for a second node group beside the first: remove replacementPolicy, and replace the \
         NodeGroup by hand",
    )
    .field_path(".replacementPolicy")
}
