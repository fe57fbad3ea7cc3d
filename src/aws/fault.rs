//! Fault injection for the crash tests, in debug builds only: a reconcile panics right after AWS answers one of its
//! writes.
//!
//! The emulator can kill the process between a write and its response, and it can lose the response; it cannot make one
//! reconcile of a running process fail in the middle. Release builds contain none of this. I/O: reads an environment
//! variable, once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::service::{Service, is_write};

/// The interval, in writes.
const VARIABLE: &str = "KEELSON_FAULT_PANIC_AFTER_WRITE";

/// Panics after every n-th write.
pub(super) fn after_write(service: Service, action: &str) {
    static EVERY: OnceLock<Option<u32>> = OnceLock::new();
    static WRITES: AtomicU32 = AtomicU32::new(0);
    let every = *EVERY.get_or_init(|| std::env::var(VARIABLE).ok()?.parse().ok().filter(|every| *every > 0));
    if let Some(every) = every
        && is_write(service, action)
        && service != Service::Sqs
        && (WRITES.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(every)
    {
        tracing::info!(%service, action, "fault injected: this reconcile panics");
        // Unwinds like a panic, but without its message, which would look like a bug in the log.
        std::panic::resume_unwind(Box::new(format!("{VARIABLE}: after {service} {action}")));
    }
}
