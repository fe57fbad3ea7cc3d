//! Taking over the resources of an earlier object of the same name: what may be taken, and the write of its tags.

pub mod evidence;
pub mod instructions;
pub mod retag;
pub mod takeover;
