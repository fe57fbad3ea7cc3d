//! CEL rules of FleetRollouts. No I/O.

use kube::core::Rule;

pub(super) fn wave_name() -> Rule {
    Rule::new("self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self != 'unmatched'").message(
        "must be lower case letters, digits and '-', and not unmatched, which is the wave of clusters that no other one selects",
    )
}

pub(super) fn selector_values() -> Rule {
    Rule::new(
        "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : !has(self.values) || self.values.size() == 0",
    )
    .message("In and NotIn need values, Exists and DoesNotExist take none")
    .field_path(".values")
}
