//! External changes in AWS: CloudTrail events that EventBridge rules put into a queue.
//!
//! [`event`] parses them and is pure; [`queue`] receives them. Their meaning for an object is decided where objects are
//! known. Nothing depends on them: polling finds what is missing or late. I/O: SQS.

pub mod event;
pub mod queue;

pub use event::{Event, Message, RejectedMessage};
pub use queue::Queue;
