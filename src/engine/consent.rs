//! Which steps of a plan may be done, as people decided. Pure.
//!
//! The planner holds back what nobody agreed to, and shows it; the checker asks again before anything is done.

use std::collections::BTreeSet;
use std::fmt;

use sha2::{Digest, Sha256};

use super::key::Key;
use super::plan::{Action, Plan, Step};
use super::resource::Change;

/// What a step does, as a short digest: an approval names it. The same for the same change of the same resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(String);

impl StepId {
    /// One that was kept.
    pub fn kept(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Steps that were agreed to.
pub type Approved = BTreeSet<(Key, StepId)>;

/// Which steps may be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Given {
    /// All.
    #[default]
    All,
    /// None: only looked at.
    None,
    /// These and no others. A create that is in here covers what completes the thing it made.
    Only(Approved),
}

/// A difference that is known: where, which field, and what was wanted when it was noticed.
pub type Known = BTreeSet<(Key, String, String)>;

/// What is done about differences that nobody asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Drift {
    /// They are settled like any others.
    #[default]
    Correct,
    /// They are left alone and told.
    Report {
        /// The cloud matched what is asked for now once: whatever differs is drift.
        synced: bool,
        /// What was drift before something else was asked for, and is the same still.
        known: Known,
        /// Fields that are asked for anew by themselves: never drift.
        followed: BTreeSet<String>,
    },
}

/// Why a step is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing is ever done: only told.
    Observe,
    /// Nobody has agreed to it yet.
    Approval,
    /// Nobody asked for it: it was changed outside, and is left so.
    Drift,
}

/// Field of a difference that is not one of a field: the thing is gone.
pub const EXISTENCE: &str = "";

/// What may be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    /// Which steps.
    pub given: Given,
    /// What is done about drift.
    pub drift: Drift,
    /// Digest of all that is asked for: a create that was agreed to is of that and of no other.
    pub wanted: String,
}

impl Consent {
    /// Why a step is held back; `None`: it may be done.
    pub fn holds(&self, key: &Key, step: &Step) -> Option<Held> {
        match &self.given {
            Given::All => None,
            Given::None => Some(Held::Observe),
            Given::Only(approved) => {
                let has = |id: &StepId| approved.contains(&(key.clone(), id.clone()));
                let completes = || matches!(step.action, Action::Update) && has(&self.create_id(key));
                let agreed = self.ids(key, step).iter().all(has) || completes();
                (!agreed).then_some(Held::Approval)
            }
        }
    }

    /// True for a difference that nobody asked for and that is left alone.
    pub fn leaves(&self, key: &Key, change: &Change) -> bool {
        self.leaves_field(key, &change.field, &change.to)
    }

    /// True for a thing that vanished, and that is not made again by itself.
    pub fn leaves_gone(&self, key: &Key) -> bool {
        self.leaves_field(key, EXISTENCE, "")
    }

    fn leaves_field(&self, key: &Key, field: &str, wanted: &str) -> bool {
        match &self.drift {
            Drift::Correct => false,
            Drift::Report { followed, .. } if followed.contains(field) => false,
            Drift::Report { synced, known, .. } => {
                *synced || known.contains(&(key.clone(), field.to_owned(), wanted.to_owned()))
            }
        }
    }

    /// The digests of a step: one for each change of an update, as EKS takes them in turns.
    pub fn ids(&self, key: &Key, step: &Step) -> Vec<StepId> {
        match step.action {
            Action::Create => vec![self.create_id(key)],
            Action::Update if !step.changes.is_empty() => step
                .changes
                .iter()
                .map(|Change { field, from, to, .. }| id(key, Action::Update, &[field, from, to]))
                .collect(),
            action => vec![id(key, action, &[])],
        }
    }

    fn create_id(&self, key: &Key) -> StepId {
        id(key, Action::Create, &[&self.wanted])
    }

    /// The digests of all steps of a plan, and of those that will follow it.
    pub fn ids_of(&self, plan: &Plan, ahead: &[(Key, Step)]) -> Approved {
        let steps = plan.steps().chain(ahead.iter().map(|(key, step)| (key, step)));
        steps.flat_map(|(key, step)| self.ids(key, step).into_iter().map(|id| (key.clone(), id))).collect()
    }

    /// What of `approved` is not used up: steps that are done, or not asked for any more, need a new agreement.
    pub fn left(&self, approved: &Approved, plan: &Plan, ahead: &[(Key, Step)]) -> Approved {
        use super::plan::Verdict;
        let current = self.ids_of(plan, ahead);
        let is_left = |(key, step): &(Key, StepId)| {
            let Some(item) = plan.items.iter().find(|item| item.key == *key) else { return false };
            match &item.verdict {
                Verdict::Settled => false,
                // Steps that may follow, and the completion of what was made.
                Verdict::Step(_) | Verdict::Pending(..) | Verdict::Held(..) => *step == self.create_id(key),
                Verdict::Waiting { .. } | Verdict::GoesWith(_) | Verdict::Unseen(_) | Verdict::Blocked(_) => true,
            }
        };
        approved.iter().filter(|one| current.contains(*one) || is_left(one)).cloned().collect()
    }
}

/// Hash of a plan by the digests of its steps: the same for the same steps, however far they are. Empty when there are none.
pub fn hash(steps: &Approved) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = steps.iter().map(|(key, id)| format!("{key} {id}\n")).collect();
    digest(&lines.concat(), 4)
}

fn id(key: &Key, action: Action, rest: &[&str]) -> StepId {
    StepId(digest(&format!("{key}\0{}\0{}", action.as_str(), rest.join("\0")), 6))
}

/// The first `bytes` of a SHA-256, in hexadecimal.
pub fn digest(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes()).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Goal, Item, Verdict};
    use super::*;

    fn step(action: Action, changes: &[(&str, &str, &str)]) -> Step {
        let changes = changes.iter().map(|(field, from, to)| Change::in_place(*field, *from, *to)).collect();
        Step { action, changes, reason: None }
    }

    fn only(wanted: &str, steps: &[(Key, Step)]) -> Consent {
        let consent = Consent { wanted: wanted.into(), ..Consent::default() };
        let plan = Plan { goal: Goal::Present, items: Vec::new() };
        Consent { given: Given::Only(consent.ids_of(&plan, steps)), ..consent }
    }

    #[test]
    fn only_what_was_agreed_to_may_be_done() {
        let key = Key::single("cluster");
        let version = step(Action::Update, &[("version", "1.33", "1.34")]);
        let both = step(Action::Update, &[("version", "1.33", "1.34"), ("logging", "", "api")]);
        let create = step(Action::Create, &[]);
        let all = Consent::default();
        assert_eq!(all.holds(&key, &both), None);
        let none = Consent { given: Given::None, ..Consent::default() };
        assert_eq!(none.holds(&key, &version), Some(Held::Observe));
        let agreed = only("spec", &[(key.clone(), version.clone())]);
        assert_eq!(agreed.holds(&key, &version), None);
        assert_eq!(agreed.holds(&key, &both), Some(Held::Approval), "one of the two was not");
        assert_eq!(agreed.holds(&key, &create), Some(Held::Approval));
        assert_eq!(agreed.holds(&Key::single("vpc"), &version), Some(Held::Approval), "of another thing");
        let other_way = step(Action::Update, &[("version", "1.32", "1.34")]);
        assert_eq!(agreed.holds(&key, &other_way), Some(Held::Approval), "from another state");
    }

    #[test]
    fn a_create_covers_its_completion_and_no_other_spec() {
        let key = Key::single("vpc");
        let create = step(Action::Create, &[]);
        let complete = step(Action::Update, &[("enableDnsHostnames", "false", "true")]);
        let agreed = only("one", &[(key.clone(), create.clone())]);
        assert_eq!((agreed.holds(&key, &create), agreed.holds(&key, &complete)), (None, None));
        assert_eq!(agreed.holds(&key, &step(Action::Delete, &[])), Some(Held::Approval));
        let edited = Consent { wanted: "two".into(), ..agreed };
        assert_eq!(edited.holds(&key, &create), Some(Held::Approval));
        assert_eq!(edited.holds(&key, &complete), Some(Held::Approval));
    }

    #[test]
    fn what_is_done_is_used_up() {
        let key = |name: &str| Key::named("toy", name);
        let create = step(Action::Create, &[]);
        let update = step(Action::Update, &[("a", "1", "2")]);
        let agreed = only("s", &[(key("1"), create.clone()), (key("2"), update.clone()), (key("3"), update.clone())]);
        let Given::Only(approved) = &agreed.given else { unreachable!() };
        let item = |name: &str, verdict| Item { key: key(name), verdict, forbidden: Vec::new(), drift: Vec::new() };
        let completing = step(Action::Update, &[("b", "", "x")]);
        let plan = Plan {
            goal: Goal::Present,
            items: vec![
                item("1", Verdict::Step(completing)),
                item("2", Verdict::Settled),
                item("3", Verdict::Unseen(None)),
            ],
        };
        let left = agreed.left(approved, &plan, &[]);
        let keys: Vec<_> = left.iter().map(|(key, _)| key.name().to_owned()).collect();
        assert_eq!(keys, ["1", "3"]);
        // What comes later is kept though nothing of it is due now.
        let ahead = [(key("2"), update)];
        assert_eq!(agreed.left(approved, &plan, &ahead).len(), 3);
    }

    #[test]
    fn drift_is_what_differs_though_nothing_else_is_asked_for() {
        let key = Key::single("cluster");
        let logging = Change::in_place("logging", "", "api");
        let report = |synced, known: &[(&str, &str)]| Consent {
            drift: Drift::Report {
                synced,
                known: known.iter().map(|(f, to)| (key.clone(), (*f).into(), (*to).into())).collect(),
                followed: BTreeSet::from(["release".to_owned()]),
            },
            ..Consent::default()
        };
        assert!(!Consent::default().leaves(&key, &logging));
        assert!(report(true, &[]).leaves(&key, &logging) && report(true, &[]).leaves_gone(&key));
        assert!(!report(false, &[]).leaves(&key, &logging), "an edit");
        assert!(report(false, &[("logging", "api")]).leaves(&key, &logging), "drift from before an edit");
        assert!(!report(false, &[("logging", "audit")]).leaves(&key, &logging), "and then edited");
        assert!(report(false, &[("", "")]).leaves_gone(&key));
        assert!(!report(true, &[]).leaves(&key, &Change::in_place("release", "1", "2")), "it is followed");
    }

    #[test]
    fn the_hash_names_the_steps_and_nothing_else() {
        let one = only("s", &[(Key::single("vpc"), step(Action::Create, &[]))]);
        let other = only("t", &[(Key::single("vpc"), step(Action::Create, &[]))]);
        let of = |consent: &Consent| match &consent.given {
            Given::Only(steps) => hash(steps),
            _ => unreachable!(),
        };
        assert_eq!(of(&one), of(&one));
        assert_ne!(of(&one), of(&other));
        assert_eq!(of(&one).len(), 8);
        assert_eq!(hash(&Approved::new()), "");
    }
}
