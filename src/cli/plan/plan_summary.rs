//! What a plan comes to, for exit codes and summaries: whether it changes anything, and what of it cannot be done. Pure.

use super::planned::Planned;
use crate::controllers::status::plan_status;
use crate::controllers::status::progress::{ResourceProgress, is_as_asked, label, resource_progress};
use crate::engine::{Block, Goal, Item, Key, Verdict};

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

/// Something that cannot be done.
pub struct Obstacle {
    /// The resource; `None`: the object as a whole.
    pub key: Option<Key>,
    pub message: String,
    /// What to do.
    pub advice: &'static str,
}

/// What cannot be done: resources of others, what failed or cannot be read, fields that cannot change, versions that AWS
/// does not offer.
pub fn obstacles(planned: &Planned) -> Vec<Obstacle> {
    let of_items = planned.plan.items.iter().filter_map(of_item);
    let of_object =
        |message: &String| Obstacle { key: None, message: message.clone(), advice: "correct what the message names" };
    of_items.chain(planned.problems.iter().map(of_object)).collect()
}

fn of_item(item: &Item) -> Option<Obstacle> {
    let obstacle = |message, advice| Some(Obstacle { key: Some(item.key.clone()), message, advice });
    if !item.forbidden.is_empty() {
        let changes = plan_status::format_changes(&item.forbidden);
        let message = format!("{}: cannot be changed: {changes}", label(&item.key));
        return obstacle(message, "keep the field as it is in AWS, or create the object again");
    }
    let advice = match &item.verdict {
        Verdict::Blocked(Block::Foreign(_)) => {
            "if an earlier object of this name left it, keelson recover; if it is yours, adopt it (docs/import.md); \
             otherwise delete it in AWS, or choose another name"
        }
        Verdict::Blocked(Block::Irreplaceable(_)) => "do what the message says",
        Verdict::Blocked(Block::Failed(..)) | Verdict::NotObserved(Some(_)) => {
            "see `keelson plan --live`, correct what it names"
        }
        _ => return None,
    };
    match resource_progress(item, Goal::Present, jiff::Timestamp::now()) {
        ResourceProgress::Stalled { message, .. } | ResourceProgress::Progressing { message, .. } => {
            obstacle(message, advice)
        }
        ResourceProgress::Settled | ResourceProgress::Held { .. } => None,
    }
}

/// The same as lines, with the object.
pub fn problems(planned: &Planned) -> Vec<String> {
    obstacles(planned).into_iter().map(|one| format!("{}: {}", planned.title, one.message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Class, Graph, Plan};

    #[test]
    fn every_blocked_resource_is_an_obstacle_with_advice() {
        let blocks = [
            Block::Foreign("belongs to default/other".into()),
            Block::Failed(Class::Unknown, "CREATE_FAILED".into()),
            Block::Irreplaceable("create another cluster".into()),
        ];
        let key = Key::parse("logGroup");
        let item = |block: &Block| Item {
            key: key.clone(),
            verdict: Verdict::Blocked(block.clone()),
            forbidden: Vec::new(),
            drift: Vec::new(),
        };
        let items: Vec<Item> = blocks.iter().map(item).collect();
        let plan = Plan { goal: Goal::Present, items };
        let planned = Planned::new(
            "EksCluster default/demo".into(),
            String::new(),
            Graph::new(Vec::new(), Vec::new()).unwrap(),
            plan,
        );
        let found = obstacles(&planned);
        let texts = ["belongs to default/other", "CREATE_FAILED", "create another cluster"];
        assert_eq!(found.len(), texts.len());
        for (one, text) in found.iter().zip(texts) {
            assert!(one.message.contains(text) && !one.advice.is_empty(), "{}", one.message);
        }
        assert!(found[0].advice.contains("keelson recover"));
        assert!(problems(&planned)[0].starts_with("EksCluster default/demo: "));
    }
}
