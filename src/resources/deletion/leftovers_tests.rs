//! Which rules a sweep revokes.

use super::*;
use crate::aws::snapshots::network_attributes::Permission;

#[test]
fn only_rules_between_swept_groups_are_revoked() {
    let rule = |ports: (i32, i32), groups: &[&str]| Permission {
        protocol: "tcp".into(),
        from_port: Some(ports.0),
        to_port: Some(ports.1),
        cidrs: vec!["10.0.0.0/16".into()],
        ipv6_cidrs: Vec::new(),
        group_ids: groups.iter().map(|id| (*id).to_owned()).collect(),
    };
    let rules = [rule((80, 80), &["sg-1", "sg-2", "sg-foreign"]), rule((443, 443), &["sg-1"]), rule((22, 22), &[])];
    let found = rules_between(&rules, "sg-1", &["sg-1", "sg-2"]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].from_port(), found[0].ip_ranges().len()), (Some(80), 0));
    let pairs: Vec<_> = found[0].user_id_group_pairs().iter().filter_map(|pair| pair.group_id()).collect();
    assert_eq!(pairs, ["sg-2"]);
}

#[test]
fn baseline_of_another_vpc_is_ignored() {
    let baseline = Baseline::new(Timestamp::UNIX_EPOCH, ["vpc-1".to_owned(), "sg-1".to_owned()]);
    assert!(is_for_vpc(&baseline, "vpc-1") && !is_for_vpc(&baseline, "vpc-2"));
    // A record of an older Keelson contains no VPC; one that spares everything applies to all VPCs.
    assert!(!is_for_vpc(&Baseline::new(Timestamp::UNIX_EPOCH, ["sg-1".to_owned()]), "vpc-1"));
    assert!(is_for_vpc(&Baseline::unknown(Timestamp::UNIX_EPOCH), "vpc-2"));
}
