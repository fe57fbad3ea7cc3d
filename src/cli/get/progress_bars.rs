//! `keelson get -w`: a progress bar for each object on a terminal, and a line for each change in a pipe. I/O: the
//! management cluster's API and the terminal.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use kube::api::ListParams;
use kube::{Client, ResourceExt as _};

use crate::api::EksCluster;
use crate::api::conditions::{ConditionType, bounded};
use crate::cli::approve::pending_plans::Target;
use crate::cli::connection;
use crate::cli::subject::Subject;
use crate::cli::time::{between, format_between, format_time};
use crate::cli::watching::Watched;

/// How often the bars on a terminal move.
const TICK: Duration = Duration::from_millis(500);
/// Steps of a bar.
const STEPS: u64 = 1000;
/// Longest text beside a bar.
const MAX_TEXT: usize = 60;

/// Shows changes until it is interrupted.
pub async fn watch(
    client: &Client,
    namespace: Option<&str>,
    target: Option<&Target>,
    selector: Option<&str>,
) -> anyhow::Result<()> {
    let mut watched = Watched::start(client, namespace);
    watched.ready().await?;
    let mut display = if std::io::stdout().is_terminal() {
        Display::Bars(Bars::new(namespace.is_none()))
    } else {
        Display::Lines(BTreeMap::new())
    };
    let mut chosen = chosen(client, namespace, selector).await?;
    loop {
        let mut all = watched.subjects(target);
        if let Some(chosen) = &chosen {
            all = super::selected(all, chosen);
        }
        display.show(&all)?;
        let is_terminal = matches!(display, Display::Bars(_));
        tokio::select! {
            change = watched.changed() => {
                change?;
                chosen = self::chosen(client, namespace, selector).await?;
            }
            () = tokio::time::sleep(TICK), if is_terminal => {}
        }
    }
}

/// Namespaces and names of the clusters with the labels; `None`: all.
async fn chosen(
    client: &Client,
    namespace: Option<&str>,
    selector: Option<&str>,
) -> anyhow::Result<Option<Vec<(String, String)>>> {
    let Some(selector) = selector else { return Ok(None) };
    let params = ListParams::default().labels(selector);
    let found = connection::api::<EksCluster>(client, namespace).list_metadata(&params).await.context("EksClusters")?;
    Ok(Some(found.iter().map(|one| (one.namespace().unwrap_or_default(), one.name_any())).collect()))
}

enum Display {
    Bars(Bars),
    /// The last line of each object, without its time.
    Lines(BTreeMap<String, String>),
}

impl Display {
    fn show(&mut self, all: &[Subject]) -> anyhow::Result<()> {
        let now = Timestamp::now();
        match self {
            Self::Bars(bars) => bars.show(all, now),
            Self::Lines(shown) => {
                let lines: BTreeMap<String, String> = all.iter().map(|one| (one.title(), line(one))).collect();
                for one in all {
                    let title = one.title();
                    if shown.get(&title) != lines.get(&title) {
                        crate::cli::print(&format!("{} {title} {}\n", clock(now), lines[&title]))?;
                    }
                }
                for gone in shown.keys().filter(|title| !lines.contains_key(*title)) {
                    crate::cli::print(&format!("{} {gone} deleted\n", clock(now)))?;
                }
                *shown = lines;
            }
        }
        Ok(())
    }
}

fn clock(now: Timestamp) -> String {
    format_time(now, now, &TimeZone::system())
}

/// State and activity of an object, without what changes every second.
fn line(one: &Subject) -> String {
    let doing = one.doing();
    if doing.is_empty() { one.reason().to_owned() } else { format!("{}: {doing}", one.reason()) }
}

/// A bar for each object that is in progress, and a line for each other.
struct Bars {
    all: MultiProgress,
    bars: BTreeMap<String, ProgressBar>,
    namespaces: bool,
}

impl Bars {
    fn new(namespaces: bool) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        Self { all, bars: BTreeMap::new(), namespaces }
    }

    fn show(&mut self, all: &[Subject], now: Timestamp) {
        let titles: Vec<String> = all.iter().map(Subject::title).collect();
        self.bars.retain(|title, bar| {
            let stays = titles.contains(title);
            if !stays {
                bar.finish_and_clear();
                self.all.remove(bar);
            }
            stays
        });
        let width = all.iter().map(|one| self.name(one).chars().count()).max().unwrap_or_default();
        for (position, one) in all.iter().enumerate() {
            let title = &titles[position];
            if !self.bars.contains_key(title) {
                let bar = ProgressBar::new(STEPS);
                self.bars.insert(title.clone(), self.all.insert(position, bar));
            }
            let bar = &self.bars[title];
            let (fraction, message) = progress(one, now);
            let template = match fraction {
                Some(_) => "{prefix} [{bar:30}] {msg}",
                None => "{prefix}                                  {msg}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(format!("{:<width$}", crate::cli::terminal::one_line(&self.name(one))));
            bar.set_position(fraction.unwrap_or_default());
            // The library writes it as it is.
            bar.set_message(crate::cli::terminal::one_line(&message));
        }
    }

    fn name(&self, one: &Subject) -> String {
        let indent = if one.cluster.is_some() { "  " } else { "" };
        let namespace = if self.namespaces { format!("{}/", one.namespace()) } else { String::new() };
        format!("{indent}{namespace}{}", one.name())
    }
}

/// How much of the expected time is over, of [`STEPS`], and the text beside the bar. `None`: nothing is in progress, or
/// its end is unknown.
fn progress(one: &Subject, now: Timestamp) -> (Option<u64>, String) {
    let doing = bounded(one.doing().lines().next().unwrap_or_default(), MAX_TEXT);
    let state = if doing.is_empty() { one.reason().to_owned() } else { format!("{}: {doing}", one.reason()) };
    let started = one.since().filter(|_| one.is_true(ConditionType::Reconciling));
    match started.zip(one.expected_end(now)) {
        Some((since, end)) => {
            let (passed, all) = (between(since, now).as_secs_f64(), between(since, end).as_secs_f64());
            let fraction = if all > 0.0 { passed / all } else { 1.0 };
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within 0 and STEPS
            let position = (fraction.clamp(0.0, 1.0) * STEPS as f64) as u64;
            (Some(position), format!("{state}, about {}", format_between(now, end)))
        }
        None => (None, state),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bar_shows_the_time_that_is_over_of_the_expected_one() {
        let cluster: EksCluster = serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
            "metadata": {"name": "demo", "namespace": "default", "generation": 1},
            "spec": {"region": "eu-west-1", "version": "1.34"},
            "status": {
                "observedGeneration": 1,
                "conditions": [
                    {"type": "Ready", "status": "False", "reason": "Creating", "message": "control plane: creating",
                     "lastTransitionTime": "1970-01-01T00:00:00Z"},
                    {"type": "Reconciling", "status": "True", "reason": "Creating", "message": "",
                     "lastTransitionTime": "1970-01-01T00:00:00Z"},
                ],
                "plan": {"steps": [{"action": "Create", "resource": "cluster", "state": "Running",
                    "since": "1970-01-01T00:01:00Z", "expectedSeconds": 540}]},
            },
        }))
        .unwrap();
        let subject = Subject::from(&cluster);
        let (position, text) = progress(&subject, Timestamp::from_second(300).unwrap());
        assert_eq!((position, text.as_str()), (Some(500), "Creating: control plane, about 5 min"));
        assert_eq!(line(&subject), "Creating: control plane");
    }
}
