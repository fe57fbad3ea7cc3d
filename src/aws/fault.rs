//! A fault for the crash tests, in debug builds only: the reconcile that made a write panics once AWS has answered.
//!
//! The emulator can kill the process between a write and its answer, and it can lose the answer; it cannot make one reconcile
//! of a living process fail in the middle. Nothing of this is in a release build. I/O: reads an environment variable, once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::call::{Service, is_write};

/// Every so many writes.
const VARIABLE: &str = "KEELSON_FAULT_PANIC_AFTER_WRITE";

/// Panics, if this write is one of those.
pub(super) fn after_write(service: Service, action: &str) {
    static EVERY: OnceLock<Option<u32>> = OnceLock::new();
    static WRITES: AtomicU32 = AtomicU32::new(0);
    let every = *EVERY.get_or_init(|| std::env::var(VARIABLE).ok()?.parse().ok().filter(|every| *every > 0));
    if let Some(every) = every
        && is_write(service, action)
        && service != Service::Sqs
        && (WRITES.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(every)
    {
        // Unwinds as a panic does, without its message: that would look like an error of ours in the log.
        std::panic::resume_unwind(Box::new(format!("{VARIABLE}: after {service} {action}")));
    }
}
