//! The versions that the nodes of a group may change to now, by its cluster's upgrade and maintenance windows. Pure.

use jiff::Timestamp;

use crate::api::upgrade::FollowPolicy;
use crate::api::{EksCluster, KubernetesVersion, NodeGroup};
use crate::resources::eks::node_group::{Target, UpdateHold};
use crate::upgrade::{WindowState, Windows, node_group_version};

/// The target, and when to requeue because a window opens.
pub fn target(group: &NodeGroup, cluster: &EksCluster, now: Timestamp) -> (Target, Option<Timestamp>) {
    // An invalid window stalls the cluster: until it is fixed, nothing that waits for a window starts.
    let window = Windows::parse(&cluster.spec.upgrade.windows)
        .map_or(WindowState::Closed { opens: None }, |windows| windows.state(now));
    let status = cluster.status.as_ref();
    let control_plane: Option<KubernetesVersion> = status.and_then(|status| status.version.as_deref()?.parse().ok());
    // On a rollback, no node group follows to a version that the control plane leaves.
    let control_plane = control_plane.map(|at| cluster.spec.version().map_or(at, |goal| at.min(goal)));
    let has: Option<KubernetesVersion> =
        group.status.as_ref().and_then(|status| status.version.as_deref()?.parse().ok());
    let wanted = desired_version(group, cluster, has, control_plane);
    let moves = wanted.is_some_and(|wanted| has.is_none_or(|has| wanted != has));
    let ahead = wanted.zip(control_plane).filter(|(wanted, control_plane)| wanted > control_plane);
    let next_window = window.describe_next();
    let mut target = Target { replace: window.is_open(), next_window: next_window.clone(), ..Target::default() };
    let opens = match &window {
        WindowState::Closed { opens } => opens.as_ref().map(jiff::Zoned::timestamp),
        WindowState::Always | WindowState::Open { .. } => None,
    };
    if let Some((wanted, control_plane)) = ahead {
        let why = format!("version {wanted} waits for the control plane, which is at {control_plane}");
        target.on_hold = Some(UpdateHold::ControlPlane(why));
    } else if let (true, Some(next), Some(wanted), Some(_)) = (moves, &next_window, wanted, has) {
        target.on_hold = Some(UpdateHold::Window(format!("version {wanted} waits for a maintenance window: {next}")));
    } else {
        target.version = wanted.map(|wanted| wanted.to_string());
    }
    (target, opens)
}

/// The version that the group must have now: its own, or the one that the cluster's upgrade allows it; or one on the
/// way to its own where the control plane could not continue without it.
fn desired_version(
    group: &NodeGroup,
    cluster: &EksCluster,
    has: Option<KubernetesVersion>,
    control_plane: Option<KubernetesVersion>,
) -> Option<KubernetesVersion> {
    let own = group.spec.version().ok().flatten();
    let policy = cluster.spec.upgrade.node_groups;
    let allowed = cluster.status.as_ref().and_then(|status| status.upgrade.as_ref()?.node_group_version.as_deref());
    let allowed: Option<KubernetesVersion> = allowed.and_then(|allowed| allowed.parse().ok());
    let there = has.zip(control_plane);
    let allowed_target =
        there.and_then(|(has, control_plane)| node_group_version::target(has, own, policy, control_plane, allowed));
    // Allowed before the policy was changed.
    allowed_target.or(own).or(allowed.filter(|_| policy == FollowPolicy::Follow))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cluster(upgrade: Value, released: &str) -> EksCluster {
        serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster", "metadata": {"name": "demo", "namespace": "team"},
            "spec": {"region": "eu-west-1", "version": "1.34", "upgrade": upgrade},
            "status": {"version": "1.34", "upgrade": {"nodeGroupVersion": released}},
        }))
        .unwrap()
    }

    fn group(own: Option<&str>, has: &str) -> NodeGroup {
        let mut object = json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup", "metadata": {"name": "a", "namespace": "team"},
            "spec": {"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}},
            "status": {"version": has},
        });
        if let Some(own) = own {
            object["spec"]["version"] = own.into();
        }
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn target_versions_of_nodes() {
        // Sunday, 22 November 2026, noon.
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let any_time = json!({});
        let saturdays = json!({"windows": [{"schedule": "0 2 * * 6", "duration": "4h", "timeZone": "Europe/Berlin"}]});
        let manual = json!({"nodeGroups": "Manual"});
        let cases = [
            ("follows", cluster(any_time.clone(), "1.34"), group(None, "1.33")),
            ("up to date", cluster(any_time.clone(), "1.34"), group(None, "1.34")),
            ("not released yet", cluster(any_time.clone(), ""), group(None, "1.33")),
            ("has its own version", cluster(any_time.clone(), "1.34"), group(Some("1.33"), "1.32")),
            ("its own version is ahead", cluster(any_time.clone(), "1.34"), group(Some("1.35"), "1.34")),
            (
                "its own version is ahead, and the upgrade includes it",
                cluster(any_time.clone(), "1.34"),
                group(Some("1.35"), "1.31"),
            ),
            (
                "its own version is ahead, and the upgrade excludes it",
                cluster(any_time, ""),
                group(Some("1.35"), "1.31"),
            ),
            ("outside the window", cluster(saturdays.clone(), "1.34"), group(None, "1.33")),
            ("steady outside the window", cluster(saturdays, "1.34"), group(None, "1.34")),
            ("manual", cluster(manual, "1.34"), group(None, "1.33")),
        ];
        let table = cases.map(|(name, cluster, group)| {
            let (Target { version, replace, next_window, on_hold, .. }, opens) = target(&group, &cluster, now);
            let version = version.as_deref().unwrap_or("-");
            let opens = opens.map_or("-".to_owned(), |opens| opens.to_string());
            format!(
                "{name}: version {version}, replace {replace}, opens {opens} ({}); {}",
                next_window.unwrap_or_default(),
                on_hold.map(|hold| hold.to_string()).unwrap_or_default()
            )
        });
        insta::assert_snapshot!(table.join("\n"));
    }
}
