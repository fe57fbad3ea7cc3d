//! A node group: its nodes, plan, replacement, and what happened. Pure.

use askama::Template;

use super::badge::Badge;
use super::cluster_page::{self, ClusterSummary, ConditionRow, EventRow, Fact};
use super::command::Command;
use super::context::{Context, Frame};
use super::schedule::{self, Schedule};
use super::upgrade::{self, Upgrade};
use crate::cli::status::overview;
use crate::cli::subject::Subject;
use crate::cli::time::format_age;
use crate::page::fleet::Opened;
use crate::page::id::Id;

#[derive(Template)]
#[template(path = "node_group.html")]
pub struct Page {
    frame: Frame,
    id: Id,
    cluster: Id,
    badge: Badge,
    facts: Vec<Fact>,
    state: String,
    situation: ClusterSummary,
    schedule: Schedule,
    upgrade: Upgrade,
    replacement: String,
    blocked_pods: Vec<BlockedPod>,
    conditions: Vec<ConditionRow>,
    events: Vec<EventRow>,
    commands: Vec<Command>,
}

/// A Pod that cannot be evicted.
struct BlockedPod {
    pod: String,
    node: String,
    budget: String,
}

impl Page {
    /// The page of a node group; `None`: it does not exist.
    pub fn new(context: &Context<'_>, id: &Id) -> Option<Self> {
        let Opened { object, row } = context.fleet.groups.get(&id.place())?.open()?;
        let cluster = row.cluster()?;
        let of_cluster = context.fleet.clusters.get(&cluster.place());
        let drift_policy = of_cluster.and_then(|kept| kept.row.drift_policy);
        let subject = Subject { drift_policy, ..Subject::from(&*object) };
        let overview = overview::overview(&subject, &[], Vec::new(), context.now);
        let status = object.status.clone().unwrap_or_default();
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let mut facts = vec![
            Fact { href: cluster.path(), ..Fact::new("Cluster", cluster.name.clone()) },
            Fact::new("Nodes", subject.nodes.clone()),
            Fact::new("Kubernetes", row.version.clone()),
            Fact::new("AMI release", text(&status.release_version)),
            Fact::new("AMI type", text(&status.ami_type)),
            Fact::new("Instance types", subject.instance_types.join(", ")),
            Fact::new("Capacity", format!("{:?}", object.spec.capacity_type)),
            Fact::new("Name in EKS", subject.aws_name.clone()),
            Fact::new("Age", format_age(subject.created(), context.now)),
        ];
        facts.retain(|fact| !fact.value.is_empty());
        let replacement = status.replacement.as_ref();
        let blocked = replacement.iter().flat_map(|replacement| &replacement.blocked_pods);
        let blocked =
            blocked.map(|one| BlockedPod { pod: one.pod.clone(), node: one.node.clone(), budget: one.budget.clone() });
        let arguments = subject.arguments();
        Some(Self {
            frame: context.frame(&id.title(), format!("/events?of={}", id.path()), "fleet"),
            badge: Badge::new(row.state),
            facts,
            state: cluster_page::state(&overview, context),
            situation: cluster_page::situation(&overview, context),
            schedule: schedule::schedule(&subject.plan, context),
            upgrade: upgrade::upgrade(&subject.upgrade, subject.version.as_deref(), context),
            replacement: replacement.map(|one| format!("{}: {}", one.node_group_name, one.message)).unwrap_or_default(),
            blocked_pods: blocked.collect(),
            conditions: cluster_page::conditions(&subject, context),
            events: cluster_page::event_rows(context.fleet.events(id), context),
            commands: vec![
                Command::new("See the same on a terminal", format!("keelson status {arguments}")),
                Command::new("Compare it with AWS now", format!("keelson reconcile {arguments} --wait")),
            ],
            cluster,
            id: id.clone(),
        })
    }
}
