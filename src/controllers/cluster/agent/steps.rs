//! The GitOps agent as a step of the cluster's plan: installed, changed field by field, or released. It is shown,
//! hashed and approved like steps in AWS. [`super::part`] decides how much of it may run now. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::agents;
use crate::api::gitops::GitOps;
use crate::api::status_cluster::{AgentField, EksClusterStatus, GitOpsStatus, MAX_AGENT_FIELDS};
use crate::engine::execution_policy::digest;
use crate::engine::{Action, Change, Key, Step};
use crate::upgrade::AgentVersions;

/// Longest value that is kept verbatim; a longer one is kept as a prefix and a digest.
const MAX_LENGTH: usize = 512;
/// The kind of the agent's step.
pub const KIND: &str = "gitOpsAgent";
/// Part of every complete record.
const HANDOVER: &str = "handover";
/// Value of an unknown version.
const UNKNOWN: &str = "unknown";

/// The agent's key in the plan.
pub fn key() -> Key {
    Key::single(KIND)
}

/// Desired state of an agent: each field of `spec.gitops`, with the default for an absent one.
pub type Fields = BTreeMap<String, String>;

/// What the spec requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredAgent {
    /// All fields; empty: no agent.
    pub fields: Fields,
    /// The field with the version, and the available versions; `None`: no agent.
    pub version: Option<(String, AgentVersions)>,
}

/// What the spec requests, for an agent that was last brought to `applied`. `of_git`: Git owns it.
pub fn desired(gitops: Option<&GitOps>, applied: Option<&Fields>, of_git: bool) -> DesiredAgent {
    let Some(gitops) = gitops else { return DesiredAgent::default() };
    let mut fields = Fields::new();
    flatten("", &serde_json::to_value(gitops).unwrap_or_default(), &mut fields);
    let version = agents::requested(gitops).map(|agent| {
        let (field, bundled) = (agent.version_field(), agent.newest_version().to_owned());
        let current = applied.and_then(|applied| applied.get(&field).cloned());
        let versions = AgentVersions { current, named: fields.get(&field).cloned(), bundled, of_git };
        fields.insert(field.clone(), versions.goal().to_owned());
        // Part of the approval: after Git has adopted an object, Keelson releases it without asking again.
        fields.insert(HANDOVER.to_owned(), "each object, once Git has adopted it".to_owned());
        (field, versions)
    });
    DesiredAgent { fields, version }
}

/// Whether Git manages the agent that the spec requests. What Git adopted of a previous agent does not apply to another
/// one.
pub fn is_of_git(gitops: Option<&GitOps>, previous: &EksClusterStatus) -> bool {
    let agent = gitops.and_then(agents::requested).map(|agent| agent.name());
    let is_its = |status: &&GitOpsStatus| status.agent.is_none() || status.agent.as_deref() == agent;
    previous.gitops.as_ref().filter(is_its).is_some_and(|gitops| gitops.adopted)
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
    if text.chars().count() <= MAX_LENGTH {
        return text.to_owned();
    }
    let start: String = text.chars().take(MAX_LENGTH - 64).collect();
    format!("{start}… (sha256 {})", digest(text, 16))
}

/// What the agent was last brought to, from status; `None`: there is none. An older Keelson that kept no record may
/// still have left an agent. Then only its version is known: nothing proves that an earlier edit was carried out.
pub fn applied(previous: &EksClusterStatus) -> Option<Fields> {
    let gitops = previous.gitops.as_ref()?;
    if !gitops.applied.is_empty() {
        return Some(gitops.applied.iter().map(|one| (one.field.clone(), one.value.clone())).collect());
    }
    let is_older = previous.change_policy.is_none() && gitops.last_contact.is_some();
    let field = agents::recorded(gitops.agent.as_deref()).version_field();
    let version = gitops.version.as_deref().unwrap_or(UNKNOWN);
    is_older.then(|| Fields::from([(field, version.to_owned())]))
}

/// Keeps from the first status on what an older Keelson left: later statuses no longer show who wrote it.
pub fn keep_legacy_agent(status: &mut EksClusterStatus, previous: &EksClusterStatus) {
    if let Some(gitops) = status.gitops.as_mut().filter(|gitops| gitops.applied.is_empty()) {
        gitops.applied = applied(previous).as_ref().map(for_status).unwrap_or_default();
    }
}

/// The fields in the format of status.
pub fn for_status(fields: &Fields) -> Vec<AgentField> {
    let one = |(field, value): (&String, &String)| AgentField { field: field.clone(), value: value.clone() };
    fields.iter().map(one).take(MAX_AGENT_FIELDS).collect()
}

/// The step that brings the agent from `applied` to `wanted`.
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
    let names: BTreeSet<_> = wanted.keys().chain(before.keys()).collect();
    let changes: Vec<_> = names
        .into_iter()
        .map(|field| Change::in_place(field.as_str(), of(before, field), of(wanted, field)))
        .filter(|change| change.from != change.to)
        .collect();
    let is_unproven = action == Action::Update && !before.contains_key(HANDOVER);
    let reason = is_unproven.then(|| "an older Keelson kept no record of what it applied".to_owned());
    (!changes.is_empty()).then_some(Step { action, changes, reason })
}

/// Expected duration until the agent has applied its path once.
pub fn expected(action: Action) -> Duration {
    Duration::from_secs(match action {
        // Pulls images, starts, and syncs for the first time.
        Action::Create => 90,
        Action::Update => 30,
        _ => 1,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agents::flux;
    use crate::api::policy::ChangePolicy;

    const FLUX_VERSION: &str = "flux.version";

    fn gitops(change: impl FnOnce(&mut Value)) -> GitOps {
        let mut gitops = json!({"flux": {
            "path": "clusters/demo",
            "source": {"git": {"url": "https://example.com/fleet", "ref": {"branch": "main"}}},
        }});
        change(&mut gitops);
        serde_json::from_value(gitops).unwrap()
    }

    fn fields(change: impl FnOnce(&mut Value)) -> Fields {
        desired(Some(&gitops(change)), None, false).fields
    }

    fn changes(step: Option<Step>) -> (Action, Vec<String>) {
        let step = step.unwrap();
        let one = |Change { field, from, to, .. }: &Change| format!("{field}: {from} -> {to}");
        (step.action, step.changes.iter().map(one).collect())
    }

    #[test]
    fn an_agent_edit_is_a_step_with_the_changed_fields() {
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
    fn install_and_removal_steps_name_source_path_version_and_handover() {
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
    fn only_the_version_is_known_of_an_agent_of_an_older_keelson() {
        let all = fields(|_| ());
        let contact = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        let gitops = GitOpsStatus { last_contact: contact, version: Some("v2.9.5".into()), ..GitOpsStatus::default() };
        let mut previous = EksClusterStatus { observed_generation: Some(3), ..EksClusterStatus::default() };
        assert_eq!(applied(&previous), None);
        previous.gitops = Some(gitops);
        let left = applied(&previous).unwrap();
        assert_eq!(left, Fields::from([(FLUX_VERSION.to_owned(), "v2.9.5".to_owned())]));
        // An edit may have been made while it was replaced: every field except the version becomes a step again.
        let found = step(&all, Some(&left)).unwrap();
        assert_eq!((found.action, found.changes.len()), (Action::Update, all.len() - 1));
        assert!(found.reason.is_some_and(|reason| reason.contains("older Keelson")));
        // It is kept although the next status shows who writes it.
        let mut status = EksClusterStatus { change_policy: Some(ChangePolicy::Automatic), ..previous.clone() };
        assert_eq!(applied(&status), None, "one that is being installed");
        keep_legacy_agent(&mut status, &previous);
        assert_eq!(applied(&status), Some(left));
        previous.gitops.as_mut().unwrap().applied = for_status(&all);
        assert_eq!(applied(&previous), Some(all));
    }

    #[test]
    fn an_older_keelson_never_lowers_the_version() {
        let at = |version: &str| Fields::from([(FLUX_VERSION.to_owned(), version.to_owned())]);
        let spec = gitops(|_| ());
        let goal = |current, of_git| desired(Some(&spec), Some(&at(current)), of_git).fields[FLUX_VERSION].clone();
        assert_eq!(goal("v2.7.5", false), flux::Version::NEWEST.as_str());
        assert_eq!(goal("v2.99.0", false), "v2.99.0");
        assert_eq!(goal("v2.7.5", true), "v2.7.5", "it is Git's");
    }

    #[test]
    fn shortened_values_remain_distinguishable() {
        let long = |end: &str| shortened(&format!("{}{end}", "x".repeat(600)));
        assert!(long("a").chars().count() <= MAX_LENGTH && long("a") != long("b"));
    }
}
