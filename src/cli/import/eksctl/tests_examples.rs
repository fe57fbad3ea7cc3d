//! How much of usual files is converted: a snapshot of what is not, and a count.

use super::own_fields::UNKNOWN;
use super::*;
use crate::cli::import::section::Remark;

const EXAMPLES: &str = include_str!("testdata/examples/all.yaml");
/// What has no place in Keelson on purpose; and self-managed nodes, which need the flag.
const EXEMPT: [&str; 2] = ["outpost: ", "localZones: "];

/// Each file's title and text.
fn examples() -> Vec<(&'static str, &'static str)> {
    let parts = EXAMPLES.split("\n---\n").skip(1);
    parts.map(|part| part.strip_prefix("# ").and_then(|part| part.split_once('\n')).unwrap()).collect()
}

/// What is not converted, or refused.
fn left_of(text: &str, options: &Options) -> Vec<String> {
    match convert(text, &ObjectPlacement::default(), options) {
        Err(error) => vec![format!("refused: {error:#}")],
        Ok(Converted { objects, report }) => {
            let manifest = write_manifest::manifest(&comments(&report), &objects).unwrap();
            let mut left: Vec<_> =
                report.left_out.iter().map(|Remark { path, what }| format!("{path}: {what}")).collect();
            if let Err(error) = check(&manifest, &ObjectPlacement::default()) {
                left.push(format!("refused: {error:#}"));
            }
            left
        }
    }
}

fn as_managed() -> Options {
    Options { self_managed_as_managed: true, ..Options::default() }
}

#[test]
fn most_usual_files_are_converted_with_nothing_left() {
    let is_exempt = |line: &String| {
        line.contains("--self-managed-as-managed") || EXEMPT.iter().any(|prefix| line.starts_with(prefix))
    };
    let whole = |options: &Options, exempt: bool| {
        let is_whole = |text| left_of(text, options).iter().all(|line| exempt && is_exempt(line));
        examples().into_iter().filter(|(_, text)| is_whole(text)).count()
    };
    // As many as eksctl has, and two with fields that its newer versions have.
    assert_eq!(examples().len(), 49 + 2);
    assert_eq!(whole(&Options::default(), true), 44);
    assert_eq!(whole(&as_managed(), false), 40);
}

#[test]
fn subnets_without_an_id_are_named_by_range_or_zone() {
    let objects = |wanted: &str| {
        let (_, file) = examples().into_iter().find(|(title, _)| *title == wanted).unwrap();
        convert(file, &ObjectPlacement::default(), &as_managed()).unwrap().objects
    };
    let existing = |subnets: Value| json!({"vpcId": "vpc-0123456789abcdef0", "subnets": subnets});
    let by_range = objects("subnets by range");
    let subnets = json!([{"cidr": "10.0.64.0/19"}, {"id": "subnet-0bbb2222"}]);
    assert_eq!(by_range[0]["spec"]["network"]["existing"], existing(subnets));
    assert_eq!(by_range[1]["spec"]["subnets"], json!({"cidrs": ["10.0.64.0/19"]}));
    let by_zone = objects("subnets by zone");
    let subnets = json!([{"zone": "us-east-2b"}, {"zone": "us-east-2a"}]);
    assert_eq!(by_zone[0]["spec"]["network"]["existing"], existing(subnets));
    assert_eq!(by_zone[1]["spec"]["subnets"], json!({"tier": "Private", "zones": ["us-east-2b", "us-east-2a"]}));
    assert_eq!(by_zone[2]["spec"]["subnets"], json!({"tier": "Private", "zones": ["us-east-2b"]}));
    // A node group takes subnets of zones, or others.
    let mixed = "apiVersion: eksctl.io/v1alpha5\nkind: ClusterConfig\nmetadata: {name: own, region: us-east-2}\n\
                 vpc: {id: vpc-1, subnets: {private: {us-east-2a: {}, other: {id: subnet-1}}}}\n\
                 managedNodeGroups: [{name: workers, privateNetworking: true}]";
    let left = left_of(mixed, &Options::default());
    assert!(left[0].contains("takes subnets of zones, or by id and range"), "{left:?}");
}

#[test]
fn subnets_outside_the_control_plane_need_an_id() {
    let left = |vpc: &str| {
        let file = "apiVersion: eksctl.io/v1alpha5\nkind: ClusterConfig\nmetadata: {name: own, region: us-east-2}\n";
        let text = format!("{file}vpc: {{id: vpc-1, {vpc}}}\n");
        left_of(&text, &Options::default()).join("\n")
    };
    let why = "vpc.subnets: node groups find subnets by range or zone only among those of the control plane";
    let ids = "controlPlaneSubnetIDs: [subnet-1, subnet-2]";
    let private = "private: {us-east-2a: {cidr: 10.0.0.0/24}, us-east-2b: {cidr: 10.0.1.0/24}}";
    let only_private = "controlPlaneOnPrivateSubnets: true";
    for vpc in [
        format!("{ids}, subnets: {{{private}}}"),
        format!("{ids}, subnets: {{public: {{us-east-2a: {{}}}}}}"),
        format!("{only_private}, subnets: {{{private}, public: {{us-east-2a: {{cidr: 10.0.2.0/24}}}}}}"),
    ] {
        assert!(left(&vpc).contains(why), "{vpc}: {}", left(&vpc));
    }
    for vpc in [
        format!("{ids}, subnets: {{private: {{us-east-2a: {{id: subnet-3}}}}}}"),
        format!("{only_private}, subnets: {{{private}, public: {{us-east-2a: {{id: subnet-3}}}}}}"),
        format!("subnets: {{{private}}}"),
    ] {
        assert!(!left(&vpc).contains(why), "{vpc}: {}", left(&vpc));
    }
}

#[test]
fn fields_without_a_place_are_named_with_what_to_do_instead() {
    for (title, lines) in [
        ("timeouts of connections", &["managedNodeGroups[0].connectionTracking: EC2's timeouts"][..]),
        ("Spot Ocean", &["spotOcean: Spot Ocean launches nodes", "nodeGroups[0].spotOcean: Spot Ocean launches nodes"]),
        ("capabilities", &["capabilities[0]: eksctl creates a role for it"]),
    ] {
        let (_, file) = examples().into_iter().find(|(found, _)| *found == title).unwrap();
        let left = left_of(file, &as_managed());
        assert_eq!(left.len(), lines.len(), "{title}: {left:?}");
        for line in lines {
            assert!(left.iter().any(|found| found.starts_with(line)), "{line}: {left:?}");
        }
    }
}

#[test]
fn what_is_left_of_usual_files() {
    let mut text = String::new();
    for (title, file) in examples() {
        let left = left_of(file, &as_managed());
        text += &format!("{title}{}\n", if left.is_empty() { ": nothing" } else { "" });
        left.iter().for_each(|line| text += &format!("    {line}\n"));
    }
    insta::assert_snapshot!("what_is_left", text);
}

#[test]
fn self_managed_nodes_become_managed_with_the_flag_only() {
    let file = include_str!("testdata/self_managed.yaml");
    let Converted { objects, report } = convert(file, &ObjectPlacement::default(), &as_managed()).unwrap();
    let manifest = write_manifest::manifest(&comments(&report), &objects).unwrap();
    crate::cli::plan::check(&manifest).unwrap();
    insta::assert_snapshot!("self_managed_as_managed", manifest);
    let Converted { objects, report } = convert(file, &ObjectPlacement::default(), &Options::default()).unwrap();
    assert_eq!(objects.len(), 1);
    assert!(report.left_out.iter().all(|remark| remark.what != UNKNOWN), "{:?}", report.left_out);
    assert_eq!(report.left_out.iter().filter(|remark| remark.what.contains("--self-managed-as-managed")).count(), 4);
}

#[test]
fn typing_errors_in_self_managed_nodes_are_found() {
    let (_, file) = examples().into_iter().find(|(title, _)| title.starts_with("misspelt")).unwrap();
    let left = left_of(file, &Options::default());
    for line in [
        "nodeGroups[0].desiredCapcity: unknown to Keelson",
        "nodeGroups[0].iam.atachPolicyARNs: unknown to Keelson",
        "nodeGroups[0].minSize: \"two\" is not a whole number",
    ] {
        assert!(left.iter().any(|found| found.starts_with(line)), "{line}: {left:?}");
    }
    assert!(left_of(file, &as_managed())[0].starts_with("refused: "));
}

#[test]
fn names_of_node_groups_are_not_used_twice() {
    let file = "apiVersion: eksctl.io/v1alpha5\nkind: ClusterConfig\nmetadata: {name: own, region: us-east-2}\n\
                managedNodeGroups: [{name: a_b}]\nnodeGroups: [{name: a-b}]";
    assert!(left_of(file, &as_managed())[0].contains("nodeGroups[0].name: another node group has this name"));
    assert_eq!(left_of(file, &Options::default()).len(), 1);
}

#[test]
fn version_is_of_the_flag_the_file_or_the_default() {
    let converted = |version: &str, wanted: Option<&str>| {
        let file = format!(
            "apiVersion: eksctl.io/v1alpha5\nkind: ClusterConfig\nmetadata: {{name: own, region: us-east-2{version}}}"
        );
        let options = Options { version: wanted.map(|text| text.parse().unwrap()), ..Options::default() };
        let Converted { objects, report } = convert(&file, &ObjectPlacement::default(), &options).unwrap();
        let said = report.differs.iter().find(|remark| remark.path == "metadata.version");
        let said = said.map(|remark| remark.what.clone()).unwrap_or_default();
        (objects[0]["spec"]["version"].as_str().unwrap().to_owned(), said)
    };
    assert_eq!(converted(", version: '1.33'", None), ("1.33".to_owned(), String::new()));
    assert_eq!(converted(", version: '1.33'", Some("1.33")), ("1.33".to_owned(), String::new()));
    assert_eq!(converted("", Some("1.34")), ("1.34".to_owned(), String::new()));
    let (version, said) = converted(", version: '1.14'", Some("1.34"));
    assert!(version == "1.34" && said == "1.14 became 1.34, from --version", "{version}: {said}");
    for missing in ["", ", version: null", ", version: ''"] {
        let (version, said) = converted(missing, None);
        assert!(said.contains(&format!("became {version}, EKS's default")), "{missing}: {said}");
    }
}
