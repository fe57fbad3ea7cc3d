//! `keelson events`: what the operator reported of clusters and node groups. I/O: the management cluster's API.

use anyhow::Context as _;
use futures::StreamExt as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde::Serialize;

use super::approve::pending_plans::{Kind, Target};
use super::connection::{self, Scope};
use super::output::{self, Format};
use super::plan::style;
use super::table::Table;
use super::terminal;
use super::time::{format_age, format_time};
use super::watching;
use crate::api::{EksCluster, GROUP, NodeGroup};

/// Flags of `keelson events`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson events                     # of the namespace
  keelson events demo -f             # of a cluster and its node groups, and then what follows
  keelson events nodegroup/demo-spot
  keelson events -A -o json")]
pub struct Args {
    /// The EksCluster, including its NodeGroups; or nodegroup/NAME. Without it: all of the namespace.
    name: Option<Target>,
    /// Print new events as they come, until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Format; `wide` shows who reported an event, and how often.
    #[arg(short, long, value_enum, conflicts_with = "follow")]
    output: Option<Format>,
    #[command(flatten)]
    scope: Scope,
}

/// An event as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    pub warning: bool,
    /// `EksCluster default/demo`.
    pub object: String,
    pub reason: String,
    pub message: String,
    pub count: i32,
}

impl From<&Event> for EventLine {
    fn from(event: &Event) -> Self {
        let of = &event.involved_object;
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let namespace = of.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        Self {
            at: last_time(event),
            warning: event.type_.as_deref() == Some("Warning"),
            object: format!("{} {namespace}{}", text(&of.kind), text(&of.name)),
            reason: text(&event.reason),
            message: text(&event.message),
            count: event.series.as_ref().and_then(|series| series.count).or(event.count).unwrap_or(1),
        }
    }
}

/// When it was reported last.
fn last_time(event: &Event) -> Option<Timestamp> {
    let of_series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let first = event.event_time.as_ref().map(|time| time.0);
    let created = event.metadata.creation_timestamp.as_ref().map(|time| time.0);
    of_series.or(last).or(first).or(created)
}

/// Whether it is of an object of Keelson, and, if some are named, of one of them. One in another namespace proves nothing: the API server
/// does not compare the namespaces of all events with those of their objects.
fn is_of(event: &Event, names: Option<&[(Kind, String)]>) -> bool {
    let of = &event.involved_object;
    let is_ours = of.api_version.as_deref().and_then(|version| version.split('/').next()) == Some(GROUP);
    let is_named = |(kind, name): &(Kind, String)| {
        of.kind.as_deref() == Some(kind.to_string().as_str()) && of.name.as_deref() == Some(name)
    };
    // Events of objects without a namespace are in `default`.
    let is_at_home = Some(of.namespace.as_deref().unwrap_or("default")) == event.metadata.namespace.as_deref();
    is_ours && is_at_home && names.is_none_or(|names| names.iter().any(is_named))
}

/// The field selector of events of Keelson's objects.
pub fn of_keelson() -> String {
    format!("involvedObject.apiVersion={GROUP}/v1alpha1")
}

/// The events of the named objects in a namespace, oldest first.
///
/// # Errors
/// They cannot be read.
pub async fn read(
    client: &Client,
    namespace: Option<&str>,
    names: Option<&[(Kind, String)]>,
) -> anyhow::Result<Vec<Event>> {
    let api = connection::api::<Event>(client, namespace);
    let all = api.list(&ListParams::default().fields(&of_keelson())).await.context("events")?;
    let mut found: Vec<Event> = all.items.into_iter().filter(|event| is_of(event, names)).collect();
    found.sort_by_key(last_time);
    Ok(found)
}

/// The target, and if it is a cluster its node groups.
async fn names(client: &Client, namespace: &str, target: &Target) -> anyhow::Result<Vec<(Kind, String)>> {
    let mut names = vec![(target.kind, target.name.clone())];
    if target.kind == Kind::EksCluster {
        let of_cluster = ListParams::default().fields(&format!("spec.clusterRef.name={}", target.name));
        let groups = connection::api::<NodeGroup>(client, Some(namespace)).list(&of_cluster).await;
        let groups = groups.with_context(|| format!("the NodeGroups of {}", target.name))?;
        names.extend(groups.iter().map(|group| (Kind::NodeGroup, group.name_any())));
    }
    Ok(names)
}

async fn check_exists(client: &Client, namespace: &str, Target { kind, name }: &Target) -> anyhow::Result<()> {
    let place = Some(namespace);
    match kind {
        Kind::EksCluster => {
            let answer = connection::api::<EksCluster>(client, place).get_metadata(name).await;
            connection::found(answer, kind, namespace, name).map(drop)
        }
        Kind::NodeGroup => {
            let answer = connection::api::<NodeGroup>(client, place).get_metadata(name).await;
            connection::found(answer, kind, namespace, name).map(drop)
        }
    }
}

/// Runs the command.
///
/// # Errors
/// The events cannot be read, or the named object does not exist and there are none of it.
pub fn run(args: &Args) -> anyhow::Result<()> {
    super::block_on(events(args))
}

async fn events(args: &Args) -> anyhow::Result<()> {
    let (client, namespace) = args.scope.client().await?;
    let named = match (&args.name, &namespace) {
        (Some(target), Some(namespace)) => Some(names(&client, namespace, target).await?),
        (Some(_), None) => anyhow::bail!("a name and --all-namespaces exclude each other: pass -n"),
        (None, _) => None,
    };
    let found = read(&client, namespace.as_deref(), named.as_deref()).await?;
    if let (Some(target), Some(namespace), true) = (&args.name, &namespace, found.is_empty()) {
        // An object that is gone may still have events.
        check_exists(&client, namespace, target).await?;
    }
    if args.follow {
        return follow(&client, namespace.as_deref(), named.as_deref(), &found).await;
    }
    let is_document = matches!(args.output, Some(Format::Json | Format::Yaml));
    let print = if is_document { super::print_document } else { super::print };
    print(&format(&found, args.output, Timestamp::now())?)
}

fn format(events: &[Event], of: Option<Format>, now: Timestamp) -> anyhow::Result<String> {
    let structured = |of| -> anyhow::Result<String> {
        let items: anyhow::Result<Vec<_>> = events.iter().map(output::object).collect();
        output::format(&output::list(items?), of)
    };
    match of {
        Some(Format::Json) => structured(output::Structured::Json),
        Some(Format::Yaml) => structured(output::Structured::Yaml),
        Some(Format::Name) => Ok(events.iter().map(|event| format!("event/{}\n", event.name_any())).collect()),
        None | Some(Format::Wide) => Ok(table(events, of.is_some(), now)),
    }
}

fn table(events: &[Event], wide: bool, now: Timestamp) -> String {
    if events.is_empty() {
        return "no events\n".to_owned();
    }
    let mut heading = vec!["LAST", "TYPE", "REASON", "OBJECT"];
    heading.extend(if wide { vec!["COUNT", "FROM", "MESSAGE"] } else { vec!["MESSAGE"] });
    let mut table = Table::new(heading);
    for event in events {
        let line = EventLine::from(event);
        let type_ = event.type_.clone().unwrap_or_default();
        let mut cells = vec![format_age(line.at, now), type_, line.reason, line.object];
        if wide {
            let source = event.source.as_ref().and_then(|source| source.component.clone());
            cells.extend([line.count.to_string(), event.reporting_component.clone().or(source).unwrap_or_default()]);
        }
        cells.push(line.message);
        table.styled_row(style::of_sign(if line.warning { "~" } else { " " }), cells);
    }
    table.format("")
}

/// A line for each event, and then for each that comes.
async fn follow(
    client: &Client,
    namespace: Option<&str>,
    names: Option<&[(Kind, String)]>,
    shown: &[Event],
) -> anyhow::Result<()> {
    let version = |event: &Event| (event.uid(), event.resource_version());
    let mut known: std::collections::HashMap<_, _> = shown.iter().map(version).collect();
    for event in shown {
        print_line(event)?;
    }
    let api = connection::api::<Event>(client, namespace);
    let mut changes =
        watcher(api, watcher::Config::default().fields(&of_keelson())).default_backoff().applied_objects().boxed();
    while let Some(change) = changes.next().await {
        let event = match change {
            Ok(event) => event,
            Err(error) => {
                watching::check(error)?;
                continue;
            }
        };
        let (uid, version) = version(&event);
        if is_of(&event, names) && known.insert(uid, version.clone()) != Some(version) {
            print_line(&event)?;
        }
    }
    Ok(())
}

fn print_line(event: &Event) -> anyhow::Result<()> {
    let line = EventLine::from(event);
    let now = Timestamp::now();
    let at = line.at.map(|at| format_time(at, now, &TimeZone::system())).unwrap_or_default();
    let style = style::of_sign(if line.warning { "~" } else { " " });
    let text = terminal::one_line(&format!("{at} {} {}: {}", line.object, line.reason, line.message));
    super::print(&format!("{}\n", style::styled(style, text)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: &str, name: &str, type_: &str, second: i64, group: &str) -> Event {
        let at = Timestamp::from_second(second).unwrap().to_string();
        serde_json::from_value(json!({
            "metadata": {"name": format!("{name}.{second}"), "namespace": "default"},
            "involvedObject": {"apiVersion": format!("{group}/v1alpha1"), "kind": kind, "name": name, "namespace": "default"},
            "type": type_, "reason": "Created", "message": "VPC vpc-1", "eventTime": at,
            "reportingComponent": "keelson",
        }))
        .unwrap()
    }

    #[test]
    fn table_of_events() {
        let mut repeated = event("EksCluster", "demo", "Warning", 40, GROUP);
        repeated.series =
            serde_json::from_value(json!({"count": 7, "lastObservedTime": "1970-01-01T00:01:40Z"})).unwrap();
        let all = [event("NodeGroup", "demo-default", "Normal", 0, GROUP), repeated];
        let now = Timestamp::from_second(130).unwrap();
        let text = [format(&all, None, now).unwrap(), format(&all, Some(Format::Wide), now).unwrap()].join("\n");
        insta::assert_snapshot!(anstream::adapter::strip_str(&text));
    }

    #[test]
    fn only_events_of_keelson_and_of_what_is_named() {
        let of_cluster = event("EksCluster", "demo", "Normal", 0, GROUP);
        let names = [(Kind::EksCluster, "demo".to_owned())];
        assert!(is_of(&of_cluster, None) && is_of(&of_cluster, Some(&names)));
        assert!(!is_of(&event("NodeGroup", "demo", "Normal", 0, GROUP), Some(&names)));
        assert!(!is_of(&event("EksCluster", "demo", "Normal", 0, "example.org"), None));
        let mut foreign = of_cluster;
        foreign.metadata.namespace = Some("team-b".to_owned());
        assert!(!is_of(&foreign, None), "written in another namespace");
    }
}
