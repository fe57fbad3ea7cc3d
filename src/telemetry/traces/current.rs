//! The trace and span that the current thread works on, for log lines. No I/O.
//!
//! A future enters its spans each time it is polled, so the thread always has those of the running future.

use std::cell::RefCell;

use super::ids::{SpanId, TraceId};

thread_local! {
    static ENTERED: RefCell<Vec<(TraceId, SpanId)>> = const { RefCell::new(Vec::new()) };
}

/// The innermost span; `None`: no trace.
pub fn current() -> Option<(TraceId, SpanId)> {
    ENTERED.with_borrow(|entered| entered.last().copied())
}

pub(super) fn enter(trace: TraceId, span: SpanId) {
    ENTERED.with_borrow_mut(|entered| entered.push((trace, span)));
}

pub(super) fn exit(span: SpanId) {
    ENTERED.with_borrow_mut(|entered| {
        // Spans are left in any order.
        if let Some(at) = entered.iter().rposition(|(_, id)| *id == span) {
            entered.remove(at);
        }
    });
}
