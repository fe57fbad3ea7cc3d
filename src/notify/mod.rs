//! Notifications: events of what needs a person, in the format of CloudEvents, to one HTTP endpoint.
//!
//! Not allowed here: Kubernetes clients, AWS, the engine, resources. I/O: HTTP to that endpoint, through the proxy of the
//! environment if there is one, and the file with the keys that sign.
//!
//! What needs a person is a fact of the objects ([`needs`], pure), not of what happened: a process that starts finds the
//! same needs with the same ids and sends them again, so that nothing is lost and receivers can tell what they have. The
//! [`outbox`] (pure) decides what is sent next, and [`send`] sends it.

pub mod cloud_event;
pub mod needs;
pub mod outbox;
pub mod send;
mod signature;

pub use needs::Need;
pub use outbox::Outbox;
pub use send::{Outcome, Sender, Target};
