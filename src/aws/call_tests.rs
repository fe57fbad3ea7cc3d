//! Calls over HTTP to a local server.

use std::path::{Path, PathBuf};

use super::*;

#[test]
fn reads_and_writes_are_distinguished_by_action_name() {
    let table = [
        (Service::Ec2, "CreateVpc", true),
        (Service::Ec2, "ModifySubnetAttribute", true),
        (Service::Ec2, "DescribeVpcs", false),
        (Service::Eks, "TagResource", true),
        (Service::Eks, "ListUpdates", false),
        (Service::Iam, "GetAccountAuthorizationDetails", false),
        (Service::Iam, "PutRolePolicy", true),
        (Service::Sts, "AssumeRole", false),
        (Service::Sts, "GetCallerIdentity", false),
    ];
    for (service, action, write) in table {
        assert_eq!(is_write(service, action), write, "{action}");
    }
}

/// Rate limits, the lease and classification apply only to calls through `call`.
#[test]
fn every_aws_request_goes_through_call() {
    let mut files = Vec::new();
    rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut calls = 0;
    let mut unchecked = Vec::new();
    for file in files.iter().filter(|file| !file.to_string_lossy().contains("_tests")) {
        let text = std::fs::read_to_string(file).expect("source is readable");
        if !text.contains("aws_sdk_") && !text.contains(".call(") {
            continue;
        }
        for (at, _) in text.match_indices(".send()") {
            calls += 1;
            let statement = text[..at].rfind([';', '{', '}']).map_or(0, |start| start + 1);
            let line = text[..at].lines().count();
            let comment = text[..at].lines().last().is_some_and(|line| line.trim_start().starts_with("//"));
            if !comment && !text[statement..at].contains("call(") {
                unchecked.push(format!("{}:{line}", file.display()));
            }
        }
    }
    assert!(calls > 10, "the test no longer finds the calls");
    assert!(unchecked.is_empty(), "sent without Session::call:\n{}", unchecked.join("\n"));
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("source is readable") {
        let path = entry.expect("source is readable").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn answers_that_keelson_asks_for_are_no_errors_of_a_span() {
    let is_expected = |service, action, class| {
        let call = Call { service, action, resource: "demo", account: "111122223333", region: "eu-west-1" };
        super::is_expected(&call, class)
    };
    for (service, action, class) in [
        (Service::Eks, "DescribeCluster", Class::NotFound),
        (Service::Iam, "GetRole", Class::NotFound),
        (Service::Ec2, "DeleteVpc", Class::NotFound),
        (Service::Iam, "DetachRolePolicy", Class::NotFound),
        (Service::Eks, "UpdateClusterConfig", Class::NoChange),
    ] {
        assert!(is_expected(service, action, class), "{action}: {class}");
    }
    for (service, action, class) in [
        (Service::Eks, "CreateNodegroup", Class::NotFound),
        (Service::Eks, "UpdateNodegroupConfig", Class::NotFound),
        (Service::Eks, "DescribeCluster", Class::Denied),
        (Service::Ec2, "DeleteVpc", Class::Busy),
        (Service::Eks, "DescribeCluster", Class::Throttled),
    ] {
        assert!(!is_expected(service, action, class), "{action}: {class}");
    }
}
