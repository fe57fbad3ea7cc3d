//! What a plan comes to, for exit codes and summaries: whether it changes anything, and what of it cannot be done. Pure.

use super::planned::Planned;
use crate::controllers::status::plan_status;
use crate::controllers::status::progress::{ResourceProgress, is_as_asked, label, resource_progress};
use crate::engine::{Goal, Item, Verdict};

/// Whether the item is something to do.
fn changes(item: &Item) -> bool {
    match &item.verdict {
        Verdict::Pending(step, waits) => !is_as_asked(step, waits),
        Verdict::Step(_) | Verdict::Held(..) | Verdict::Waiting { .. } | Verdict::DeletedWith(_) => true,
        Verdict::Settled | Verdict::NotObserved(_) | Verdict::Blocked(_) => false,
    }
}

/// Whether the plan changes something.
pub fn has_changes(planned: &Planned) -> bool {
    !planned.upgrade.is_empty() || planned.plan.items.iter().any(changes)
}

/// What cannot be done: resources of others, what failed or cannot be read, fields that cannot change, versions that AWS
/// does not offer.
pub fn problems(planned: &Planned) -> Vec<String> {
    let of_item = |item: &Item| match &item.verdict {
        _ if !item.forbidden.is_empty() => {
            Some(format!("{}: cannot be changed: {}", label(&item.key), plan_status::format_changes(&item.forbidden)))
        }
        Verdict::Blocked(_) | Verdict::NotObserved(Some(_)) => {
            match resource_progress(item, Goal::Present, jiff::Timestamp::now()) {
                ResourceProgress::Stalled { message, .. } | ResourceProgress::Progressing { message, .. } => {
                    Some(message)
                }
                ResourceProgress::Settled | ResourceProgress::Held { .. } => None,
            }
        }
        _ => None,
    };
    let of_items = planned.plan.items.iter().filter_map(of_item);
    of_items.chain(planned.problems.iter().cloned()).map(|problem| format!("{}: {problem}", planned.title)).collect()
}
