//! The GitOps agent as a step of the cluster's plan: installed, changed field by field, or no longer kept. It is shown, hashed
//! and approved like the steps in AWS. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::api::gitops::GitOps;
use crate::api::status::{AgentField, EksClusterStatus, MAX_AGENT_FIELDS, StepState};
use crate::controllers::cluster::facts::cluster_key;
use crate::engine::consent::digest;
use crate::engine::failure::span;
use crate::engine::{Action, Change, Consent, Item, Key, Step, Verdict, WaitingOn};
use crate::gitops::{argocd, flux};

/// Longest value that is kept as it is; of a longer one its beginning and a digest.
const LONGEST: usize = 512;
/// What the agent's step is called.
const KIND: &str = "gitOpsAgent";

/// The agent's place in the plan.
pub fn key() -> Key {
    Key::single(KIND)
}

/// What an agent is asked to be: each field of `spec.gitops`, with what it comes to where it is absent.
pub type Fields = BTreeMap<String, String>;

/// What the spec asks for; empty: no agent.
pub fn wanted(gitops: Option<&GitOps>) -> Fields {
    let mut fields = Fields::new();
    let Some(gitops) = gitops else { return fields };
    flatten("", &serde_json::to_value(gitops).unwrap_or_default(), &mut fields);
    let mut default = |field: &str, value: &str| {
        fields.entry(field.to_owned()).or_insert_with(|| value.to_owned());
    };
    if gitops.flux.is_some() {
        default("flux.version", flux::Version::NEWEST.as_str());
    }
    if gitops.argocd.is_some() {
        default("argocd.version", argocd::input::VERSION);
    }
    if !fields.is_empty() {
        // Nothing that Git has adopted stays ours: a part of what is approved, as it is written without being asked for again.
        fields.insert("handover".to_owned(), "each object, once Git has adopted it".to_owned());
    }
    fields
}

fn flatten(at: &str, value: &Value, into: &mut Fields) {
    match value {
        Value::Null => {}
        Value::Object(members) => {
            for (name, member) in members {
                let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                flatten(&at, member, into);
            }
        }
        Value::String(text) => drop(into.insert(at.to_owned(), shortened(text))),
        other => drop(into.insert(at.to_owned(), shortened(&other.to_string()))),
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let start: String = text.chars().take(LONGEST - 64).collect();
    format!("{start}… (sha256 {})", digest(text, 16))
}

/// What the agent was last brought to, as status keeps it; `None`: there is none. A status of a Keelson that did not keep it
/// tells of an agent all the same: it is as the spec says, as long as nobody has edited that since.
pub fn applied(previous: &EksClusterStatus, generation: Option<i64>, wanted: &Fields) -> Option<Fields> {
    let gitops = previous.gitops.as_ref()?;
    if !gitops.applied.is_empty() {
        return Some(gitops.applied.iter().map(|one| (one.field.clone(), one.value.clone())).collect());
    }
    let was_there = gitops.last_contact.is_some() && previous.observed_generation == generation;
    was_there.then(|| wanted.clone()).filter(|fields| !fields.is_empty())
}

/// The same, for status.
pub fn for_status(fields: &Fields) -> Vec<AgentField> {
    let one = |(field, value): (&String, &String)| AgentField { field: field.clone(), value: value.clone() };
    fields.iter().map(one).take(MAX_AGENT_FIELDS).collect()
}

/// What is to be done with the agent.
pub fn step(wanted: &Fields, applied: Option<&Fields>) -> Option<Step> {
    let none = Fields::new();
    let before = applied.unwrap_or(&none);
    let action = match (wanted.is_empty(), applied.is_none()) {
        (true, true) => return None,
        (false, true) => Action::Create,
        (true, false) => Action::Release,
        (false, false) => Action::Update,
    };
    let of = |fields: &Fields, field: &str| fields.get(field).cloned().unwrap_or_default();
    let names: std::collections::BTreeSet<_> = wanted.keys().chain(before.keys()).collect();
    let changes: Vec<_> = names
        .into_iter()
        .map(|field| Change::in_place(field.as_str(), of(before, field), of(wanted, field)))
        .filter(|change| change.from != change.to)
        .collect();
    (!changes.is_empty()).then_some(Step { action, changes, reason: None })
}

/// How long it takes until the agent has applied its path once.
pub fn expected(action: Action) -> Duration {
    Duration::from_secs(match action {
        // Images, start, and the first sync.
        Action::Create => 90,
        Action::Update => 30,
        _ => 1,
    })
}

/// The step in the plan: held, waiting for the control plane, or under way.
pub fn item(step: Step, consent: &Consent, has_api: bool, previous: &EksClusterStatus, now: Timestamp) -> Item {
    let key = key();
    let verdict = match consent.holds(&key, &step) {
        Some(held) => Verdict::Held(step, held),
        None if !has_api => Verdict::Pending(step, vec![WaitingOn::Resource(cluster_key())]),
        None => {
            let since = since(previous).unwrap_or(now);
            let until = since.saturating_add(span(expected(step.action))).unwrap_or(since);
            Verdict::Waiting { action: step.action, since, until, note: String::new(), operation: None }
        }
    };
    Item { key, verdict, forbidden: Vec::new(), drift: Vec::new() }
}

/// Since when it is under way, as the last status says.
fn since(previous: &EksClusterStatus) -> Option<Timestamp> {
    let steps = &previous.plan.as_ref()?.steps;
    let step = steps.iter().find(|step| step.resource == KIND && step.state == StepState::Running)?;
    step.since.as_ref().map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::consent::{Given, Held};

    fn gitops(change: impl FnOnce(&mut Value)) -> GitOps {
        let mut gitops = json!({"flux": {
            "path": "clusters/demo",
            "source": {"git": {"url": "https://example.com/fleet", "ref": {"branch": "main"}}},
        }});
        change(&mut gitops);
        serde_json::from_value(gitops).unwrap()
    }

    fn fields(change: impl FnOnce(&mut Value)) -> Fields {
        wanted(Some(&gitops(change)))
    }

    fn changes(step: Option<Step>) -> (Action, Vec<String>) {
        let step = step.unwrap();
        let one = |Change { field, from, to, .. }: &Change| format!("{field}: {from} -> {to}");
        (step.action, step.changes.iter().map(one).collect())
    }

    #[test]
    fn an_edit_of_the_agent_is_a_step_with_the_fields_that_change() {
        let before = fields(|_| ());
        assert_eq!(step(&before, Some(&before)), None);
        assert_eq!(step(&Fields::new(), None), None);
        let edited = fields(|gitops| {
            gitops["flux"]["path"] = "clusters/other".into();
            gitops["flux"]["source"]["git"]["url"] = "https://example.com/theirs".into();
            gitops["flux"]["version"] = "v2.7.5".into();
        });
        let (action, lines) = changes(step(&edited, Some(&before)));
        assert_eq!(action, Action::Update);
        let newest = flux::Version::NEWEST;
        assert_eq!(
            lines,
            [
                "flux.path: clusters/demo -> clusters/other".to_owned(),
                "flux.source.git.url: https://example.com/fleet -> https://example.com/theirs".to_owned(),
                format!("flux.version: {newest} -> v2.7.5"),
            ]
        );
    }

    #[test]
    fn installation_and_removal_are_steps_that_name_source_path_version_and_handover() {
        let all = fields(|_| ());
        let (action, lines) = changes(step(&all, None));
        assert_eq!(action, Action::Create);
        for part in ["flux.path:  -> clusters/demo", "flux.version:  -> v2", "git.url:  -> https", "handover:  -> each"]
        {
            assert!(lines.iter().any(|line| line.contains(part)), "{part} in {lines:?}");
        }
        assert_eq!(changes(step(&Fields::new(), Some(&all))).0, Action::Release);
    }

    #[test]
    fn an_approved_step_is_of_its_values() {
        let install = step(&fields(|_| ()), None).unwrap();
        let other = step(&fields(|gitops| gitops["flux"]["path"] = "clusters/other".into()), None).unwrap();
        let consent = Consent::default();
        let approved = consent.ids(&key(), &install).into_iter().map(|id| (key(), id)).collect();
        let consent = Consent { given: Given::Only(approved), ..consent };
        let verdict =
            |step: Step| item(step, &consent, true, &EksClusterStatus::default(), Timestamp::UNIX_EPOCH).verdict;
        assert!(matches!(verdict(install), Verdict::Waiting { action: Action::Create, .. }));
        assert!(matches!(verdict(other), Verdict::Held(_, Held::Approval)));
    }

    #[test]
    fn an_agent_of_an_older_keelson_is_as_the_spec_says_unless_that_was_edited() {
        let all = fields(|_| ());
        let mut previous = EksClusterStatus { observed_generation: Some(3), ..EksClusterStatus::default() };
        assert_eq!(applied(&previous, Some(3), &all), None);
        let contact = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
        previous.gitops = Some(crate::api::status::GitOpsStatus { last_contact: contact, ..Default::default() });
        assert_eq!(applied(&previous, Some(3), &all), Some(all.clone()));
        assert_eq!(applied(&previous, Some(4), &all), None);
        previous.gitops.as_mut().unwrap().applied = for_status(&all);
        assert_eq!(applied(&previous, Some(4), &Fields::new()), Some(all));
    }

    #[test]
    fn a_long_value_is_shortened_and_still_told_apart() {
        let long = |end: &str| shortened(&format!("{}{end}", "x".repeat(600)));
        assert!(long("a").chars().count() <= LONGEST && long("a") != long("b"));
    }
}
