//! Ownership tags.

use super::*;

fn user(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn ownership_depends_on_the_uid_alone() {
    let table = [
        (Tags::new().with(OWNER, "uid-1"), Ownership::Ours),
        (Tags::new(), Ownership::Unowned),
        (Tags::new().with(CLUSTER, "team/demo").with(NAME, "demo"), Ownership::Unowned),
        (
            Tags::new().with(OWNER, "uid-2").with(CLUSTER, "team/demo"),
            Ownership::Other { owner: "uid-2".into(), cluster: Some("team/demo".into()) },
        ),
    ];
    for (tags, wanted) in table {
        assert_eq!(Ownership::of(&tags, "uid-1"), wanted);
    }
}

#[test]
fn user_tags_never_replace_own_tags() {
    let tags =
        Tags::owned("uid-1", "team/demo", "vpc", "demo", &user(&[(OWNER, "evil"), ("Name", "mine"), ("team", "a")]));
    assert_eq!(tags.owner(), Some("uid-1"));
    assert_eq!((tags.get(NAME), tags.get("team"), tags.resource()), (Some("mine"), Some("a"), Some("vpc")));
    // IAM takes no second key that differs only in case.
    let tags = Tags::owned("uid-1", "team/demo", "vpc", "demo", &user(&[("name", "mine")]));
    assert_eq!((tags.get(NAME), tags.get("name")), (None, Some("mine")));
}

#[test]
fn tags_convert_to_all_services_and_back() {
    let tags = Tags::owned("uid-1", "team/demo", "role/node", "demo", &user(&[("empty", ""), ("team", "ä")]));
    assert_eq!(Tags::from_ec2(&tags.to_ec2()), tags);
    assert_eq!(Tags::from_iam(&tags.to_iam()), tags);
    assert_eq!(Tags::from_eks(Some(&tags.to_eks())), tags);
    let specification = tags.to_ec2_specification(ResourceType::Vpc);
    assert_eq!(specification.resource_type(), Some(&ResourceType::Vpc));
    assert_eq!(Tags::from_ec2(specification.tags()), tags);
}

#[test]
fn only_differing_tags_are_set_and_foreign_tags_are_unchanged() {
    let wanted: Tags = [("a", "1"), ("b", "2")].into_iter().collect();
    let observed: Tags = [("a", "1"), ("b", "0"), ("theirs", "x")].into_iter().collect();
    assert_eq!(wanted.missing_from(&observed), Tags::new().with("b", "2"));
    assert!(wanted.missing_from(&wanted).is_empty());
}

#[test]
fn installation_tag_never_displaces_a_user_tag() {
    let tags = |user: usize| Tags::new().with_installation(Some("here"), user);
    assert_eq!((tags(42).installation(), tags(43).installation()), (Some("here"), None));
    assert_eq!(Tags::new().with_installation(None, 0).installation(), None);
}

#[test]
fn reserved_keys_are_recognised_in_every_case_of_every_alphabet() {
    let removed = |key: &str| Tags::new().without([key.to_owned()]).removed().count();
    for key in [
        "keelson.dev/owner",
        "Keelson.Dev/owner",
        "\u{212a}eelson.dev/owner",
        "keel\u{17f}on.dev/owner",
        "\u{212a}eel\u{17f}on.dev/owner",
        "AWS:x",
    ] {
        assert_eq!(removed(key), 0, "{key}");
    }
    assert!(is_same_key("\u{212a}ey\u{17f}", "KEYS") && !is_same_key("key", "keys"));
    assert_eq!(removed("keelson/team"), 1);
}
