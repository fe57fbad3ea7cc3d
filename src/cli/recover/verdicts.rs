//! Compares the owners' tags in AWS with the objects of the management cluster. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;

use crate::api::policy::ChangePolicy;
use crate::api::status_cluster::{RecoveryStatus, ResourceStatus};
use crate::api::{EksCluster, NodeGroup};
use crate::aws::tags::CLUSTER;
use crate::cli::table::Table;
use crate::controllers::node_group::replacement::node_group_names::may_be_same;
use crate::engine::Key;
use crate::resources::eks::{cluster, node_group};
use crate::resources::iam::{oidc_provider, role};
use crate::resources::network::vpc;
use crate::resources::recovery::takeover::TaggedResource;

/// An object and what it owns.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its argument for kubectl, e.g. `nodegroup/demo-default`.
    pub argument: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// `namespace/name` of its EksCluster.
    pub cluster: String,
    /// The region in its spec; `None`: that of its EksCluster.
    pub region: Option<String>,
    /// Name of its node group in EKS; `None`: it is an EksCluster.
    pub node_group: Option<String>,
    /// The resources on record as its own; `None`: it keeps no record.
    pub record: Option<Vec<ResourceStatus>>,
    /// Its last recovery.
    pub recovery: Option<RecoveryStatus>,
    /// Its recover annotation.
    pub annotation: Option<String>,
    /// Whether its changes wait for approval; of a node group, its EksCluster decides.
    pub needs_approval: bool,
}

impl From<&EksCluster> for Object {
    fn from(cluster: &EksCluster) -> Self {
        let (name, namespace) = (cluster.name_any(), cluster.namespace().unwrap_or_default());
        let status = cluster.status.clone().unwrap_or_default();
        Self {
            argument: format!("ekscluster/{name}"),
            cluster: format!("{namespace}/{name}"),
            region: Some(cluster.spec.region.clone()),
            namespace,
            uid: cluster.uid().unwrap_or_default(),
            node_group: None,
            record: Some(status.resources),
            recovery: status.recovery,
            annotation: cluster.annotations().get(crate::api::RECOVER_ANNOTATION).cloned(),
            needs_approval: cluster.spec.change_policy == ChangePolicy::Approval,
        }
    }
}

impl From<&NodeGroup> for Object {
    fn from(group: &NodeGroup) -> Self {
        let namespace = group.namespace().unwrap_or_default();
        Self {
            argument: format!("nodegroup/{}", group.name_any()),
            cluster: format!("{namespace}/{}", group.spec.cluster_ref.name),
            region: None,
            namespace,
            uid: group.uid().unwrap_or_default(),
            node_group: Some(group.first_node_group_name()),
            record: None,
            recovery: group.status.as_ref().and_then(|status| status.recovery.clone()),
            annotation: group.annotations().get(crate::api::RECOVER_ANNOTATION).cloned(),
            needs_approval: false,
        }
    }
}

impl Object {
    /// Whether a resource of that cluster and key belongs to this object.
    fn is_of(&self, cluster: &str, key: &Key) -> bool {
        let group = node_group::KIND.is_of(key).then(|| key.name());
        self.cluster == cluster && may_be_same(self.node_group.as_deref(), group)
    }

    /// Whether the resource that proves the others is on record.
    fn records(&self, key: &Key, id: &str) -> bool {
        let proves = *key == cluster::key() || *key == vpc::key();
        let Some(record) = self.record.as_ref().filter(|_| proves) else { return true };
        record.iter().any(|line| line.key == key.to_string() && line.id.as_deref() == Some(id))
    }
}

/// The owner of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An existing object owns it.
    Owned,
    /// An object of that name exists, and can take it over on a user's request. Holds its index among the objects.
    Recoverable(usize),
    /// No object of that name exists.
    Orphaned,
    /// In IAM, which is global, of a cluster that does not exist in this region.
    WithoutCluster,
    /// The object of that name is for another region.
    OtherRegion,
    /// Owned by another installation. Holds its id.
    OtherInstallation(String),
}

impl Verdict {
    fn describe(&self) -> String {
        match self {
            Verdict::Owned => "owned".to_owned(),
            Verdict::Recoverable(_) => "recoverable".to_owned(),
            Verdict::Orphaned => "orphaned".to_owned(),
            Verdict::WithoutCluster => "without its cluster".to_owned(),
            Verdict::OtherRegion => "object in another region".to_owned(),
            Verdict::OtherInstallation(id) => format!("other installation ({id})"),
        }
    }
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Line {
    /// Account and region.
    pub place: String,
    /// Its key, from its tag.
    pub key: Key,
    /// Its id.
    pub id: String,
    /// The UID in its tag.
    pub owner: String,
    /// The object that its tags name.
    pub object: String,
    /// Its index among the objects, if it exists.
    pub named: Option<usize>,
    /// Its owner.
    pub verdict: Verdict,
}

/// Assigns an owner to each resource found in a place.
pub fn lines(place: &str, found: &[TaggedResource], objects: &[Object], installation: Option<&str>) -> Vec<Line> {
    let exists: BTreeSet<&str> = objects.iter().map(|object| object.uid.as_str()).collect();
    let line = |one: &TaggedResource| {
        let (key, owner) = (one.key()?, one.tags.owner()?.to_owned());
        let cluster = one.tags.get(CLUSTER).unwrap_or_default().to_owned();
        let named = objects.iter().position(|object| object.is_of(&cluster, &key));
        let elsewhere = one.tags.installation().filter(|id| installation != Some(*id));
        let recorded = |number: usize| objects[number].uid != owner || objects[number].records(&key, &one.id);
        let verdict = match (elsewhere, named) {
            (_, Some(number)) if exists.contains(owner.as_str()) && !recorded(number) => Verdict::Recoverable(number),
            (_, _) if exists.contains(owner.as_str()) => Verdict::Owned,
            (Some(id), _) => Verdict::OtherInstallation(id.to_owned()),
            (None, Some(number)) => Verdict::Recoverable(number),
            (None, None) => Verdict::Orphaned,
        };
        let object =
            if node_group::KIND.is_of(&key) { format!("{cluster}, node group {}", key.name()) } else { cluster };
        Some(Line { place: place.to_owned(), key, id: one.id.clone(), owner, object, named, verdict })
    };
    let mut lines: Vec<Line> = found.iter().filter_map(line).collect();
    let clusters = lines.iter().filter(|line| line.key == cluster::key());
    let with_cluster: BTreeSet<String> = clusters.map(|line| line.object.clone()).collect();
    // The cluster may run in another region.
    for line in lines.iter_mut().filter(|line| matches!(line.verdict, Verdict::Recoverable(_))) {
        let is_global = role::KIND.is_of(&line.key) || oidc_provider::KIND.is_of(&line.key);
        if is_global && !with_cluster.contains(&line.object) {
            line.verdict = Verdict::WithoutCluster;
        }
    }
    let region = place.rsplit(' ').next();
    let region_of = |named: Option<usize>| {
        let cluster = &objects[named?].cluster;
        objects.iter().find(|object| object.cluster == *cluster && object.node_group.is_none())?.region.as_deref()
    };
    for line in &mut lines {
        let of_object = region_of(line.named);
        if matches!(line.verdict, Verdict::Recoverable(_)) && of_object.is_some() && of_object != region {
            line.verdict = Verdict::OtherRegion;
        }
    }
    lines.sort_by(|a, b| (&a.object, &a.owner, &a.key, &a.id).cmp(&(&b.object, &b.owner, &b.key, &b.id)));
    lines
}

/// The UIDs that each object can take over, by its index among the objects.
pub fn recoverable(lines: &[Line]) -> BTreeMap<usize, BTreeSet<String>> {
    let mut all: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for line in lines {
        if let Verdict::Recoverable(number) = line.verdict {
            all.entry(number).or_default().insert(line.owner.clone());
        }
    }
    all
}

/// The ids of other installations in the tags of resources of existing objects, or of this one.
pub fn other_installations(lines: &[Line], of: Option<usize>) -> BTreeSet<&str> {
    let is_named = |line: &&Line| if of.is_some() { line.named == of } else { line.named.is_some() };
    // The cluster's security group keeps the tags that the cluster had when EKS created it.
    let named = lines.iter().filter(is_named).filter(|line| line.key != cluster::key() || !line.id.starts_with("sg-"));
    named
        .filter_map(|line| match &line.verdict {
            Verdict::OtherInstallation(id) => Some(id.as_str()),
            _ => None,
        })
        .collect()
}

/// Why resources of `other` installations are not taken over, and what to do.
pub fn describe_other_installations(other: &BTreeSet<&str>, this: Option<&str>) -> String {
    let other = other.iter().copied().collect::<Vec<_>>().join(", ");
    let this = this.map_or("has no id".to_owned(), |id| format!("is {id}"));
    format!(
        "resources of this name carry the tag of installation {other}, and this one {this}. While that one runs, they \
         are its own; keelson move moves them. If it is lost for good, start the operator here with --installation-id \
         {other}, or restore its ConfigMap keelson-installation, and run this again"
    )
}

/// Why nothing is taken over by the object: what was found of it.
pub fn describe_nothing(lines: &[Line], of: usize, this: Option<&str>, searched: &str) -> String {
    let other = other_installations(lines, Some(of));
    if !other.is_empty() {
        return describe_other_installations(&other, this);
    }
    if lines.iter().any(|line| line.named == Some(of) && line.verdict == Verdict::Owned) {
        return "it owns what AWS has of this name, so there is nothing to take over".to_owned();
    }
    format!("nothing in AWS carries the tags of an earlier object of this name ({searched})")
}

/// The annotation's value; `None`: it is already set, and was not acted upon yet. A value that was acted upon no
/// longer counts, so another one is written. `now`: seconds since 1970.
pub fn text(object: &Object, uid: &str, now: i64) -> Option<String> {
    let used = object.recovery.as_ref().map(|recovery| recovery.annotation.as_str());
    let stands = object.annotation.as_deref().filter(|text| used != Some(*text));
    if stands.is_some_and(|text| crate::resources::recovery::takeover::parse_uid(text) == uid) {
        return None;
    }
    Some(if used == Some(uid) { format!("{uid}/{now}") } else { uid.to_owned() })
}

/// A row for each object, earlier owner and verdict.
pub fn table(lines: &[Line]) -> String {
    let mut rows: Vec<([String; 4], usize)> = Vec::new();
    for Line { place, owner, object, verdict, .. } in lines {
        let row = [place.clone(), object.clone(), owner.clone(), verdict.describe()];
        match rows.iter_mut().find(|(other, _)| *other == row) {
            Some((_, count)) => *count += 1,
            None => rows.push((row, 1)),
        }
    }
    let mut table = Table::new(["PLACE", "OBJECT", "OWNER (UID)", "RESOURCES", "VERDICT"]);
    for ([place, object, owner, verdict], count) in rows {
        table.row([place, object, owner, count.to_string(), verdict]);
    }
    table.format("")
}

/// A row for each resource.
pub fn details(lines: &[Line]) -> String {
    let mut table = Table::new(["PLACE", "RESOURCE", "ID", "OWNER (UID)", "OBJECT", "VERDICT"]);
    for Line { place, key, id, owner, object, named: _, verdict } in lines {
        table.row([place, &key.to_string(), id, owner, object, &verdict.describe()]);
    }
    table.format("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::tags::{INSTALLATION, OWNER, RESOURCE, Tags};
    use crate::resources::recovery::takeover::Location;
    use crate::resources::tag_calls::Handle;

    fn object(name: &str, uid: &str, node_group: Option<&str>) -> Object {
        Object {
            argument: name.into(),
            namespace: "team".into(),
            uid: uid.into(),
            cluster: "team/demo".into(),
            region: None,
            node_group: node_group.map(str::to_owned),
            record: Some(vec![]),
            recovery: None,
            annotation: None,
            needs_approval: false,
        }
    }

    fn found(key: &str, cluster: &str, owner: &str, installation: Option<&str>) -> TaggedResource {
        let tags = Tags::new().with(OWNER, owner).with(CLUSTER, cluster).with(RESOURCE, key);
        let tags = installation.map_or(tags.clone(), |id| tags.with(INSTALLATION, id));
        TaggedResource { id: format!("id-of-{key}"), handle: Handle::Ec2, tags, location: Location::Itself }
    }

    #[test]
    fn each_resource_is_owned_recoverable_orphaned_or_of_another_installation() {
        let objects = [object("ekscluster/demo", "new", None), object("nodegroup/a", "group", Some("workers"))];
        let all = [
            found("vpc", "team/demo", "old", Some("here")),
            found("subnet/private/a", "team/demo", "new", Some("here")),
            found("nodeGroup/workers", "team/demo", "gone", None),
            found("nodeGroup/other", "team/demo", "gone", None),
            found("vpc", "team/other", "old-2", Some("here")),
            found("cluster", "team/demo", "old", Some("there")),
            found("cluster", "team/demo", "new", Some("here")),
        ];
        let judged = lines("111122223333 eu-west-1", &all, &objects, Some("here"));
        let verdicts: Vec<_> =
            judged.iter().map(|line| format!("{} {} {}", line.key, line.owner, line.verdict.describe())).collect();
        let expected = [
            // Its own UID, and not on record: the status was lost.
            "cluster new recoverable",
            "subnet/private/a new owned",
            "cluster old other installation (there)",
            "vpc old recoverable",
            "nodeGroup/other gone orphaned",
            "nodeGroup/workers gone recoverable",
            "vpc old-2 orphaned",
        ];
        assert_eq!(verdicts, expected);
        let uids = recoverable(&judged);
        assert_eq!(uids[&0].iter().collect::<Vec<_>>(), ["new", "old"]);
        assert_eq!(uids[&1].iter().collect::<Vec<_>>(), ["gone"]);
        let row = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let summary = table(&judged);
        let rows: Vec<_> = summary.lines().skip(1).map(row).collect();
        assert_eq!(rows.len(), 7, "{summary}");
        assert_eq!(rows[0], ["111122223333", "eu-west-1", "team/demo", "new", "1", "recoverable"]);
        let roles = ["role/cluster", "role/node"].map(|key| found(key, "team/demo", "new", Some("here")));
        let both = table(&lines("1 eu-west-1", &roles, &objects, Some("here")));
        assert_eq!(
            both.lines().skip(1).map(row).collect::<Vec<_>>(),
            [["1", "eu-west-1", "team/demo", "new", "2", "owned"]]
        );
        assert_eq!(details(&judged).lines().count(), 1 + all.len());
        assert!(details(&judged).contains("subnet/private/a"));
    }

    #[test]
    fn roles_without_their_cluster_in_the_region_are_not_recoverable() {
        let objects = [object("ekscluster/demo", "new", None)];
        let roles =
            ["role/cluster", "role/node", "oidcProvider"].map(|key| found(key, "team/demo", "old", Some("here")));
        let judged = lines("111122223333 eu-central-1", &roles, &objects, Some("here"));
        assert!(judged.iter().all(|line| line.verdict == Verdict::WithoutCluster), "{judged:?}");
        assert!(recoverable(&judged).is_empty());
        let with_cluster = [&roles[..], &[found("cluster", "team/demo", "old", Some("here"))]].concat();
        let judged = lines("111122223333 eu-west-1", &with_cluster, &objects, Some("here"));
        assert!(judged.iter().all(|line| line.verdict == Verdict::Recoverable(0)), "{judged:?}");
    }

    #[test]
    fn cluster_in_another_region_than_its_object_is_not_recoverable() {
        let cluster = Object { region: Some("eu-central-1".into()), ..object("ekscluster/demo", "new", None) };
        let objects = [cluster, object("nodegroup/a", "group", Some("workers"))];
        let all = ["cluster", "vpc", "nodeGroup/workers"].map(|key| found(key, "team/demo", "old", Some("here")));
        let judged = lines("1 eu-west-1", &all, &objects, Some("here"));
        assert!(judged.iter().all(|line| line.verdict == Verdict::OtherRegion), "{judged:?}");
        let judged = lines("1 eu-central-1", &all, &objects, Some("here"));
        assert!(judged.iter().all(|line| matches!(line.verdict, Verdict::Recoverable(_))), "{judged:?}");
    }

    #[test]
    fn another_installation_is_named_with_its_cure() {
        let objects = [object("ekscluster/demo", "new", None), object("nodegroup/a", "group", Some("workers"))];
        let all = [
            found("cluster", "team/demo", "old", Some("there")),
            found("nodeGroup/workers", "team/demo", "group", Some("here")),
            found("vpc", "team/elsewhere", "old", Some("elsewhere")),
        ];
        let lines = lines("1 eu-west-1", &all, &objects, Some("here"));
        assert_eq!(other_installations(&lines, None).into_iter().collect::<Vec<_>>(), ["there"]);
        let why = describe_nothing(&lines, 0, Some("here"), "searched: 1 eu-west-1");
        assert!(
            why.contains("installation there, and this one is here") && why.contains("--installation-id there"),
            "{why}"
        );
        assert!(describe_nothing(&lines, 1, Some("here"), "").contains("it owns what AWS has"));
        assert!(describe_nothing(&[], 0, Some("here"), "searched: 1 eu-west-1").ends_with("(searched: 1 eu-west-1)"));
    }

    #[test]
    fn a_used_annotation_value_is_replaced() {
        let mut object = object("ekscluster/demo", "new", None);
        assert_eq!(text(&object, "old", 7).as_deref(), Some("old"));
        object.annotation = Some("old".into());
        assert_eq!(text(&object, "old", 7), None, "it is already set");
        let completed_at = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH);
        object.recovery =
            Some(RecoveryStatus { annotation: "old".into(), owner: "old".into(), resources: 1, completed_at });
        assert_eq!(text(&object, "old", 7).as_deref(), Some("old/7"));
    }
}
