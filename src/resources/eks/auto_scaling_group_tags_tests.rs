//! Tests of the tags on an Auto Scaling group: what is set, what is removed, and what is never touched.

use super::*;
use crate::resources::cloud::Owner;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn of(wanted: &[(&str, &str)], former: &[&str]) -> AutoScalingGroupTags {
    let owner = Owner { uid: "uid-1".into(), cluster: "team/demo".into(), ..Owner::default() };
    let context = ResourceContext {
        owner: &owner,
        cluster_name: "demo",
        user_tags: Default::default(),
        former_tags: Default::default(),
        intervals: Intervals::default(),
    };
    let former: Vec<_> = former.iter().map(|key| (*key).to_owned()).collect();
    AutoScalingGroupTags::new(&context, "workers", map(wanted), &former)
}

fn changes(tags: &AutoScalingGroupTags, groups: &[&[(&str, &str)]]) -> Vec<String> {
    let found = |pairs: &&[(&str, &str)]| {
        map(pairs).into_iter().map(|(key, value)| (key, Found { value, at_launch: false })).collect()
    };
    let detail = groups.iter().enumerate().map(|(index, pairs)| (format!("eks-{index}"), found(pairs))).collect();
    let changes = tags.diff(&AutoScalingGroupTags::to_observation(detail), &Refs::default());
    changes.iter().map(|change| format!("{} {} -> {}", change.field, change.from, change.to)).collect()
}

const LABEL: &str = "k8s.io/cluster-autoscaler/node-template/label/team";

#[test]
fn wanted_keys_are_set_former_ones_removed_and_others_stay() {
    let tags = of(&[(LABEL, "shop"), ("cost-center", "4711")], &["cost-center", "env"]);
    let group = [("env", "prod"), ("cost-center", "1"), ("theirs", "x"), ("eks:cluster-name", "demo")];
    assert_eq!(
        changes(&tags, &[&group]),
        [
            "autoScalingGroupTags.cost-center 1 -> 4711",
            "autoScalingGroupTags.env prod -> (none)",
            "autoScalingGroupTags.k8s.io/cluster-autoscaler/node-template/label/team (none) -> shop",
        ]
    );
    assert_eq!(changes(&tags, &[&[(LABEL, "shop"), ("cost-center", "4711"), ("theirs", "x")]]), [""; 0]);
    assert_eq!(tag_key("autoScalingGroupTags.env"), Some("env"));
    assert_eq!(tag_key("tags.env"), None, "of the node group");
}

#[test]
fn every_group_of_the_node_group_gets_them() {
    let tags = of(&[("team", "shop")], &[]);
    assert_eq!(changes(&tags, &[&[("team", "shop")], &[]]), ["autoScalingGroupTags.team (none) -> shop"]);
}

#[test]
fn keys_that_eks_sets_are_never_removed() {
    let of_eks = ["eks:nodegroup-name", "kubernetes.io/cluster/demo", "k8s.io/cluster-autoscaler/enabled"];
    let tags = of(&[], &[of_eks[0], of_eks[1], of_eks[2], "k8s.io/cluster-autoscaler/demo"]);
    assert!(tags.is_empty());
    assert!(!of(&[], &[LABEL]).is_empty(), "of the user");
    assert!(!of(&[], &["k8s.io/cluster-autoscaler/other"]).is_empty(), "not of this cluster");
}
