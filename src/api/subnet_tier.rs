//! The tier of a subnet. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a subnet routes to an internet gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum SubnetTier {
    Private,
    Public,
}
