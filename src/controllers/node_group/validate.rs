//! Validates what can be judged of a NodeGroup's spec before any call. Pure.

use crate::api::{NodeGroup, Reason};
use crate::controllers::account::Refusal;
use crate::controllers::account::refusal::invalid;

/// Validates the spec.
pub fn valid(group: &NodeGroup) -> Result<(), Refusal> {
    let spec = &group.spec;
    spec.version().map_err(|error| invalid("spec.version", &error).caused_by(error))?;
    spec.subnets.kind()?;
    let scaling = &spec.scaling;
    if scaling.min > scaling.max || scaling.initial() < scaling.min || scaling.initial() > scaling.max {
        let message = "spec.scaling: min, desired and max must be in this order";
        return Err(Refusal::new(Reason::InvalidSpec, message));
    }
    // Fields that are part of the API and not implemented yet are rejected; none is ignored silently.
    match crate::api::unsupported::of_node_group(spec).message() {
        Some(message) => Err(Refusal::new(Reason::InvalidSpec, message)),
        None => Ok(()),
    }
}
