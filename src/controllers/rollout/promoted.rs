//! Who promoted a wave: status has it from the write that promotes. An event alone could be lost by a crash. Pure.

use crate::api::PROMOTE_ANNOTATION;
use crate::api::conditions::bounded;
use crate::api::fleet_rollout_status::FleetRolloutStatus;
use crate::rollout::RolloutEvent;

/// Longest name in status.
const MAX_NAME: usize = 256;

/// Whether a wave is promoted.
pub fn is_in(events: &[RolloutEvent]) -> bool {
    events.iter().any(|event| event.annotation == Some(PROMOTE_ANNOTATION))
}

/// Records the author of each promotion that `status` has and `before` has not.
pub fn record_author(before: &FleetRolloutStatus, status: &mut FleetRolloutStatus, author: Option<&str>) {
    for release in &mut status.releases {
        let old = before.releases.iter().find(|old| (old.gate, &old.target) == (release.gate, &release.target));
        for wave in release.waves.iter_mut().filter(|wave| wave.promoted_at.is_some()) {
            let mut earlier = old.into_iter().flat_map(|old| &old.waves);
            if !earlier.any(|one| one.name == wave.name && one.promoted_at.is_some()) {
                wave.promoted_by = author.map(|author| bounded(author, MAX_NAME));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(promoted: [Option<&str>; 2]) -> FleetRolloutStatus {
        let wave = |name: &str, at: Option<&str>| json!({"name": name, "state": "Passed", "promotedAt": at});
        let waves = [wave("canary", promoted[0]), wave("early", promoted[1])];
        let release = json!({"gate": "ControlPlane", "target": "1.36", "state": "Progressing",
            "since": "2026-11-28T00:00:00Z", "waves": waves});
        serde_json::from_value(json!({"releases": [release]})).unwrap()
    }

    #[test]
    fn author_is_that_of_the_new_promotion_alone() {
        let at = Some("2026-11-28T10:00:00Z");
        let mut first = status([at, None]);
        record_author(&status([None, None]), &mut first, Some("keelson-cli"));
        let by = |status: &FleetRolloutStatus| {
            status.releases[0].waves.iter().map(|wave| wave.promoted_by.clone()).collect::<Vec<_>>()
        };
        assert_eq!(by(&first), [Some("keelson-cli".to_owned()), None]);
        let mut second = status([at, at]);
        second.releases[0].waves[0].promoted_by = by(&first)[0].clone();
        record_author(&first, &mut second, Some("kubectl-annotate"));
        assert_eq!(by(&second), [Some("keelson-cli".to_owned()), Some("kubectl-annotate".to_owned())]);
        let mut unknown = status([at, None]);
        record_author(&FleetRolloutStatus::default(), &mut unknown, None);
        assert_eq!(by(&unknown), [None, None]);
    }
}
