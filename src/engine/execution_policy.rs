//! Which steps of a plan may run, by policy and approval. Pure.
//!
//! The planner holds steps that are not approved, and shows them; the checker verifies this again before execution.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::action::{Action, Goal};
use super::change::Change;
use super::key::Key;
use super::plan::{HoldReason, Plan, Step, Verdict};

/// Short digest of what a step does, which an approval names. Equal for the same change of the same resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(String);

impl StepId {
    /// Reads a stored id.
    pub fn parse(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Approved steps.
pub type Approved = BTreeSet<(Key, StepId)>;

/// What a plan belongs to. An approval is valid for this object, spec generation and deletion request only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// UID of the object.
    pub uid: String,
    /// Generation of its spec.
    pub generation: Option<i64>,
    /// When its deletion was requested, if it was.
    pub deleted_at: Option<Timestamp>,
}

/// Names and values that a plan shows of the resources it creates or deletes.
pub type Facts = BTreeMap<Key, Vec<(&'static str, String)>>;

/// Bytes of a plan's hash.
const HASH_BYTES: usize = 8;

/// Steps that may run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllowedSteps {
    /// All.
    #[default]
    All,
    /// None: observe only.
    None,
    /// Only these. An approved create also covers the updates that complete the created resource.
    Only(Approved),
}

/// Known drift: resource, field, and the desired value when it was observed.
pub type Known = BTreeSet<(Key, String, String)>;

/// Policy for drift.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Drift {
    /// Correct it like any other difference.
    #[default]
    Correct,
    /// Report it and leave it unchanged.
    Report {
        /// The cloud matched the current spec once: every difference is drift.
        synced: bool,
        /// Drift from before the last edit of the spec that still exists.
        known: Known,
        /// Fields whose desired value changes without an edit: never drift.
        followed: BTreeSet<String>,
    },
}

/// Field name for drift of the resource itself: it was deleted.
pub const EXISTENCE: &str = "";

/// What may run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecutionPolicy {
    /// Which steps.
    pub allowed: AllowedSteps,
    /// What happens to drift.
    pub drift: Drift,
    /// Digest of the desired state: an approved create is valid for it only.
    pub wanted: String,
    /// Digest of the deleted object whose resources are recovered: an approved adoption is valid for it only.
    pub recovers: Option<String>,
    /// A user holds the object: no step starts, and what is in progress is finished.
    pub on_hold: bool,
}

impl ExecutionPolicy {
    /// Why a step is held; `None`: it may run.
    pub fn holds(&self, key: &Key, step: &Step) -> Option<HoldReason> {
        let on_hold = self.on_hold.then_some(HoldReason::OnHold);
        match &self.allowed {
            AllowedSteps::All => on_hold,
            AllowedSteps::None => Some(HoldReason::Observe),
            AllowedSteps::Only(approved) => {
                let has = |id: &StepId| approved.contains(&(key.clone(), id.clone()));
                let completes = || matches!(step.action, Action::Update) && has(&self.create_id(key));
                let is_approved = self.ids(key, step).iter().all(has) || completes();
                if is_approved { on_hold } else { Some(HoldReason::Approval) }
            }
        }
    }

    /// True for drift that is reported and not corrected.
    pub fn ignores_drift(&self, key: &Key, change: &Change) -> bool {
        self.ignores_field(key, &change.field, &change.to)
    }

    /// True for a deleted resource that is reported and not recreated.
    pub fn ignores_deletion(&self, key: &Key) -> bool {
        self.ignores_field(key, EXISTENCE, "")
    }

    fn ignores_field(&self, key: &Key, field: &str, wanted: &str) -> bool {
        match &self.drift {
            Drift::Correct => false,
            Drift::Report { followed, .. } if followed.contains(field) => false,
            Drift::Report { synced, known, .. } => {
                *synced || known.contains(&(key.clone(), field.to_owned(), wanted.to_owned()))
            }
        }
    }

    /// The digests of a step: one per change of an update, because EKS accepts changes one at a time.
    pub fn ids(&self, key: &Key, step: &Step) -> Vec<StepId> {
        match step.action {
            Action::Create if step.changes.is_empty() => vec![self.create_id(key)],
            Action::Adopt if self.recovers.is_some() => {
                vec![id(key, Action::Adopt, &[self.recovers.as_deref().unwrap_or_default()])]
            }
            action if step.changes.is_empty() => vec![id(key, action, &[])],
            action => {
                step.changes.iter().map(|Change { field, from, to, .. }| id(key, action, &[field, from, to])).collect()
            }
        }
    }

    fn create_id(&self, key: &Key) -> StepId {
        id(key, Action::Create, &[&self.wanted])
    }

    /// The digests of all steps of a plan, and of the steps that follow it.
    pub fn ids_of(&self, plan: &Plan, ahead: &[(Key, Step)]) -> Approved {
        let steps = plan.steps().chain(ahead.iter().map(|(key, step)| (key, step)));
        steps.flat_map(|(key, step)| self.ids(key, step).into_iter().map(|id| (key.clone(), id))).collect()
    }

    /// The hash of a plan, which an approval names. It covers the subject, the goal, and each step with its values,
    /// whatever their progress. Empty when there are no steps.
    pub fn hash(&self, subject: &Subject, plan: &Plan, ahead: &[(Key, Step)], facts: &Facts) -> String {
        let mut lines: BTreeSet<String> =
            self.ids_of(plan, ahead).iter().map(|(key, id)| format!("{key} {id}")).collect();
        if lines.is_empty() {
            return String::new();
        }
        let created = plan.steps().filter(|(_, step)| step.action == Action::Create);
        for (key, _) in created {
            lines.extend(facts.get(key).into_iter().flatten().map(|(name, value)| format!("{key} {name}={value:?}")));
        }
        lines.extend(plan.items.iter().filter_map(|item| match &item.verdict {
            Verdict::DeletedWith(host) => Some(format!("{} with {host}", item.key)),
            _ => None,
        }));
        let Subject { uid, generation, deleted_at } = subject;
        let goal = match plan.goal {
            Goal::Present => "present",
            Goal::Deleted => "deleted",
            Goal::Retained => "retained",
        };
        let deleted_at = deleted_at.map(|at| at.as_second());
        let head = format!("{uid}\0{generation:?}\0{goal}\0{deleted_at:?}");
        let text = lines.into_iter().fold(head, |text, line| text + "\n" + &line);
        digest(&text, HASH_BYTES)
    }

    /// The part of `approved` that is still unused: completed or dropped steps need a new approval.
    pub fn unused_approvals(&self, approved: &Approved, plan: &Plan, ahead: &[(Key, Step)]) -> Approved {
        let current = self.ids_of(plan, ahead);
        let is_unused = |(key, step): &(Key, StepId)| {
            let Some(item) = plan.items.iter().find(|item| item.key == *key) else { return false };
            match &item.verdict {
                Verdict::Settled => false,
                // Steps that may follow, and the completion of a created resource.
                Verdict::Step(_) | Verdict::Pending(..) | Verdict::Held(..) => *step == self.create_id(key),
                Verdict::Waiting { .. } | Verdict::DeletedWith(_) | Verdict::NotObserved(_) | Verdict::Blocked(_) => {
                    true
                }
            }
        };
        approved.iter().filter(|one| current.contains(*one) || is_unused(one)).cloned().collect()
    }
}

fn id(key: &Key, action: Action, rest: &[&str]) -> StepId {
    StepId(digest(&format!("{key}\0{}\0{}", action.as_str(), rest.join("\0")), 8))
}

/// The first `bytes` of a SHA-256, in hexadecimal.
pub fn digest(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes()).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan::Item;
    use super::*;

    fn step(action: Action, changes: &[(&str, &str, &str)]) -> Step {
        let changes = changes.iter().map(|(field, from, to)| Change::in_place(*field, *from, *to)).collect();
        Step { action, changes, reason: None }
    }

    fn only(wanted: &str, steps: &[(Key, Step)]) -> ExecutionPolicy {
        let policy = ExecutionPolicy { wanted: wanted.into(), ..ExecutionPolicy::default() };
        let plan = Plan { goal: Goal::Present, items: Vec::new() };
        ExecutionPolicy { allowed: AllowedSteps::Only(policy.ids_of(&plan, steps)), ..policy }
    }

    #[test]
    fn only_approved_steps_may_run() {
        let key = Key::single("cluster");
        let version = step(Action::Update, &[("version", "1.33", "1.34")]);
        let both = step(Action::Update, &[("version", "1.33", "1.34"), ("logging", "", "api")]);
        let create = step(Action::Create, &[]);
        let all = ExecutionPolicy::default();
        assert_eq!(all.holds(&key, &both), None);
        let none = ExecutionPolicy { allowed: AllowedSteps::None, ..ExecutionPolicy::default() };
        assert_eq!(none.holds(&key, &version), Some(HoldReason::Observe));
        let policy = only("spec", &[(key.clone(), version.clone())]);
        assert_eq!(policy.holds(&key, &version), None);
        assert_eq!(policy.holds(&key, &both), Some(HoldReason::Approval), "one of the two is not approved");
        assert_eq!(policy.holds(&key, &create), Some(HoldReason::Approval));
        assert_eq!(policy.holds(&Key::single("vpc"), &version), Some(HoldReason::Approval), "another resource");
        let other_way = step(Action::Update, &[("version", "1.32", "1.34")]);
        assert_eq!(policy.holds(&key, &other_way), Some(HoldReason::Approval), "from another state");
    }

    #[test]
    fn nothing_begins_on_hold_and_approvals_are_still_asked_for() {
        let (key, step) = (Key::single("cluster"), step(Action::Update, &[("version", "1.33", "1.34")]));
        let held = |allowed| ExecutionPolicy { allowed, on_hold: true, ..ExecutionPolicy::default() };
        assert_eq!(held(AllowedSteps::All).holds(&key, &step), Some(HoldReason::OnHold));
        assert_eq!(held(AllowedSteps::None).holds(&key, &step), Some(HoldReason::Observe));
        let unapproved = AllowedSteps::Only(Approved::new());
        assert_eq!(held(unapproved).holds(&key, &step), Some(HoldReason::Approval));
        let approved = only("spec", &[(key.clone(), step.clone())]);
        let held = ExecutionPolicy { on_hold: true, ..approved };
        assert_eq!(held.holds(&key, &step), Some(HoldReason::OnHold));
        // The approval is kept until the hold is removed.
        let AllowedSteps::Only(allowed) = &held.allowed else { unreachable!() };
        let verdict = Verdict::Held(step, HoldReason::OnHold);
        let items = vec![Item { key, verdict, forbidden: Vec::new(), drift: Vec::new() }];
        assert_eq!(held.unused_approvals(allowed, &Plan { goal: Goal::Present, items }, &[]), *allowed);
    }

    #[test]
    fn approved_create_covers_its_completion_and_no_other_spec() {
        let key = Key::single("vpc");
        let create = step(Action::Create, &[]);
        let complete = step(Action::Update, &[("enableDnsHostnames", "false", "true")]);
        let policy = only("one", &[(key.clone(), create.clone())]);
        assert_eq!((policy.holds(&key, &create), policy.holds(&key, &complete)), (None, None));
        assert_eq!(policy.holds(&key, &step(Action::Delete, &[])), Some(HoldReason::Approval));
        let edited = ExecutionPolicy { wanted: "two".into(), ..policy };
        assert_eq!(edited.holds(&key, &create), Some(HoldReason::Approval));
        assert_eq!(edited.holds(&key, &complete), Some(HoldReason::Approval));
    }

    #[test]
    fn approved_adoption_is_valid_for_its_recovery_only() {
        let (key, adopt) = (Key::single("vpc"), step(Action::Adopt, &[]));
        let recovers = |digest: &str| ExecutionPolicy { recovers: Some(digest.into()), ..ExecutionPolicy::default() };
        let approved = recovers("of uid-1").ids(&key, &adopt).into_iter().map(|id| (key.clone(), id)).collect();
        let policy = ExecutionPolicy { allowed: AllowedSteps::Only(approved), ..recovers("of uid-1") };
        assert_eq!(policy.holds(&key, &adopt), None);
        let of_another = ExecutionPolicy { recovers: Some("of uid-2".into()), ..policy.clone() };
        assert_eq!(of_another.holds(&key, &adopt), Some(HoldReason::Approval));
        let adoption = ExecutionPolicy { recovers: None, ..policy };
        assert_eq!(adoption.holds(&key, &adopt), Some(HoldReason::Approval));
    }

    #[test]
    fn completed_steps_use_up_their_approval() {
        let key = |name: &str| Key::named("toy", name);
        let create = step(Action::Create, &[]);
        let update = step(Action::Update, &[("a", "1", "2")]);
        let policy = only("s", &[(key("1"), create.clone()), (key("2"), update.clone()), (key("3"), update.clone())]);
        let AllowedSteps::Only(approved) = &policy.allowed else { unreachable!() };
        let item = |name: &str, verdict| Item { key: key(name), verdict, forbidden: Vec::new(), drift: Vec::new() };
        let completing = step(Action::Update, &[("b", "", "x")]);
        let plan = Plan {
            goal: Goal::Present,
            items: vec![
                item("1", Verdict::Step(completing)),
                item("2", Verdict::Settled),
                item("3", Verdict::NotObserved(None)),
            ],
        };
        let left = policy.unused_approvals(approved, &plan, &[]);
        let keys: Vec<_> = left.iter().map(|(key, _)| key.name().to_owned()).collect();
        assert_eq!(keys, ["1", "3"]);
        // An approval of later steps is retained although none of them is due now.
        let ahead = [(key("2"), update)];
        assert_eq!(policy.unused_approvals(approved, &plan, &ahead).len(), 3);
    }

    #[test]
    fn difference_is_drift_unless_the_spec_changed() {
        let key = Key::single("cluster");
        let logging = Change::in_place("logging", "", "api");
        let report = |synced, known: &[(&str, &str)]| ExecutionPolicy {
            drift: Drift::Report {
                synced,
                known: known.iter().map(|(f, to)| (key.clone(), (*f).into(), (*to).into())).collect(),
                followed: BTreeSet::from(["release".to_owned()]),
            },
            ..ExecutionPolicy::default()
        };
        assert!(!ExecutionPolicy::default().ignores_drift(&key, &logging));
        assert!(report(true, &[]).ignores_drift(&key, &logging) && report(true, &[]).ignores_deletion(&key));
        assert!(!report(false, &[]).ignores_drift(&key, &logging), "an edit");
        assert!(report(false, &[("logging", "api")]).ignores_drift(&key, &logging), "drift from before the edit");
        assert!(!report(false, &[("logging", "audit")]).ignores_drift(&key, &logging), "and then edited");
        assert!(report(false, &[("", "")]).ignores_deletion(&key));
        assert!(
            !report(true, &[]).ignores_drift(&key, &Change::in_place("release", "1", "2")),
            "it changes without \
                                                                                                 an edit"
        );
    }

    #[test]
    fn plan_hash_covers_object_generation_deletion_and_step_values() {
        let vpc = Key::single("vpc");
        let ahead = [(vpc.clone(), step(Action::Update, &[("version", "1.33", "1.34")]))];
        let subject = Subject { uid: "uid-1".into(), generation: Some(3), deleted_at: None };
        let policy = |wanted: &str| ExecutionPolicy { wanted: wanted.into(), ..ExecutionPolicy::default() };
        let created = |goal| {
            let verdict = Verdict::Step(step(Action::Create, &[]));
            let item = Item { key: vpc.clone(), verdict, forbidden: Vec::new(), drift: Vec::new() };
            Plan { goal, items: vec![item] }
        };
        let with_addon = {
            let mut plan = created(Goal::Present);
            let verdict = Verdict::DeletedWith(vpc.clone());
            plan.items.push(Item { key: Key::named("addon", "x"), verdict, forbidden: Vec::new(), drift: Vec::new() });
            plan
        };
        let cidr = |cidr: &str| Facts::from([(vpc.clone(), vec![("cidr", cidr.to_owned())])]);
        let none = Facts::new();
        let present = created(Goal::Present);
        let other_steps = [(vpc.clone(), step(Action::Update, &[("version", "1.33", "1.35")]))];
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let all = [
            policy("s").hash(&subject, &present, &[], &none),
            policy("t").hash(&subject, &present, &[], &none),
            policy("s").hash(&subject, &created(Goal::Deleted), &[], &none),
            policy("s").hash(&subject, &created(Goal::Retained), &[], &none),
            policy("s").hash(&subject, &with_addon, &[], &none),
            policy("s").hash(&subject, &present, &ahead, &none),
            policy("s").hash(&subject, &present, &other_steps, &none),
            policy("s").hash(&subject, &present, &[], &cidr("10.0.0.0/16")),
            policy("s").hash(&subject, &present, &[], &cidr("10.1.0.0/16")),
            policy("s").hash(&Subject { uid: "uid-2".into(), ..subject.clone() }, &present, &[], &none),
            policy("s").hash(&Subject { generation: Some(4), ..subject.clone() }, &present, &[], &none),
            policy("s").hash(&Subject { deleted_at: at(100), ..subject.clone() }, &present, &[], &none),
            policy("s").hash(&Subject { deleted_at: at(101), ..subject.clone() }, &present, &[], &none),
        ];
        assert!(all.iter().all(|hash| hash.len() == 16));
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
        assert_eq!(all[0], policy("s").hash(&subject, &present, &[], &none));
        let nothing = Plan { goal: Goal::Present, items: Vec::new() };
        assert_eq!(policy("s").hash(&subject, &nothing, &[], &none), "");
    }
}
