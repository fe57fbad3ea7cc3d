//! One file per kind of AWS resource: the desired state, the observed state, their diff, and how to create, update and
//! delete it.
//!
//! Not allowed here: Kubernetes clients. I/O: through [`crate::aws`] only.
//!
//! [`graph`] turns a spec into the graph of resources that must exist, and has the table of kinds; [`network`], [`iam`],
//! [`eks`] and [`karpenter`] have the kinds; [`aws_validation`] checks a spec against AWS before the first write; [`inventory`] lists
//! what exists; [`deletion`] finds what goes besides the graph; [`recovery`] takes over; [`tag_calls`] writes tags. To add a kind: a file in the
//! folder of its service, a line in [`graph::kinds`], and one in [`graph::expand`].

pub mod account_checks;
pub mod aws_validation;
pub mod cloud;
pub mod deletion;
pub mod eks;
pub mod graph;
pub mod iam;
pub mod inventory;
pub mod karpenter;
pub mod network;
pub mod owner;
pub mod recovery;
pub mod tag_calls;
