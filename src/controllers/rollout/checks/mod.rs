//! Runs the checks of waves: queries and Jobs, each run as a task with a deadline, so that a server that hangs delays nothing else, and
//! conditions of our own objects. The results are inputs of the next decision. They belong to one leadership term: a new leader requests its own. I/O: Prometheus servers,
//! Secrets and Jobs.

mod condition;
mod job;
mod prometheus;
mod prometheus_credentials;
mod response;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, Id, JoinSet};

use crate::api::fleet_rollout_check::ConditionCheck;
use crate::api::{EksCluster, FleetRollout};
use crate::controllers::context::Context;
use crate::rollout::check_query::{facts_of, fill};
use crate::rollout::{CheckKey, CheckRun, ClusterOutcome, DueCheck, Outcome};

/// Queries that run concurrently, of all rollouts.
const MAX_QUERIES: usize = 32;

/// A check of a rollout, by the UID of the rollout.
type RunKey = (String, CheckKey);

/// A run in progress.
struct Running {
    due: DueCheck,
    began_at: Timestamp,
    task: AbortHandle,
}

/// The runs of one leadership term. Dropping it ends them.
pub struct CheckRuns {
    tasks: JoinSet<Vec<ClusterOutcome>>,
    running: HashMap<RunKey, Running>,
    by_task: HashMap<Id, RunKey>,
    results: HashMap<RunKey, CheckRun>,
    queries: Arc<Semaphore>,
}

impl Default for CheckRuns {
    fn default() -> Self {
        Self {
            tasks: JoinSet::new(),
            running: HashMap::new(),
            by_task: HashMap::new(),
            results: HashMap::new(),
            queries: Arc::new(Semaphore::new(MAX_QUERIES)),
        }
    }
}

impl CheckRuns {
    /// Collects the results of runs that have ended.
    pub fn collect(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            let (id, found) = match ended {
                Ok((id, found)) => (id, Some(found)),
                // Aborted, or it panicked: it is due again.
                Err(error) => (error.id(), None),
            };
            let Some(key) = self.by_task.remove(&id) else { continue };
            let is_current = self.running.get(&key).is_some_and(|running| running.task.id() == id);
            let Some(running) = is_current.then(|| self.running.remove(&key)).flatten() else { continue };
            if let Some(found) = found {
                let DueCheck { key: of, definition, covered, .. } = running.due;
                self.results.insert(key, CheckRun { key: of, definition, covered, began_at: running.began_at, found });
            }
        }
    }

    /// The last results of the checks of a rollout.
    pub fn results(&self, uid: &str) -> Vec<CheckRun> {
        self.results.iter().filter(|((of, _), _)| of == uid).map(|(_, run)| run.clone()).collect()
    }

    /// Forgets all rollouts apart from those that exist.
    pub fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.results.retain(|(uid, _), _| exists(uid));
        self.running.retain(|(uid, _), running| {
            let stays = exists(uid);
            if !stays {
                running.task.abort();
            }
            stays
        });
    }

    /// Begins the runs that are due and do not run yet. A run of a check that was changed since, or of other clusters, is replaced.
    pub fn begin(&mut self, ctx: &Context, rollout: &FleetRollout, due: Vec<DueCheck>) {
        let uid = rollout.uid().unwrap_or_default();
        // Results of earlier releases are in status.
        let is_kept = |key: &CheckKey| due.iter().any(|one| one.key == *key) || has_release(rollout, key);
        self.results.retain(|(of, key), _| *of != uid || is_kept(key));
        for one in due {
            let key = (uid.clone(), one.key.clone());
            if let Some(running) = self.running.get(&key) {
                if is_same(&running.due, &one) {
                    continue;
                }
                running.task.abort();
            }
            let began_at = Timestamp::now();
            let task = self.spawn(ctx, rollout, &one);
            self.by_task.insert(task.id(), key.clone());
            self.running.insert(key, Running { due: one, began_at, task });
        }
    }

    fn spawn(&mut self, ctx: &Context, rollout: &FleetRollout, due: &DueCheck) -> AbortHandle {
        let client = ctx.client.clone();
        match (&due.spec.prometheus, &due.spec.job, &due.spec.condition) {
            (Some(check), _, _) => {
                let (check, queries) = (check.clone(), queries(ctx, &check.query, &due.clusters));
                self.tasks.spawn(prometheus::run(client, check, queries, self.queries.clone()))
            }
            (None, Some(check), _) => {
                let request = job::request(rollout, due, check);
                self.tasks.spawn(job::run(client, check.clone(), request))
            }
            // In memory: the next pass has the result.
            (None, None, Some(check)) => {
                let found = due.clusters.iter().map(|name| condition_of(ctx, check, name)).collect();
                self.tasks.spawn(std::future::ready(found))
            }
            (None, None, None) => {
                let outcome = Outcome::Error("none of prometheus, job and condition is set".to_owned());
                self.tasks.spawn(std::future::ready(vec![ClusterOutcome { cluster: None, outcome }]))
            }
        }
    }
}

fn has_release(rollout: &FleetRollout, key: &CheckKey) -> bool {
    let mut releases = rollout.status.iter().flat_map(|status| &status.releases);
    releases.any(|release| release.gate == key.step.gate && release.target == key.step.target.to_string())
}

/// A Job that runs is not run again for other reasons than that its result would not count.
fn is_same(running: &DueCheck, due: &DueCheck) -> bool {
    let is_same_job = running.spec.job.is_none() || running.attempt == due.attempt;
    running.definition == due.definition && running.covered == due.covered && is_same_job
}

/// What the condition of a cluster is, by its cached objects.
fn condition_of(ctx: &Context, check: &ConditionCheck, name: &str) -> ClusterOutcome {
    let (namespace, object_name) = name.split_once('/').unwrap_or_default();
    let outcome = match ctx.cluster(namespace, object_name) {
        Some(cluster) => condition::outcome(
            check,
            &cluster,
            &ctx.node_groups_of(namespace, object_name),
            &ctx.unreadable.node_groups_of(namespace, object_name),
        ),
        None => Outcome::Error("the EksCluster does not exist".to_owned()),
    };
    ClusterOutcome { cluster: Some(name.to_owned()), outcome }
}

/// A query, or why it cannot be run, of each cluster or of the wave.
type Query = (Option<String>, Result<String, String>);

fn queries(ctx: &Context, query: &str, clusters: &[String]) -> Vec<Query> {
    if facts_of(query).is_ok_and(|facts| facts.is_empty()) {
        return vec![(None, Ok(query.to_owned()))];
    }
    let of = |name: &String| {
        let found = name.split_once('/').and_then(|(namespace, name)| ctx.cluster(namespace, name));
        let filled = match found {
            Some(cluster) => fill(query, |fact| fact_of(&cluster, fact)),
            None => Err("the EksCluster does not exist".to_owned()),
        };
        (Some(name.clone()), filled)
    };
    clusters.iter().map(of).collect()
}

/// A fact of a cluster, with the same name and value as in its manifests.
fn fact_of(cluster: &EksCluster, name: &str) -> Option<String> {
    let status = cluster.status.as_ref();
    match name {
        "CLUSTER_NAME" => Some(cluster.cluster_name()),
        "CLUSTER_NAMESPACE" => cluster.namespace(),
        "AWS_REGION" => Some(cluster.spec.region.clone()),
        "AWS_ACCOUNT_ID" => status?.account_id.clone(),
        "KUBERNETES_VERSION" => status?.version.clone(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::check_query::FACTS;
    use serde_json::json;

    #[test]
    fn every_fact_has_a_value() {
        let cluster: EksCluster = serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster", "metadata": {"name": "demo", "namespace": "team"},
            "spec": {"region": "eu-west-1", "version": "1.34", "clusterName": "demo-eu"},
            "status": {"accountId": "111122223333", "version": "1.33"},
        }))
        .unwrap();
        let values: Vec<_> = FACTS.iter().filter_map(|fact| fact_of(&cluster, fact)).collect();
        assert_eq!(values, ["demo-eu", "team", "eu-west-1", "111122223333", "1.33"]);
    }
}
