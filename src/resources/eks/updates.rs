//! Most EKS changes run asynchronously as *updates* with an id: of a cluster, a node group, an add-on or a capability. Only
//! DescribeUpdate reports the result: a cluster is ACTIVE again after a failed update, and its status shows late that
//! one started. I/O: EKS.
//!
//! A resource that is changed by updates calls [`follow`] in `observe`, sends [`token`] with each update, and returns
//! [`record_start`] from `update`. Follows
//! <https://docs.aws.amazon.com/eks/latest/APIReference/API_DescribeUpdate.html>.

use aws_sdk_eks::types::{ErrorDetail, Update, UpdateStatus};
use jiff::Timestamp;

use crate::api::RECONCILE_AT_ANNOTATION;
use crate::aws::Service;
use crate::aws::errors::health::{self, Reported, Subject};
use crate::aws::tokens::client_token;
use crate::engine::{Action, Class, FailedOperation, Failure, Observation, ObserveOptions, Operation, Phase};
use crate::resources::cloud::Cloud;

/// The type of the update that associates an identity provider.
pub const ASSOCIATION: &str = "AssociateIdentityProviderConfig";
/// The type of the update that disassociates it.
pub const DISASSOCIATION: &str = "DisassociateIdentityProviderConfig";
/// The type of the updates of its certificate authorities.
pub const CERTIFICATE_AUTHORITY: &str = "CertificateAuthorityUpdate";
/// Updates of a cluster that belong to a part of it, whose kind reports their failure.
const OF_PARTS: [&str; 3] = [ASSOCIATION, DISASSOCIATION, CERTIFICATE_AUTHORITY];

/// What is updated. EKS finds the updates of node groups, add-ons and capabilities only by name.
#[derive(Clone, Copy, Debug)]
pub enum UpdateTarget<'a> {
    /// The cluster itself.
    Cluster(&'a str),
    /// A part of the cluster whose updates EKS lists as the cluster's, with a type of their own.
    ClusterPart(&'a str, &'static str),
    /// A node group of the cluster.
    NodeGroup(&'a str, &'a str),
    /// An add-on of the cluster.
    Addon(&'a str, &'a str),
    /// A capability of the cluster.
    Capability(&'a str, &'a str),
}

/// Most updates to describe when looking for the one in progress.
const MAX_DESCRIBED: usize = 20;

/// The output with the id of the last finished update.
const LAST: &str = "lastUpdate";
/// The output that marks an unsuccessful search for the update in progress.
const SEARCHED: &str = "soughtUpdate";

impl<'a> UpdateTarget<'a> {
    fn cluster(self) -> &'a str {
        match self {
            UpdateTarget::Cluster(cluster)
            | UpdateTarget::ClusterPart(cluster, _)
            | UpdateTarget::NodeGroup(cluster, _)
            | UpdateTarget::Addon(cluster, _)
            | UpdateTarget::Capability(cluster, _) => cluster,
        }
    }

    fn node_group(self) -> Option<String> {
        if let UpdateTarget::NodeGroup(_, name) = self { Some(name.to_owned()) } else { None }
    }

    fn addon(self) -> Option<String> {
        if let UpdateTarget::Addon(_, name) = self { Some(name.to_owned()) } else { None }
    }

    fn capability(self) -> Option<String> {
        if let UpdateTarget::Capability(_, name) = self { Some(name.to_owned()) } else { None }
    }

    fn label(self) -> String {
        match self {
            UpdateTarget::Cluster(name) | UpdateTarget::ClusterPart(name, _) => format!("cluster {name}"),
            UpdateTarget::NodeGroup(cluster, name) => format!("node group {name} of cluster {cluster}"),
            UpdateTarget::Addon(cluster, name) => format!("add-on {name} of cluster {cluster}"),
            UpdateTarget::Capability(cluster, name) => format!("capability {name} of cluster {cluster}"),
        }
    }

    /// Whether an update of that type is one of its own.
    fn is_own(self, kind: &str) -> bool {
        if let UpdateTarget::ClusterPart(_, own) = self { kind == own } else { true }
    }

    /// Whether it reports that an update of that type failed.
    fn reports(self, kind: &str) -> bool {
        let is_cluster = matches!(self, UpdateTarget::Cluster(_));
        self.is_own(kind) && !(is_cluster && OF_PARTS.contains(&kind))
    }

    /// `None` if EKS does not know the update (any more).
    async fn describe(self, cloud: &Cloud, id: &str) -> Result<Option<Update>, Failure> {
        let request = cloud
            .aws
            .eks
            .describe_update()
            .name(self.cluster())
            .update_id(id)
            .set_nodegroup_name(self.node_group())
            .set_addon_name(self.addon())
            .set_capability_name(self.capability());
        match cloud.aws.call(Service::Eks, "DescribeUpdate", id, request.send()).await {
            Err(error) if error.class() == Class::NotFound => Ok(None),
            other => Ok(other?.update),
        }
    }

    /// Finds the update in progress if its id is not known: started by somebody else, or by a call whose response was
    /// lost.
    async fn find_running(self, cloud: &Cloud) -> Result<Option<Update>, Failure> {
        let (mut next, mut described) = (None, 0);
        loop {
            let request = cloud
                .aws
                .eks
                .list_updates()
                .name(self.cluster())
                .set_nodegroup_name(self.node_group())
                .set_addon_name(self.addon())
                .set_capability_name(self.capability())
                .set_next_token(next);
            let answer = cloud.aws.call(Service::Eks, "ListUpdates", self.cluster(), request.send()).await?;
            for id in answer.update_ids() {
                if described == MAX_DESCRIBED {
                    return Ok(None);
                }
                described += 1;
                let update = self.describe(cloud, id).await?;
                let is_running = |update: &Update| update.status() == Some(&UpdateStatus::InProgress);
                if update.as_ref().is_some_and(|update| is_running(update) && self.is_own(&kind(update))) {
                    return Ok(update);
                }
            }
            next = answer.next_token;
            if next.is_none() {
                return Ok(None);
            }
        }
    }
}

/// Adds to the observation the update in progress or the result of the last one. `last` is the previous observation.
pub async fn follow<T>(
    cloud: &Cloud,
    target: UpdateTarget<'_>,
    observed: Observation<T>,
    options: &ObserveOptions,
    last: Option<&Observation<T>>,
) -> Result<Observation<T>, Failure> {
    let busy = matches!(observed.phase, Phase::Busy { action: Action::Update, .. });
    let finished = last.and_then(|last| last.outputs.get(LAST)).cloned();
    let known_failed = last.and_then(|last| last.failed_operation.clone());
    let known = match last.and_then(|last| last.operation.as_ref()) {
        Some(operation) => Some(&operation.id),
        None => options.recorded_operation.as_ref(),
    };
    // The result of a finished update is known and does not change.
    let known = known.filter(|id| finished.as_ref() != Some(id));
    let mut observed = Observation { failed_operation: known_failed, ..observed };
    if let Some(finished) = finished {
        observed = observed.output(LAST, finished);
    }
    if let Some(id) = known
        && let Some(update) = target.describe(cloud, id).await?
    {
        observed = record_update(observed, target, &update);
    }
    // The status of a finished update shows late; and if EKS lists no update, a search every few seconds finds none
    // either.
    let searched = last.is_some_and(|last| last.outputs.contains_key(SEARCHED));
    let was_running = last.is_some_and(|last| last.operation.is_some());
    if !busy || observed.operation.is_some() || was_running {
        return Ok(observed);
    }
    let found = if searched { None } else { target.find_running(cloud).await? };
    let Some(update) = found else { return Ok(observed.output(SEARCHED, "")) };
    let note_text = format!("update {} ({})", id(&update), kind(&update));
    observed = record_update(observed, target, &update);
    if let Phase::Busy { note, .. } = &mut observed.phase {
        *note = note_text;
    }
    Ok(observed)
}

/// The observation right after the start of an update. For a repeated call, EKS returns the state of the first one.
pub fn record_start<T>(observed: Observation<T>, target: UpdateTarget<'_>, update: Option<Update>) -> Observation<T> {
    match update {
        Some(update) => record_update(observed, target, &update),
        None => observed.phase(Phase::Busy { action: Action::Update, since: None, note: String::new() }),
    }
}

/// The client token of an update: the same when the call is repeated after a crash or a lost response, another one
/// after the previous update finished or the user requested an action. `step` describes the changes.
pub fn token<T>(cloud: &Cloud, observed: &Observation<T>, step: &str) -> String {
    let after = observed.outputs.get(LAST).map_or("", String::as_str);
    client_token(&cloud.owner.uid, 0, &format!("{step}, {}, after {after}", cloud.client_token_seed))
}

fn record_update<T>(observed: Observation<T>, target: UpdateTarget<'_>, update: &Update) -> Observation<T> {
    match update.status() {
        Some(UpdateStatus::Successful) => Observation { failed_operation: None, ..observed }.output(LAST, id(update)),
        Some(UpdateStatus::Failed | UpdateStatus::Cancelled) => {
            let failed = Some(to_failed_operation(target, update)).filter(|failed| target.reports(&failed.kind));
            Observation { failed_operation: failed, ..observed }.output(LAST, id(update))
        }
        _ => observed.running(operation(update)),
    }
}

/// The update as an operation in progress.
pub fn operation(update: &Update) -> Operation {
    let since = update.created_at().and_then(|at| Timestamp::from_second(at.secs()).ok());
    Operation { id: id(update), kind: kind(update), since }
}

/// Why the update with that id failed; `None` if it did not, or EKS does not know it.
///
/// # Errors
/// That of the read.
pub async fn failure_of(cloud: &Cloud, target: UpdateTarget<'_>, id: &str) -> Result<Option<FailedOperation>, Failure> {
    let update = target.describe(cloud, id).await?;
    let failed = |update: &Update| matches!(update.status(), Some(UpdateStatus::Failed | UpdateStatus::Cancelled));
    Ok(update.filter(failed).map(|update| to_failed_operation(target, &update)))
}

fn id(update: &Update) -> String {
    update.id().unwrap_or_default().to_owned()
}

fn kind(update: &Update) -> String {
    update.r#type().map_or("Update", |kind| kind.as_str()).to_owned()
}

fn to_failed_operation(target: UpdateTarget<'_>, update: &Update) -> FailedOperation {
    let errors: Vec<_> = update.errors().iter().map(reported).collect();
    let class_of = |error: &Reported| health::find(Subject::Update, &error.code).map(|issue| issue.class);
    let eviction_failed = errors.iter().any(|error| class_of(error) == Some(Class::EvictionBlocked));
    let class = if eviction_failed { Class::EvictionBlocked } else { Class::OperationFailed };
    let result = update.status().map_or("ended", |status| match status {
        UpdateStatus::Cancelled => "was cancelled",
        _ => "failed",
    });
    let mut message = format!("EKS update {} ({}) of {} {result}", id(update), kind(update), target.label());
    let cancelled = update.cancellation().and_then(|cancellation| cancellation.reason()).map(str::to_owned);
    let explained = Some(health::explain(Subject::Update, &errors)).filter(|_| !errors.is_empty());
    let why: Vec<_> = cancelled.into_iter().chain(explained).collect();
    if !why.is_empty() {
        message.push_str(&format!(": {}", why.join("; ").trim_end_matches('.')));
    }
    message.push('.');
    if eviction_failed {
        message.push_str(&format!(
            " Allow the pods to be evicted (see their PodDisruptionBudgets), then set the annotation \
             {RECONCILE_AT_ANNOTATION} to a new value to retry"
        ));
    }
    let code = errors.into_iter().next().map(|error| error.code);
    FailedOperation { id: id(update), kind: kind(update), failure: Failure { code, ..Failure::new(class, message) } }
}

/// "PodEvictionFailure: Reached max retries (ip-10-0-1-2, ip-10-0-1-3)".
fn reported(error: &ErrorDetail) -> Reported {
    Reported {
        code: error.error_code().map_or("Unknown", |code| code.as_str()).to_owned(),
        message: error.error_message().unwrap_or_default().to_owned(),
        resource_ids: error.resource_ids().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_eks::types::{ErrorCode, UpdateType};

    use super::*;

    fn update(status: UpdateStatus, error: Option<ErrorDetail>) -> Update {
        let errors = error.into_iter().collect();
        let builder = Update::builder().id("u-1").r#type(UpdateType::VersionUpdate);
        builder.status(status).set_errors(Some(errors)).build()
    }

    fn recorded(update: &Update) -> Observation<()> {
        record_update(Observation::ready("demo", "ACTIVE", ()), UpdateTarget::NodeGroup("demo", "spot"), update)
    }

    #[test]
    fn update_in_progress_keeps_the_resource_busy_before_its_status_shows_it() {
        let observed = recorded(&update(UpdateStatus::InProgress, None));
        let operation = Operation { id: "u-1".into(), kind: "VersionUpdate".into(), since: None };
        assert_eq!(observed.operation, Some(operation));
        assert!(matches!(observed.phase, Phase::Busy { action: Action::Update, .. }));
    }

    #[test]
    fn failed_update_is_reported_with_all_details() {
        let error = ErrorDetail::builder()
            .error_code(ErrorCode::NodeCreationFailure)
            .error_message("Couldn't proceed with upgrade process.")
            .resource_ids("i-1")
            .resource_ids("i-2")
            .build();
        let observed = recorded(&update(UpdateStatus::Failed, Some(error)));
        let failed = observed.failed_operation.unwrap();
        assert_eq!(failed.failure.class, Class::OperationFailed);
        assert_eq!(
            failed.failure.message,
            "EKS update u-1 (VersionUpdate) of node group spot of cluster demo failed: NodeCreationFailure: Couldn't \
             proceed with upgrade process (i-1, i-2). New instances did not join: check the node role's policies, the way out \
             of the subnets, capacity, and user data and AMI of a launch template."
        );
        assert_eq!(observed.phase, Phase::Ready);
    }

    #[test]
    fn blocked_eviction_requires_user_action() {
        let error = ErrorDetail::builder().error_code(ErrorCode::PodEvictionFailure).build();
        let failed = recorded(&update(UpdateStatus::Failed, Some(error))).failed_operation.unwrap();
        assert_eq!(failed.failure.class, Class::EvictionBlocked);
        assert!(failed.failure.message.contains("keelson.dev/reconcile-at"), "{}", failed.failure);
    }

    #[test]
    fn failed_update_of_a_part_is_reported_by_that_part() {
        let failed = |target| {
            let update = Update::builder().id("u-1").r#type(UpdateType::CertificateAuthorityUpdate);
            let update = update.status(UpdateStatus::Failed).build();
            record_update(Observation::ready("demo", "ACTIVE", ()), target, &update).failed_operation.is_some()
        };
        assert!(failed(UpdateTarget::ClusterPart("demo", CERTIFICATE_AUTHORITY)));
        assert!(!failed(UpdateTarget::ClusterPart("demo", ASSOCIATION)));
        assert!(!failed(UpdateTarget::Cluster("demo")));
    }

    #[test]
    fn successful_update_clears_the_previous_failure() {
        let before = recorded(&update(UpdateStatus::Cancelled, None));
        assert!(before.failed_operation.as_ref().is_some_and(|f| f.failure.message.ends_with("was cancelled.")));
        let after = record_update(before, UpdateTarget::Cluster("demo"), &update(UpdateStatus::Successful, None));
        assert_eq!((after.failed_operation, after.operation, after.phase), (None, None, Phase::Ready));
        assert_eq!(after.outputs.get(LAST).map(String::as_str), Some("u-1"));
    }
}
