//! How each field of a managed node group is converted, with one small file each.

use serde_json::Value;

use super::tests::{good, group};
use super::{ObjectPlacement, comments, needs, write_manifest};

#[test]
fn each_node_group_field_is_converted() {
    let table = [
        ("", "scaling", r#"{"max":2,"min":2}"#),
        ("desiredCapacity: 3", "scaling", r#"{"max":3,"min":3}"#),
        ("desiredCapacity: 0", "scaling", r#"{"max":1,"min":0}"#),
        ("minSize: 1, maxSize: 5, desiredCapacity: 3", "scaling", r#"{"desired":3,"max":5,"min":1}"#),
        ("minSize: 4", "scaling", r#"{"max":4,"min":4}"#),
        ("", "subnets", r#"{"tier":"Public"}"#),
        (
            "privateNetworking: true, availabilityZones: [eu-west-1a]",
            "subnets",
            r#"{"tier":"Private","zones":["eu-west-1a"]}"#,
        ),
        ("subnets: [subnet-9]", "subnets", r#"{"ids":["subnet-9"]}"#),
        ("", "instanceTypes", r#"["m5.large"]"#),
        ("instanceTypes: [c7g.large]", "amiType", r#""AL2023_ARM_64_STANDARD""#),
        ("amiFamily: WindowsServer2022FullContainer", "amiType", r#""WINDOWS_FULL_2022_x86_64""#),
        ("amiFamily: Ubuntu2404", "amiType", ""),
        ("", "diskSizeGiB", "80"),
        ("volumeSize: 20", "diskSizeGiB", "20"),
        ("launchTemplate: {id: lt-1}", "diskSizeGiB", ""),
        ("launchTemplate: {id: lt-1}", "instanceTypes", ""),
        ("launchTemplate: {id: lt-1, version: '2'}", "launchTemplate", r#"{"id":"lt-1","version":"2"}"#),
        ("spot: true", "capacityType", r#""Spot""#),
        ("releaseVersion: 1.34.2-20261101", "releaseVersion", r#""1.34.2-20261101""#),
        ("taints: [{key: a, effect: NoExecute}]", "taints", r#"[{"effect":"NoExecute","key":"a"}]"#),
        (
            "taints: {a: 'b:NoSchedule', c: NoExecute}",
            "taints",
            r#"[{"effect":"NoSchedule","key":"a","value":"b"},{"effect":"NoExecute","key":"c"}]"#,
        ),
        ("labels: {a: b, node-role.kubernetes.io/x: ''}", "labels", r#"{"a":"b"}"#),
        ("tags: {a: b, 'aws:x': z}", "tags", r#"{"a":"b"}"#),
        ("labels: {a: b}, taints: [{key: c, effect: NoExecute}]", "autoScalingGroupTags", ""),
        ("propagateASGTags: true", "autoScalingGroupTags", ""),
        (
            "propagateASGTags: true, tags: {t: u}, labels: {a: b}, taints: [{key: c, value: d, effect: NoSchedule}, {key: e, effect: NoExecute}]",
            "autoScalingGroupTags",
            r#"{"k8s.io/cluster-autoscaler/node-template/label/a":"b","k8s.io/cluster-autoscaler/node-template/taint/c":"d:NoSchedule","k8s.io/cluster-autoscaler/node-template/taint/e":":NoExecute","t":"u"}"#,
        ),
        ("", "node", ""),
        (
            "tags: {a: b}",
            "node",
            r#"{"volumes":[{"deviceName":"/dev/xvda","encrypted":false,"sizeGiB":80,"type":"gp3"}]}"#,
        ),
        ("tags: {a: b}", "diskSizeGiB", ""),
        (
            "volumeSize: 100, volumeType: io1, volumeEncrypted: true, volumeKmsKeyID: 'arn:aws:kms:eu-west-1:111122223333:key/1'",
            "node",
            r#"{"volumes":[{"deviceName":"/dev/xvda","encrypted":true,"iops":100,"kmsKeyArn":"arn:aws:kms:eu-west-1:111122223333:key/1","sizeGiB":100,"type":"io1"}]}"#,
        ),
        (
            "volumeIOPS: 6000, volumeThroughput: 500, volumeName: /dev/xvdz, additionalVolumes: [{volumeName: /dev/xvdc, volumeSize: 5, volumeType: st1}]",
            "node",
            r#"{"volumes":[{"deviceName":"/dev/xvdz","encrypted":false,"iops":6000,"sizeGiB":80,"throughput":500,"type":"gp3"},{"deviceName":"/dev/xvdc","encrypted":false,"sizeGiB":5,"type":"st1"}]}"#,
        ),
        (
            "amiFamily: Bottlerocket, volumeEncrypted: true",
            "node",
            r#"{"volumes":[{"deviceName":"/dev/xvdb","encrypted":true,"sizeGiB":80,"type":"gp3"}]}"#,
        ),
        ("disableIMDSv1: true", "node/metadata", r#"{"httpPutResponseHopLimit":2,"httpTokens":"required"}"#),
        ("disablePodIMDS: true", "node/metadata", r#"{"httpPutResponseHopLimit":1}"#),
        ("securityGroups: {attachIDs: [sg-1]}", "node/securityGroupIds", r#"["sg-1"]"#),
        ("placement: {groupName: near}", "node/placementGroup", r#""near""#),
        (
            "capacityReservation: {capacityReservationTarget: {capacityReservationID: cr-1}}",
            "node/capacityReservationId",
            r#""cr-1""#,
        ),
        ("instanceType: p5.48xlarge, efaEnabled: true", "node/efa", "true"),
        ("maxPodsPerNode: 58", "node/nodeConfig", r#"{"spec":{"kubelet":{"config":{"maxPods":58}}}}"#),
        ("ami: ami-1", "node/imageId", r#""ami-1""#),
        ("ami: ami-1", "node/nodeConfig", r#"{"spec":{}}"#),
        ("ami: ami-1", "amiType", ""),
        (
            "ami: ami-1, amiFamily: AmazonLinux2, overrideBootstrapCommand: '#!/bin/sh'",
            "node/userData",
            r##""#!/bin/sh""##,
        ),
        ("preBootstrapCommands: [a, b]", "node/userData", r##""#!/bin/bash\na\nb\n""##),
        ("preBootstrapCommands: ['#!/bin/sh']", "node/userData", r##""#!/bin/sh""##),
        ("updateConfig: {maxUnavailable: 2}", "update", r#"{"maxUnavailable":2}"#),
        ("nodeRepairConfig: {enabled: false}", "repair", r#"{"enabled":false}"#),
        (
            "nodeRepairConfig: {enabled: true, maxParallelNodesRepairedCount: 2, nodeRepairConfigOverrides: [{nodeMonitoringCondition: A, \
             nodeUnhealthyReason: B, minRepairWaitTimeMins: 5, repairAction: Reboot}]}",
            "repair",
            r#"{"enabled":true,"maxParallelRepairedCount":2,"overrides":[{"minRepairWaitTimeMins":5,"nodeMonitoringCondition":"A","nodeUnhealthyReason":"B","repairAction":"Reboot"}]}"#,
        ),
        (
            "ssh: {allow: true, publicKeyName: ops}",
            "additionalRolePolicies",
            r#"["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]"#,
        ),
        ("ssh: {allow: false, publicKeyName: ops}", "additionalRolePolicies", ""),
        (
            "ssh: {enableSsm: true}",
            "additionalRolePolicies",
            r#"["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]"#,
        ),
        (
            "iam: {attachPolicyARNs: ['arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy']}",
            "additionalRolePolicies",
            "",
        ),
        (
            "iam: {withAddonPolicies: {ebs: true}}",
            "additionalRolePolicies",
            r#"["arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"]"#,
        ),
    ];
    for (fields, field, expected) in table {
        let (objects, _) = good(&group(fields));
        let found = objects[1]["spec"].pointer(&format!("/{field}")).map(Value::to_string).unwrap_or_default();
        assert_eq!(found, expected, "{fields}: {field}");
    }
}

#[test]
fn policies_for_workloads_on_nodes_become_roles_of_the_workloads() {
    let switches = "iam: {withAddonPolicies: {autoScaler: true, albIngress: true, xRay: true}}";
    let (objects, report) = good(&group(switches));
    assert!(report.left_out.is_empty(), "{:?}", report.left_out);
    let identities = objects[0]["spec"]["podIdentities"].to_string();
    assert_eq!(
        identities,
        r#"[{"namespace":"kube-system","role":{"policies":["AWSLoadBalancerController"]},"serviceAccount":"aws-load-balancer-controller"},{"namespace":"kube-system","role":{"policies":["ClusterAutoscaler"]},"serviceAccount":"cluster-autoscaler"}]"#
    );
    assert!(objects[0]["spec"]["addons"].to_string().contains("eks-pod-identity-agent"));
    let policies = objects[1]["spec"]["additionalRolePolicies"].to_string();
    assert_eq!(policies, r#"["arn:aws:iam::aws:policy/AWSXRayDaemonWriteAccess"]"#);
}

#[test]
fn workloads_of_groups_that_are_left_get_no_roles() {
    let (objects, _) = good("nodeGroups: [{name: a, iam: {withAddonPolicies: {autoScaler: true}}}]");
    assert!(objects[0]["spec"].get("podIdentities").is_none());
}

#[test]
fn actions_that_eks_refuses_are_replaced() {
    let repair = "nodeRepairConfig: {enabled: true, nodeRepairConfigOverrides: [{nodeMonitoringCondition: A, nodeUnhealthyReason: B, minRepairWaitTimeMins: 5, repairAction: Terminate}]}";
    let (objects, report) = good(&group(repair));
    assert_eq!(objects[1]["spec"]["repair"]["overrides"][0]["repairAction"], "Replace");
    assert!(report.differs.iter().any(|remark| remark.path.ends_with("[0].repairAction")), "{:?}", report.differs);
}

#[test]
fn commands_before_the_script_of_an_own_image_are_merged_into_it() {
    let image = "amiFamily: AmazonLinux2, ami: ami-1, overrideBootstrapCommand: \"#!/bin/bash\\n/etc/eks/bootstrap.sh demo\\n\"";
    let (objects, report) = good(&group(&format!("{image}, preBootstrapCommands: [echo 1, echo 2]")));
    let script = &objects[1]["spec"]["node"]["userData"];
    assert_eq!(script, "#!/bin/bash\necho 1\necho 2\n/etc/eks/bootstrap.sh demo\n");
    assert!(report.left_out.is_empty(), "{:?}", report.left_out);
    let (_, report) = good(&group(&format!("{image}, preBootstrapCommands: ['#!/usr/bin/python3']")));
    assert!(
        report.left_out.iter().any(|remark| remark.path.ends_with("preBootstrapCommands")),
        "{:?}",
        report.left_out
    );
}

#[test]
fn tags_that_do_not_fit_an_auto_scaling_group_are_named() {
    let long = "a".repeat(100);
    let (items, report) =
        good(&group(&format!("propagateASGTags: true, labels: {{{long}: b, c: d}}, tags: {{'eks:x': z}}")));
    let tags = &items[1]["spec"]["autoScalingGroupTags"];
    assert_eq!(tags.as_object().unwrap().len(), 1, "{tags}");
    let left: Vec<_> = report.left_out.iter().map(|remark| remark.what.as_str()).collect();
    assert!(left.iter().any(|what| what.contains("EKS sets the key eks:x itself")), "{left:?}");
    assert!(left.iter().any(|what| what.contains("longer than the 128 characters")), "{left:?}");
    let many: Vec<_> = (0..46).map(|number| format!("l{number}: x")).collect();
    let (items, report) = good(&group(&format!("propagateASGTags: true, labels: {{{}}}", many.join(", "))));
    assert!(items[1]["spec"]["autoScalingGroupTags"].is_null());
    assert!(report.left_out.iter().any(|remark| remark.what.contains("46 tags")), "{:?}", report.left_out);
}

#[test]
fn what_a_managed_node_group_has_in_another_way_is_a_difference() {
    for (fields, path, words) in [
        ("instancePrefix: x", "instancePrefix", "tag Name"),
        ("instanceName: x", "instanceName", "tag Name"),
        ("iam: {withAddonPolicies: {fsx: true}}", "iam.withAddonPolicies.fsx", "AmazonFSxFullAccess: every node"),
    ] {
        let (_, report) = good(&group(fields));
        let path = format!("managedNodeGroups[0].{path}");
        let remark = report.differs.iter().find(|remark| remark.path == path);
        assert!(remark.is_some_and(|remark| remark.what.contains(words)), "{fields}: {:?}", report.differs);
        assert!(report.left_out.is_empty(), "{fields}: {:?}", report.left_out);
    }
}

#[test]
fn boundaries_of_nodes_and_of_pods_are_settings_of_their_own() {
    let account = "iam: {withOIDC: true, serviceAccounts: [{metadata: {name: a}, attachPolicyARNs: \
                   ['arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess'], permissionsBoundary: pods}]}\n";
    let (_, report) = good(&(account.to_owned() + &group("iam: {instanceRolePermissionsBoundary: nodes}")));
    for field in ["workloadPermissionsBoundaryArn: pods", " permissionsBoundaryArn: nodes"] {
        assert!(report.differs.iter().any(|remark| remark.what.contains(field)), "{field}: {:?}", report.differs);
    }
    assert!(report.left_out.is_empty(), "{:?}", report.left_out);
}

#[test]
fn what_the_account_must_allow_is_listed() {
    let file =
        "iam: {withOIDC: true, serviceAccounts: [{metadata: {name: a}, wellKnownPolicies: {externalDNS: true}}]}\n";
    let (objects, report) = good(&(file.to_owned() + &group("iam: {attachPolicyARNs: ['arn:aws:iam::aws:policy/a']}")));
    let manifest = write_manifest::manifest(&comments(&report), objects.as_array().unwrap()).unwrap();
    let text = needs(&manifest).unwrap().describe_new(&ObjectPlacement::default());
    assert!(text.contains("AwsAccount default must allow it:") && !text.contains("adoption"), "{text}");
    for list in ["allowedWorkloadPolicies: [ExternalDNS]", "allowedPolicyArns: [\"arn:aws:iam::aws:policy/a\"]"] {
        assert!(text.contains(list), "{text}");
    }
}
