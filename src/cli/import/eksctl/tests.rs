//! How each field is converted, with one small file each, and whole files.

use super::*;

const BASE: &str = "apiVersion: eksctl.io/v1alpha5\nkind: ClusterConfig\n";
const NAMED: &str = "metadata: {name: demo, region: eu-west-1, version: '1.34'}\n";

/// The objects by their path, such as `/0/spec/version` (the cluster is 0), and the report; asserts that the result
/// is valid.
pub(super) fn good(fields: &str) -> (Value, Report) {
    let text = format!("{BASE}{NAMED}{fields}");
    let Converted { objects, report } =
        convert(&text, &ObjectPlacement::default(), &Options::default()).unwrap_or_else(|e| panic!("{fields}: {e:#}"));
    let manifest = write_manifest::manifest(&comments(&report), &objects).unwrap();
    crate::cli::plan::check(&manifest).unwrap_or_else(|e| panic!("{fields}: {e:#}\n{manifest}"));
    (Value::Array(objects), report)
}

pub(super) fn bad(text: &str) -> String {
    match convert(text, &ObjectPlacement::default(), &Options::default()) {
        Ok(_) => panic!("was accepted: {text}"),
        Err(error) => format!("{error:#}"),
    }
}

pub(super) fn group(fields: &str) -> String {
    format!("managedNodeGroups: [{{name: ng, {fields}}}]")
}

#[test]
fn each_cluster_field_is_converted() {
    let table = [
        ("", "/0/metadata/name", r#""demo""#),
        ("", "/0/spec/region", r#""eu-west-1""#),
        ("", "/0/spec/version", r#""1.34""#),
        // eksctl's defaults, where they differ from Keelson's.
        ("", "/0/spec/network/vpc", r#"{"cidr":"192.168.0.0/16","nat":"Single"}"#),
        ("", "/0/spec/endpointAccess", r#"{"private":false,"public":true}"#),
        ("", "/0/spec/access", r#"{"authenticationMode":"ApiAndConfigMap"}"#),
        ("", "/0/spec/oidcProvider", "false"),
        (
            "",
            "/0/spec/addons",
            r#"[{"name":"vpc-cni"},{"name":"kube-proxy"},{"name":"coredns"},{"name":"metrics-server"}]"#,
        ),
        ("vpc: {cidr: 10.1.0.0/16}", "/0/spec/network/vpc/cidr", r#""10.1.0.0/16""#),
        ("vpc: {nat: {gateway: Disable}}", "/0/spec/network/vpc/nat", r#""None""#),
        ("availabilityZones: [eu-west-1a, eu-west-1c]", "/0/spec/network/vpc/zones", r#"["eu-west-1a","eu-west-1c"]"#),
        (
            "vpc: {clusterEndpoints: {privateAccess: true}}",
            "/0/spec/endpointAccess",
            r#"{"private":true,"public":true}"#,
        ),
        (
            "vpc: {controlPlaneSubnetIDs: [subnet-1, subnet-2]}",
            "/0/spec/network",
            r#"{"existing":{"subnetIds":["subnet-1","subnet-2"]}}"#,
        ),
        ("iam: {withOIDC: true}", "/0/spec/oidcProvider", "true"),
        (
            "kubeAPIServerConfig: {eventTTL: 30m, serviceNodePortRange: {minPort: 30000, maxPort: 31000}}",
            "/0/spec/controlPlane",
            r#"{"apiServer":{"eventTtl":"30m","serviceNodePortRange":{"maxPort":31000,"minPort":30000}}}"#,
        ),
        (
            "controlPlaneScalingConfig: {tier: tier-xl}\nkubeControllerManagerConfig: {horizontalPodAutoscalerControllerConfig: {horizontalPodAutoscalerSyncPeriod: 12s}}",
            "/0/spec/controlPlane/controllerManager",
            r#"{"horizontalPodAutoscalerControllerConfig":{"horizontalPodAutoscalerSyncPeriod":"12s"}}"#,
        ),
        (
            "kubeSchedulerConfig: {nodeResourcesFit: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 2}]}}}",
            "/0/spec/controlPlane/scheduler/nodeResourcesFit/scoringStrategy",
            r#"{"resources":[{"name":"cpu","weight":2}],"type":"MostAllocated"}"#,
        ),
        ("vpc: {controlPlaneEgressMode: CUSTOMER_ROUTED}", "/0/spec/controlPlane/egressMode", r#""CustomerRouted""#),
        (
            "remoteNetworkConfig: {remoteNodeNetworks: [{cidrs: [10.80.0.0/16]}], remotePodNetworks: [{cidrs: [10.85.0.0/16]}]}",
            "/0/spec/remoteNetworks",
            r#"{"nodeCidrs":["10.80.0.0/16"],"podCidrs":["10.85.0.0/16"]}"#,
        ),
        (
            "remoteNetworkConfig: {remoteNodeNetworks: [{cidrs: [10.80.0.0/16]}], iam: {provider: SSM, roleARN: 'arn:aws:iam::111122223333:role/h'}}",
            "/0/spec/access/entries",
            r#"[{"principalArn":"arn:aws:iam::111122223333:role/h","type":"HybridLinux"}]"#,
        ),
        (
            "iam: {podIdentityAssociations: [{namespace: a, serviceAccountName: b, wellKnownPolicies: {externalDNS: true}}]}",
            "/0/spec/podIdentities/0/role",
            r#"{"policies":["ExternalDNS"]}"#,
        ),
        (
            "iam: {serviceAccounts: [{metadata: {name: b}, attachPolicyARNs: ['arn:aws:iam::aws:policy/x']}]}",
            "/0/spec/podIdentities",
            r#"[{"namespace":"default","role":{"policyArns":["arn:aws:iam::aws:policy/x"]},"serviceAccount":"b"}]"#,
        ),
        (
            "addons: [{name: eks-pod-identity-agent}]\niam: {serviceAccounts: [{metadata: {name: a, namespace: b}, attachRoleARN: 'arn:aws:iam::111122223333:role/r'}]}",
            "/0/spec/podIdentities",
            r#"[{"namespace":"b","roleArn":"arn:aws:iam::111122223333:role/r","serviceAccount":"a"}]"#,
        ),
        (
            "iam: {serviceAccounts: [{metadata: {name: b}, wellKnownPolicies: {externalDNS: true}}]}",
            "/0/spec/addons/4/name",
            r#""eks-pod-identity-agent""#,
        ),
        (
            "addons: [{name: aws-ebs-csi-driver, wellKnownPolicies: {ebsCSIController: true}}]",
            "/0/spec/addons/0/podIdentityRole",
            r#"{"policies":["EBSCSIDriver"]}"#,
        ),
        ("addons: [{name: external-dns, namespaceConfig: {namespace: dns}}]", "/0/spec/addons/0/namespace", r#""dns""#),
        (
            "kubernetesNetworkConfig: {serviceIPv4CIDR: 10.100.0.0/16}",
            "/0/spec/kubernetesNetwork",
            r#"{"serviceCidr":"10.100.0.0/16"}"#,
        ),
        ("kubernetesNetworkConfig: {ipFamily: ipv6}", "/0/spec/kubernetesNetwork", r#"{"ipFamily":"IPv6"}"#),
        ("cloudWatch: {clusterLogging: {enableTypes: []}}", "/0/spec/logging", "[]"),
        ("upgradePolicy: {supportType: extended}", "/0/spec/supportType", r#""Extended""#),
        ("autoModeConfig: {enabled: true, nodePools: [system]}", "/0/spec/autoMode", r#"{"nodePools":["system"]}"#),
        ("autoModeConfig: {enabled: true}", "/0/spec/addons", r#"[{"name":"metrics-server"}]"#),
        (
            "addonsConfig: {disableDefaultAddons: true}\naddons: [{name: CoreDNS, version: default}]",
            "/0/spec/addons",
            r#"[{"name":"coredns"}]"#,
        ),
        (
            "addons: [{name: coredns, configurationValues: 'replicaCount: 3'}]",
            "/0/spec/addons/0/configuration",
            r#"{"replicaCount":3}"#,
        ),
        ("accessConfig: {authenticationMode: API}", "/0/spec/access/authenticationMode", r#""Api""#),
        (
            "iamIdentityMappings: [{arn: 'arn:aws-cn:iam::1:role/x', groups: [viewers, 'system:masters']}]"
                .replace("::1:", "::111122223333:")
                .leak(),
            "/0/spec/access/entries/0/policies/0/policyArn",
            r#""arn:aws-cn:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy""#,
        ),
        (
            "gitops: {flux: {gitProvider: gitlab, flags: {owner: a/b, repository: c, hostname: git.example.com, \
             private: 'false'}}}",
            "/0/spec/gitops/flux",
            r#"{"path":".","source":{"git":{"ref":{"branch":"main"},"url":"https://git.example.com/a/b/c"}}}"#,
        ),
        (
            "gitops: {flux: {gitProvider: github, flags: {owner: a, repository: b, registry: \
             mirror.example.com/fluxcd, image-pull-secret: mirror, components: \
             'source-controller,kustomize-controller', components-extra: image-reflector-controller, path: clusters/x, \
             interval: 5m}}}",
            "/0/spec/gitops/flux",
            r#"{"components":["source-controller","kustomize-controller"],"imagePullSecretRef":{"name":"mirror"},"path":"clusters/x","registry":"mirror.example.com/fluxcd","source":{"git":{"interval":"5m","ref":{"branch":"main"},"url":"https://github.com/a/b"}}}"#,
        ),
        (
            "karpenter: {version: 1.5.0, withSpotInterruptionQueue: true}",
            "/0/spec/karpenter",
            r#"{"interruptionQueue":true,"namespace":"karpenter"}"#,
        ),
        ("karpenter: {version: 1.5.0}", "/0/spec/karpenter/interruptionQueue", "false"),
        ("managedNodeGroups: [{name: Ng_1}]", "/1/metadata/name", r#""demo-ng-1""#),
        ("managedNodeGroups: [{name: Ng_1}]", "/1/spec/nodeGroupName", r#""Ng_1""#),
    ];
    for (fields, path, expected) in table {
        let (objects, _) = good(fields);
        let found = objects.pointer(path).map(Value::to_string).unwrap_or_default();
        assert_eq!(found, expected, "{fields}: {path}");
    }
}

#[test]
fn unconverted_fields_are_reported_with_the_reason() {
    let group = |fields| group(fields).leak() as &str;
    let table = [
        ("karpenter: {version: 1.0.0, defaultInstanceProfile: x}", "karpenter.defaultInstanceProfile", "EC2NodeClass"),
        ("nodeGroups: [{name: a}]", "nodeGroups[0]", "--self-managed-as-managed"),
        (group("cpuCredits: unlimited"), "managedNodeGroups[0].cpuCredits", "launchTemplate.id"),
        (group("kubeletExtraConfig: {maxPods: 9}"), "managedNodeGroups[0].kubeletExtraConfig", "node.nodeConfig"),
        (
            "iam: {serviceAccounts: [{metadata: {name: a}, attachRoleARN: r}]}",
            "iam.serviceAccounts[0].attachRoleARN",
            "withOIDC",
        ),
        ("iamIdentityMappings: [{serviceName: x, namespace: y}]", "iamIdentityMappings[0].serviceName", "aws-auth"),
        (
            "gitops: {flux: {gitProvider: github, flags: {owner: a, repository: b, log-level: debug}}}",
            "gitops.flux.flags.log-level",
            "Git",
        ),
        (
            "gitops: {flux: {gitProvider: github, flags: {owner: a, repository: b, teem: debug}}}",
            "gitops.flux.flags.teem",
            "unknown to Keelson",
        ),
        (
            "iam: {serviceRolePermissionsBoundary: a, fargatePodExecutionRolePermissionsBoundary: b}",
            "iam.serviceRolePermissionsBoundary",
            "AwsAccount",
        ),
        ("iam: {serviceAccounts: [{metadata: {name: a}}]}", "iam.serviceAccounts[0]", "default/a"),
        ("iam: {vpcResourceControllerPolicy: true}", "iam.vpcResourceControllerPolicy", "roleArn"),
        ("vpc: {extraCIDRs: [100.64.0.0/16]}", "vpc.extraCIDRs", "network.vpc.podCidrs"),
        ("capabilities: [{name: a, type: KRO}]", "capabilities[0]", "capabilities.eks.amazonaws.com"),
        (
            "identityProviders: [{name: a, issuerURL: 'https://a', clientID: a}, {name: b, issuerURL: 'https://b', clientID: b}]",
            "identityProviders[1]",
            "one identity provider",
        ),
        ("gitops: {flux: {gitProvider: bitbucket}}", "gitops.flux", "gitops.flux.source"),
        (
            group("preBootstrapCommands: [x], maxPodsPerNode: 9"),
            "managedNodeGroups[0].preBootstrapCommands",
            "merge them by hand",
        ),
        (
            group("preBootstrapCommands: ['#!/bin/sh', x]"),
            "managedNodeGroups[0].preBootstrapCommands",
            "merge them by hand",
        ),
        (
            group("amiFamily: Bottlerocket, preBootstrapCommands: [x]"),
            "managedNodeGroups[0].preBootstrapCommands",
            "for Amazon Linux",
        ),
        (group("ami: ami-1, amiFamily: Ubuntu2404"), "managedNodeGroups[0].ami", "node.imageId"),
        (
            group(
                "ami: ami-1, overrideBootstrapCommand: '#!/bin/sh\n. /var/lib/cloud/scripts/eksctl/bootstrap.helper.sh'",
            ),
            "managedNodeGroups[0].overrideBootstrapCommand",
            "files of eksctl",
        ),
        (group("amiFamily: Ubuntu2404, maxPodsPerNode: 9"), "managedNodeGroups[0].maxPodsPerNode", "userData"),
        (group("volumeKmsKeyID: k, volumeEncrypted: true"), "managedNodeGroups[0].volumeKmsKeyID", "kmsKeyArn"),
        (
            group("additionalVolumes: [{volumeName: /dev/xvdc, snapshotID: snap-1}]"),
            "managedNodeGroups[0].additionalVolumes[0]",
            "snapshot",
        ),
        (
            group("capacityReservation: {capacityReservationPreference: open}"),
            "managedNodeGroups[0].capacityReservation.capacityReservationPreference",
            "EC2",
        ),
        (group("bottlerocket: {settings: {}}"), "managedNodeGroups[0].bottlerocket", "amiFamily: Bottlerocket"),
        (group("launchTemplate: {id: lt-1}, volumeType: gp3"), "managedNodeGroups[0].volumeType", "launch template"),
        (group("amiFamily: Ubuntu2404"), "managedNodeGroups[0].amiFamily", "Ubuntu2404"),
        (group("instanceSelector: {vCPUs: 2}"), "managedNodeGroups[0]", "--dry-run"),
        (
            group("launchTemplate: {id: lt-1, version: $Latest}"),
            "managedNodeGroups[0].launchTemplate.version",
            "number",
        ),
        (
            group("iam: {withAddonPolicies: {appMesh: true}}"),
            "managedNodeGroups[0].iam.withAddonPolicies.appMesh",
            "podIdentities",
        ),
        ("vpc: {natt: {gateway: Single}}", "vpc.natt.gateway", "unknown to Keelson"),
        (group("iam: {with: [{a: 1}]}"), "managedNodeGroups[0].iam.with[0].a", "unknown to Keelson"),
    ];
    for (fields, path, words) in table {
        let (_, report) = good(fields);
        let remark = report.left_out.iter().find(|remark| remark.path == path);
        assert!(remark.is_some_and(|remark| remark.what.contains(words)), "{fields}: {:?}", report.left_out);
    }
}

#[test]
fn what_keelson_does_in_another_way_is_a_difference() {
    let group = |fields| group(fields).leak() as &str;
    let table = [
        ("vpc: {hostnameType: resource-name}", "vpc.hostnameType", "IP addresses"),
        ("vpc: {autoAllocateIPv6: true}", "vpc.autoAllocateIPv6", "no IPv6 range"),
        ("iamIdentityMappings: [{account: '1'}]", "iamIdentityMappings[0].account", "no group"),
        (
            "iamIdentityMappings: [{serviceName: emr-containers}]",
            "iamIdentityMappings[0].serviceName",
            "access entry itself",
        ),
        (
            "iam: {withOIDC: true, serviceAccounts: [{metadata: {name: a}, attachRoleARN: r}]}",
            "iam.serviceAccounts[0].attachRoleARN",
            "eks.amazonaws.com/role-arn: r",
        ),
        (
            "autoModeConfig: {enabled: true}\niam: {serviceAccounts: [{metadata: {name: a}, attachRoleARN: 'arn:aws:iam::111122223333:role/r'}]}",
            "iam.serviceAccounts[0].attachRoleARN",
            "pods.eks.amazonaws.com",
        ),
        (
            "iam: {serviceRolePermissionsBoundary: b, fargatePodExecutionRolePermissionsBoundary: b}",
            "iam.serviceRolePermissionsBoundary",
            "permissionsBoundaryArn: b in the AwsAccount default",
        ),
        (group("ssh: {publicKeyName: k}"), "managedNodeGroups[0].ssh.publicKeyName", "ssm start-session"),
        (group("ssh: {allow: false, publicKeyName: k}"), "managedNodeGroups[0].ssh.publicKeyName", "no SSH key"),
    ];
    for (fields, path, words) in table {
        let (_, report) = good(fields);
        let remark = report.differs.iter().find(|remark| remark.path == path);
        assert!(remark.is_some_and(|remark| remark.what.contains(words)), "{fields}: {:?}", report.differs);
        assert!(report.left_out.is_empty(), "{fields}: {:?}", report.left_out);
    }
}

#[test]
fn redundant_fields_are_not_reported() {
    for fields in [
        "vpc: {autoAllocateIPv6: false, hostnameType: ip-name, controlPlaneEgressMode: AWS_MANAGED}",
        "privateCluster: {enabled: false}",
        "addonsConfig: {disableDefaultAddons: false, autoApplyPodIdentityAssociations: false}",
        "karpenter: null",
        "iam: {vpcResourceControllerPolicy: false}",
        &group("ssh: {allow: false}, ami: auto, volumeEncrypted: false, efaEnabled: false, spot: false"),
        &group("iam: {withAddonPolicies: {autoScaler: false, ebs: false}}"),
    ] {
        let (_, report) = good(fields);
        assert!(report.left_out.is_empty() && report.differs.is_empty(), "{fields}: {report:?}");
    }
}

#[test]
fn all_mistakes_are_reported_with_their_paths() {
    let whole = |fields: &str| bad(&format!("{BASE}{NAMED}{fields}"));
    let table = [
        (bad("kind: ClusterConfig"), "apiVersion: is missing; eksctl.io/v1alpha5"),
        (bad(&BASE.replace("v1alpha5", "v1alpha4")), "eksctl.io/v1alpha4"),
        (bad(&BASE.replace("ClusterConfig", "Cluster")), "kind: \"Cluster\" is not ClusterConfig"),
        (bad("[]"), "holds no mapping"),
        (bad(&format!("{BASE}---\n{BASE}")), "it holds 2"),
        (bad("a: [b"), "is not YAML"),
        (bad(BASE), "metadata: is missing"),
        (
            bad(&format!("{BASE}metadata: {{name: a, region: b, version: 1.34}}")),
            "metadata.version: 1.34 is not a text: put it in quotes",
        ),
        (
            bad(&format!("{BASE}metadata: {{name: a, region: b, version: latest}}")),
            "metadata.version: \"latest\" is not a Kubernetes version",
        ),
        (whole("vpc: []"), "vpc: [] is not a mapping"),
        (whole("vpc: {id: vpc-1}"), "vpc.id: names a VPC"),
        (
            whole("vpc: {subnets: {private: {a: {cidr: 10.0.0.0/24}}}}"),
            "vpc.subnets.private.a: has no id, and without vpc.id",
        ),
        (
            whole("vpc: {subnets: {public: {eu-west-1a: {}}}}"),
            "vpc.subnets.public.eu-west-1a: has no id, and without vpc.id",
        ),
        (
            whole("vpc: {id: vpc-1, subnets: {public: {a: null}}}"),
            "vpc.subnets.public.a: has neither an id, a cidr nor a zone",
        ),
        (whole("vpc: {nat: {gateway: Some}}"), "vpc.nat.gateway: \"Some\" is none of"),
        (whole("addons: {name: a}"), "addons: {\"name\":\"a\"} is not a list"),
        (whole("addons: [coredns]"), "addons[0]: \"coredns\" is not a mapping"),
        (
            whole("addons: [{name: a, configurationValues: '['}]"),
            "addons[0].configurationValues: is neither JSON nor YAML",
        ),
        (whole("managedNodeGroups: [{minSize: 1}]"), "managedNodeGroups[0].name: is missing"),
        (whole(&group("minSize: two")), "managedNodeGroups[0].minSize: \"two\" is not a whole number"),
        (whole(&group("spot: 'yes'")), "managedNodeGroups[0].spot: \"yes\" is neither true nor false"),
        (whole(&group("labels: {a: true}")), "managedNodeGroups[0].labels.a: true is not a text: put it in quotes"),
        (whole(&group("subnets: [nowhere]")), "managedNodeGroups[0].subnets: \"nowhere\" is neither"),
        (
            whole("vpc: {subnets: {private: {a: {id: subnet-1}}}}\nmanagedNodeGroups: [{name: a}]"),
            "has private ones only",
        ),
        (whole("availabilityZones: [1]"), "availabilityZones[0]: 1 is not a text"),
    ];
    for (message, words) in table {
        assert!(message.contains(words), "{message}");
    }
    let both = whole("vpc: []\naddons: {}");
    assert!(both.contains("vpc: []") && both.contains("addons: {}"), "{both}");
}

#[test]
fn namespace_and_account_are_set_on_the_objects_that_have_them() {
    let placing = ObjectPlacement { namespace: Some("team".to_owned()), account_ref: Some("prod".to_owned()) };
    let text = format!("{BASE}{NAMED}managedNodeGroups: [{{name: ng}}]");
    let objects = convert(&text, &placing, &Options::default()).unwrap().objects;
    assert!(objects.iter().all(|object| object["metadata"]["namespace"] == "team"));
    assert_eq!(objects[0]["spec"]["accountRef"]["name"], "prod");
}

#[test]
fn whole_files_are_converted() {
    for (name, text) in tests_leaves::FILES {
        let Converted { objects, report } = convert(text, &ObjectPlacement::default(), &Options::default()).unwrap();
        let manifest = write_manifest::manifest(&comments(&report), &objects).unwrap();
        crate::cli::plan::check(&manifest).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        insta::assert_snapshot!(name, manifest);
    }
}
