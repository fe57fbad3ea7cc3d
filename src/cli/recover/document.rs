//! What `keelson recover` found and did, for programs. Pure.

use serde::Serialize;

use super::verdicts::{Line, Object, Verdict};
use crate::api::{EksCluster, NodeGroup};
use crate::cli::output::type_name;

/// The answer of `-o json` and `-o yaml`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Id of this installation.
    pub installation: Option<String>,
    /// What carries Keelson's tags in AWS.
    pub resources: Vec<Resource>,
    /// The objects that can take something over; with a name or `--all`, those that do.
    pub objects: Vec<Recoverable>,
}

/// A resource in AWS.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    account_id: String,
    region: String,
    resource: String,
    id: String,
    owner_uid: String,
    object: String,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    installation: Option<String>,
}

/// An object that can take over what an earlier one owned.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Recoverable {
    kind: &'static str,
    namespace: String,
    name: String,
    /// UIDs of the earlier objects.
    earlier_uids: Vec<String>,
    /// `Recoverable`: nothing was changed. `Requested`: its annotation is set now. `AlreadyRequested`: it was before.
    state: State,
}

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum State {
    Recoverable,
    Requested,
    AlreadyRequested,
}

impl Document {
    /// What was found; no object yet.
    pub fn new(lines: &[Line], installation: Option<&str>) -> Self {
        let resources = lines.iter().map(resource).collect();
        Self { installation: installation.map(str::to_owned), resources, objects: Vec::new() }
    }

    /// Adds an object.
    pub fn add(&mut self, object: &Object, earlier_uids: Vec<String>, state: State) {
        let name = object.argument.rsplit('/').next().unwrap_or_default().to_owned();
        let kind = if object.node_group.is_some() { "NodeGroup" } else { "EksCluster" };
        self.objects.push(Recoverable { kind, namespace: object.namespace.clone(), name, earlier_uids, state });
    }

    /// The names of the objects, one a line.
    pub fn names(&self) -> String {
        let name = |object: &Recoverable| {
            let kind = match object.kind {
                "NodeGroup" => type_name::<NodeGroup>(),
                _ => type_name::<EksCluster>(),
            };
            format!("{kind}/{}\n", object.name)
        };
        self.objects.iter().map(name).collect()
    }
}

fn resource(line: &Line) -> Resource {
    let (account_id, region) = line.place.split_once(' ').unwrap_or((&line.place, ""));
    let (verdict, installation) = match &line.verdict {
        Verdict::Owned => ("Owned", None),
        Verdict::Recoverable(_) => ("Recoverable", None),
        Verdict::Orphaned => ("Orphaned", None),
        Verdict::WithoutCluster => ("WithoutCluster", None),
        Verdict::OtherRegion => ("OtherRegion", None),
        Verdict::OtherInstallation(id) => ("OtherInstallation", Some(id.clone())),
    };
    Resource {
        account_id: account_id.to_owned(),
        region: region.to_owned(),
        resource: line.key.to_string(),
        id: line.id.clone(),
        owner_uid: line.owner.clone(),
        object: line.object.clone(),
        verdict,
        installation,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::output::{self, Structured};
    use crate::cli::recover::{Found, hint, verdicts};
    use crate::engine::Key;

    fn line(key: &str, verdict: Verdict) -> Line {
        Line {
            place: "111122223333 eu-west-1".into(),
            key: Key::parse(key),
            id: format!("id-of-{key}"),
            owner: "old".into(),
            object: "team/demo".into(),
            named: Some(0),
            verdict,
        }
    }

    fn lines() -> [Line; 2] {
        [line("vpc", Verdict::Recoverable(0)), line("cluster", Verdict::OtherInstallation("there".into()))]
    }

    #[test]
    fn text_for_people() {
        let lines = lines();
        let searched = "searched: 111122223333 eu-west-1";
        let hint = hint(&Found { lines: &lines, installation: Some("here"), searched });
        let text = [verdicts::table(&lines), verdicts::details(&lines), hint].join("---\n");
        insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string());
    }

    #[test]
    fn answer_for_programs() {
        let cluster = json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
            "metadata": {"name": "demo", "namespace": "team", "uid": "new"},
            "spec": {"region": "eu-west-1", "version": "1.34"},
        });
        let group = json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup",
            "metadata": {"name": "demo-spot", "namespace": "team", "uid": "group"},
            "spec": {"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}},
        });
        let mut document = Document::new(&lines(), Some("here"));
        document.add(
            &Object::from(&serde_json::from_value::<EksCluster>(cluster).unwrap()),
            vec!["old".into()],
            State::Requested,
        );
        document.add(
            &Object::from(&serde_json::from_value::<NodeGroup>(group).unwrap()),
            vec!["old".into(), "older".into()],
            State::Recoverable,
        );
        insta::assert_snapshot!(output::format(&document, Structured::Json).unwrap());
        assert_eq!(document.names(), "ekscluster.keelson.dev/demo\nnodegroup.keelson.dev/demo-spot\n");
    }
}
