//! News of what others changed in AWS: CloudTrail's events, which EventBridge rules put into a queue.
//!
//! [`event`] reads them and is pure; [`queue`] fetches them. What they mean for an object is decided by who knows objects.
//! Nothing hangs on them: what they do not tell, or not in time, is found by polling. I/O: SQS.

pub mod event;
pub mod queue;

pub use event::{Event, Message, RejectedMessage};
pub use queue::Queue;
