//! A cluster: what it does and what is in its way, its plan, hooks, upgrade, node groups, agent, network, and what happened. Pure.

use askama::Template;

use super::badge::Badge;
use super::command::Command;
use super::context::{Context, Frame};
use super::hooks::{self, HookRow};
use super::network_diagram::{self, Network};
use super::plan_graph::{self, Graph};
use super::schedule::{self, Schedule};
use super::upgrade::{self, Upgrade};
use crate::api::status_cluster::GitOpsStatus;
use crate::api::{ConditionType, EksCluster, Reason};
use crate::cli::events::EventLine;
use crate::cli::status::overview::{self, Overview};
use crate::cli::subject::Subject;
use crate::cli::time::format_age;
use crate::page::fleet::{FleetObject, Opened};
use crate::page::id::{Id, Kind};
use crate::page::row::Row;
use crate::page::state::{State, is_failure, is_hold};

/// Events that are shown, of a cluster and its node groups.
const MAX_EVENTS: usize = 60;

#[derive(Template)]
#[template(path = "cluster.html")]
pub struct Page {
    frame: Frame,
    id: Id,
    badge: Badge,
    facts: Vec<Fact>,
    state: String,
    situation: ClusterSummary,
    graph: Option<Graph>,
    schedule: Schedule,
    hooks: Vec<HookRow>,
    upgrade: Upgrade,
    support: Vec<Badge>,
    conditions: Vec<ConditionRow>,
    groups: Vec<GroupRow>,
    agent: Option<Agent>,
    network: Option<Network>,
    events: Vec<EventRow>,
    commands: Vec<Command>,
}

/// A name and a value. `href`: empty, or a page about it.
pub struct Fact {
    pub name: &'static str,
    pub value: String,
    pub href: String,
}

impl Fact {
    pub fn new(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into(), href: String::new() }
    }
}

/// What an object does, what is in its way, and what a person can do.
pub struct ClusterSummary {
    pub doing: Vec<String>,
    pub next: Vec<String>,
    pub problems: Vec<ProblemRow>,
    pub actions: Vec<Command>,
}

/// Something in the way.
pub struct ProblemRow {
    pub reason: String,
    pub object: String,
    pub message: String,
    pub elapsed: String,
}

/// A condition.
pub struct ConditionRow {
    pub name: String,
    pub badge: Badge,
    pub reason: String,
    pub message: String,
    pub age: String,
}

/// A node group.
pub struct GroupRow {
    pub name: String,
    pub href: String,
    pub badge: Badge,
    pub reason: String,
    pub version: String,
    pub nodes: String,
    pub types: String,
}

/// Something that happened.
pub struct EventRow {
    pub at: String,
    pub age: String,
    pub is_warning: bool,
    pub reason: String,
    pub object: String,
    pub message: String,
    pub count: i32,
}

/// The GitOps agent.
pub struct Agent {
    pub badge: Badge,
    pub facts: Vec<Fact>,
    pub counts: String,
    pub components: Vec<(Badge, String)>,
    pub failing: Vec<ProblemRow>,
}

impl Page {
    /// The page of a cluster; `None`: it does not exist.
    pub fn new(context: &Context<'_>, id: &Id) -> Option<Self> {
        let Opened { object, row } = context.fleet.clusters.get(&id.place())?.open()?;
        let subject = Subject::from(&*object);
        let place = id.place();
        let of_cluster = context.fleet.groups_of(&place).filter(|kept| context.viewer.may_see(&kept.row.id));
        let of_cluster: Vec<Opened<'_, _>> = of_cluster.filter_map(FleetObject::open).collect();
        let policy = Some(object.spec.drift_policy);
        let groups: Vec<Subject> =
            of_cluster.iter().map(|group| Subject { drift_policy: policy, ..Subject::from(&*group.object) }).collect();
        let overview = overview::overview(&subject, &groups, Vec::new(), context.now);
        let status = object.status.clone().unwrap_or_default();
        let events = std::iter::once(id).chain(of_cluster.iter().map(|kept| &kept.row.id));
        Some(Self {
            frame: context.frame(&id.title(), format!("/events?of={}", id.path()), "fleet"),
            badge: Badge::new(row.state),
            facts: facts(&object, &subject, row, context),
            state: state(&overview, context),
            situation: situation(&overview, context),
            graph: plan_graph::graph(&object, &of_cluster, context),
            schedule: schedule::schedule(&subject.plan, context),
            hooks: hooks::hooks(&object, context),
            upgrade: upgrade::upgrade(&subject.upgrade, subject.version.as_deref(), context),
            support: upgrade::support(status.support.as_ref(), context)
                .into_iter()
                .map(|(state, text)| Badge::with_text(state, text))
                .collect(),
            conditions: conditions(&subject, context),
            groups: of_cluster.iter().map(|group| group_row(group.row, &group.object.spec.instance_types)).collect(),
            agent: status.gitops.as_ref().map(|status| agent(status, &subject)),
            network: network_diagram::network(&status),
            events: event_rows(events.flat_map(|id| context.fleet.events(id)), context),
            commands: commands(&subject, row),
            id: id.clone(),
        })
    }
}

fn facts(object: &EksCluster, subject: &Subject, row: &Row, context: &Context<'_>) -> Vec<Fact> {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let status = object.status.clone().unwrap_or_default();
    let version = match (row.version.as_str(), row.target.as_str()) {
        ("", target) => format!("{target}, not created yet"),
        (version, target) if version == target => version.to_owned(),
        (version, target) => format!("{version} → {target}"),
    };
    let account = Id::new(Kind::AwsAccount, "", &row.account_name);
    let href = if context.viewer.may_see(&account) { account.path() } else { String::new() };
    let mut facts = vec![
        Fact::new("Kubernetes", version),
        Fact::new("Platform version", text(&status.platform_version)),
        Fact::new("Region", row.region.clone()),
        Fact { href, ..Fact::new("Account", row.account.clone()) },
        Fact::new("Name in EKS", subject.aws_name.clone()),
        Fact::new("Nodes", subject.nodes.clone()),
        Fact::new("Change policy", format!("{:?}", object.spec.change_policy)),
        Fact::new("Age", format_age(subject.created(), context.now)),
        Fact::new("Endpoint", text(&subject.endpoint)),
        Fact::new("Labels", row.labels.join(", ")),
    ];
    facts.retain(|fact| !fact.value.is_empty());
    facts
}

/// `Creating for 3 min, about 6 min left (until 12:30:00)`.
pub fn state(of: &Overview, context: &Context<'_>) -> String {
    let mut text = of.state.clone();
    if let Some(since) = of.since {
        text += &format!(" for {} (since {})", context.elapsed(Some(since)), context.time(since));
    }
    if let Some(until) = of.until.filter(|until| *until > context.now) {
        let left = crate::cli::time::format_between(context.now, until);
        text += &format!(", about {left} left (until {})", context.time(until));
    }
    if of.problems.is_empty() && of.doing.is_empty() && !of.message.is_empty() {
        text += &format!(": {}", of.message);
    }
    text
}

/// The answer of `keelson status`, for the page.
pub fn situation(of: &Overview, context: &Context<'_>) -> ClusterSummary {
    let problems = of.problems.iter().map(|problem| ProblemRow {
        reason: problem.reason.clone(),
        object: problem.object.clone().unwrap_or_default(),
        message: problem.message.clone(),
        elapsed: context.elapsed(problem.since),
    });
    let doing = of.doing.iter().map(|activity| {
        let elapsed = activity.since.map(|since| format!(", for {}", context.elapsed(Some(since))));
        let deadline = activity.deadline.map(|at| format!("; counts as stuck from {}", context.time(at)));
        format!("{}: {}{}{}", activity.of, activity.what, elapsed.unwrap_or_default(), deadline.unwrap_or_default())
    });
    let mut next = of.next.clone();
    if of.next_omitted > 0 {
        next.push(format!("and {} more", of.next_omitted));
    }
    ClusterSummary {
        doing: doing.collect(),
        next,
        problems: problems.collect(),
        actions: of.actions.iter().map(|action| Command::of_action(action)).collect(),
    }
}

/// The conditions, those that are not as they should be first.
pub fn conditions(subject: &Subject, context: &Context<'_>) -> Vec<ConditionRow> {
    let mut rows: Vec<ConditionRow> = subject
        .conditions
        .iter()
        .map(|condition| {
            // Reconciling, Stalled and Upgrading are normally False.
            let is_normal_false = matches!(condition.type_.as_str(), "Reconciling" | "Stalled" | "Upgrading");
            let reason = Reason::parse(&condition.reason);
            let state = match (condition.status.as_str(), is_normal_false) {
                _ if reason.is_some_and(is_hold) => State::Held,
                ("True", false) => State::Ready,
                ("False", true) if condition.reason == "UpgradeBlocked" => State::Blocked,
                ("False", true) => State::Ready,
                ("True", true) if condition.type_ == "Stalled" => State::Blocked,
                ("True", true) => State::Progressing,
                ("False", false) => condition_state(reason),
                _ => State::Unknown,
            };
            ConditionRow {
                name: condition.type_.clone(),
                badge: Badge::with_text(state, condition.status.clone()),
                reason: condition.reason.clone(),
                message: condition.message.clone(),
                age: format_age(Some(condition.last_transition_time.0), context.now),
            }
        })
        .collect();
    rows.sort_by_key(|row| row.badge.shape == State::Ready.name());
    rows
}

fn condition_state(reason: Option<Reason>) -> State {
    match reason {
        Some(Reason::WaitingForApproval) => State::Approval,
        Some(reason) if is_failure(reason) => State::Failing,
        Some(_) => State::Progressing,
        None => State::Failing,
    }
}

fn group_row(row: &Row, types: &[String]) -> GroupRow {
    GroupRow {
        name: row.id.name.clone(),
        href: row.id.path(),
        badge: Badge::new(row.state),
        reason: row.reason.clone(),
        version: row.version.clone(),
        nodes: row.nodes.clone(),
        types: types.join(", "),
    }
}

/// Whether nobody reconciles the agent: what its status has is from before.
fn is_agent_held(subject: &Subject) -> bool {
    let reason = subject.condition(ConditionType::GitOpsReady).and_then(|condition| Reason::parse(&condition.reason));
    subject.reason() == Reason::Suspended.as_str() || reason.is_some_and(is_hold)
}

fn agent(status: &GitOpsStatus, subject: &Subject) -> Agent {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let objects = status.objects.clone().unwrap_or_default();
    let state = match () {
        () if status.unreachable_since.is_some() => State::Unknown,
        () if objects.failing > 0 || !status.failing.is_empty() => State::Failing,
        () if status.components.iter().any(|component| !component.ready) => State::Progressing,
        () if objects.suspended > 0 || is_agent_held(subject) => State::Held,
        () => State::Ready,
    };
    let held = status.held_revision.clone().unwrap_or_default();
    let mut facts = vec![
        Fact::new("Agent", format!("{} {}", text(&status.agent), text(&status.version)).trim()),
        Fact::new("Applied revision", text(&status.last_applied_revision)),
        Fact::new("Fetched revision", text(&status.source_revision)),
        Fact::new("Revision allowed by its FleetRollout", text(&held.allowed)),
        Fact::new("Revision wanted", text(&held.wanted)),
        Fact::new("What the revision waits for", text(&held.message)),
        Fact::new("Source", text(&status.url)),
        Fact::new("Upgrade", status.upgrade.as_ref().map(describe_upgrade).unwrap_or_default()),
        Fact::new("Watch", text(&status.watch_error)),
    ];
    facts.retain(|fact| !fact.value.is_empty());
    let component = |component: &crate::api::status_cluster::GitOpsComponent| {
        let state = if component.ready { State::Ready } else { State::Progressing };
        let message = component.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        (Badge::with_text(state, component.name.clone()), message)
    };
    let failing = status.failing.iter().map(|object| ProblemRow {
        reason: text(&object.reason),
        object: format!("{} {}", object.kind, object.name),
        message: text(&object.message),
        elapsed: String::new(),
    });
    Agent {
        badge: Badge::new(state),
        facts,
        counts: format!("{} running, {} failing, {} suspended", objects.running, objects.failing, objects.suspended),
        components: status.components.iter().map(component).collect(),
        failing: failing.collect(),
    }
}

fn describe_upgrade(upgrade: &crate::api::status_cluster::AgentUpgradeStatus) -> String {
    let message = upgrade.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    format!("{} → {}{message}", upgrade.from, upgrade.to)
}

/// Events, newest first.
pub fn event_rows<'a>(events: impl Iterator<Item = &'a EventLine>, context: &Context<'_>) -> Vec<EventRow> {
    let mut events: Vec<&EventLine> = events.collect();
    events.sort_by_key(|event| std::cmp::Reverse(event.at));
    let row = |event: &EventLine| EventRow {
        at: event.at.map(|at| context.time(at)).unwrap_or_default(),
        age: format_age(event.at, context.now),
        is_warning: event.warning,
        reason: event.reason.clone(),
        object: event.object.clone(),
        message: event.message.clone(),
        count: event.count,
    };
    events.into_iter().take(MAX_EVENTS).map(row).collect()
}

/// What can be done with the cluster at any time.
fn commands(subject: &Subject, row: &Row) -> Vec<Command> {
    let arguments = subject.arguments();
    let mut commands = vec![
        Command::new("See the same on a terminal", format!("keelson status {arguments}")),
        Command::new("Compare it with AWS now", format!("keelson reconcile {arguments} --wait")),
        Command::new("Get access to it", format!("keelson kubeconfig {arguments} --merge")),
    ];
    commands.push(if row.reason == Reason::Suspended.as_str() {
        Command::new("Let Keelson continue", format!("keelson resume {arguments}"))
    } else {
        Command::new("Stop all changes to it", format!("keelson suspend {arguments}"))
    });
    commands
}

#[cfg(test)]
#[path = "cluster_page_tests.rs"]
mod tests;
