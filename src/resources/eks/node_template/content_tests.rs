//! Contents as EC2 takes them and as EC2 returns them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::desired_content::{Cluster, content};
use super::super::differences::{differences, facts};
use super::*;

fn cluster() -> Cluster {
    let address = ["https://demo", "Y2E=", "172.20.0.0/16"].map(|text| Some(text.to_owned()));
    let [endpoint, authority, services] = address;
    Cluster::new("demo".into(), Some("sg-cluster".into()), (endpoint, authority, services))
}

fn desired_in(spec: Value, cluster: &Cluster) -> Option<Content> {
    let tags = BTreeMap::from([("team".to_owned(), "shop".to_owned())]);
    content(&serde_json::from_value(spec).unwrap(), cluster, "demo/workers", &tags).unwrap()
}

fn desired(spec: Value) -> Content {
    desired_in(spec, &cluster()).expect("contents")
}

fn full() -> Value {
    json!({
        "imageId": "ami-1",
        "nodeConfig": {"spec": {"kubelet": {"config": {"maxPods": 58}}}},
        "volumes": [
            {"deviceName": "/dev/xvda", "sizeGiB": 80, "iops": 3000, "throughput": 125, "kmsKeyArn": "arn:key"},
            {"deviceName": "/dev/xvdb", "type": "st1", "encrypted": false},
        ],
        "metadata": {"httpPutResponseHopLimit": 1, "httpTokens": "required"},
        "securityGroupIds": ["sg-2", "sg-1"],
        "capacityReservationId": "cr-1",
        "placementGroup": "near",
        "efa": true,
    })
}

/// What EC2 returns for a request: the same values in other types.
fn returned(data: &sdk::RequestLaunchTemplateData) -> sdk::ResponseLaunchTemplateData {
    let mut response = sdk::ResponseLaunchTemplateData::builder()
        .set_image_id(data.image_id.clone())
        .set_user_data(data.user_data.clone())
        .set_security_group_ids(data.security_group_ids.clone());
    for mapping in data.block_device_mappings() {
        let ebs = mapping.ebs().unwrap();
        let ebs = sdk::LaunchTemplateEbsBlockDevice::builder()
            .set_volume_size(ebs.volume_size)
            .set_volume_type(ebs.volume_type.clone())
            .set_iops(ebs.iops)
            .set_throughput(ebs.throughput)
            .set_kms_key_id(ebs.kms_key_id.clone())
            .set_delete_on_termination(ebs.delete_on_termination)
            .set_encrypted(ebs.encrypted);
        let name = mapping.device_name.clone();
        let mapping = sdk::LaunchTemplateBlockDeviceMapping::builder().set_device_name(name).ebs(ebs.build());
        response = response.block_device_mappings(mapping.build());
    }
    if let Some(options) = data.metadata_options() {
        let options = sdk::LaunchTemplateInstanceMetadataOptions::builder()
            .set_http_tokens(options.http_tokens.clone())
            .set_http_put_response_hop_limit(options.http_put_response_hop_limit)
            .state(sdk::LaunchTemplateInstanceMetadataOptionsState::Applied);
        response = response.metadata_options(options.build());
    }
    for interface in data.network_interfaces() {
        let interface = sdk::LaunchTemplateInstanceNetworkInterfaceSpecification::builder()
            .set_interface_type(interface.interface_type.clone())
            .set_device_index(interface.device_index)
            .set_network_card_index(interface.network_card_index)
            .set_delete_on_termination(interface.delete_on_termination)
            .set_groups(interface.groups.clone());
        response = response.network_interfaces(interface.build());
    }
    if let Some(target) = data.capacity_reservation_specification().and_then(|one| one.capacity_reservation_target()) {
        let id = target.capacity_reservation_id.clone();
        let target = sdk::CapacityReservationTargetResponse::builder().set_capacity_reservation_id(id).build();
        let specification = sdk::LaunchTemplateCapacityReservationSpecificationResponse::builder();
        response =
            response.capacity_reservation_specification(specification.capacity_reservation_target(target).build());
    }
    if let Some(placement) = data.placement() {
        let group = placement.group_name.clone();
        response = response.placement(sdk::LaunchTemplatePlacement::builder().set_group_name(group).build());
    }
    for one in data.tag_specifications() {
        let specification = sdk::LaunchTemplateTagSpecification::builder();
        let specification = specification.set_resource_type(one.resource_type.clone()).set_tags(one.tags.clone());
        response = response.tag_specifications(specification.build());
    }
    response.build()
}

#[test]
fn what_ec2_returns_equals_what_was_sent() {
    let efa = json!({"efa": true});
    for spec in [json!({}), json!({"securityGroupIds": ["sg-1"]}), efa, full()] {
        let sent = desired(spec.clone()).with_cards(2);
        assert_eq!(Content::from(&returned(&sent.to_request())), sent, "{spec}");
    }
}

#[test]
fn empty_template_sets_tags_of_instances_volumes_and_network_interfaces_only() {
    let request = desired(json!({})).to_request();
    let kinds: Vec<_> = request.tag_specifications().iter().filter_map(|one| one.resource_type()).collect();
    assert_eq!(kinds, TAGGED.iter().collect::<Vec<_>>());
    for one in request.tag_specifications() {
        let tags: Vec<_> = one.tags().iter().map(|tag| (tag.key().unwrap(), tag.value().unwrap())).collect();
        assert_eq!(tags, [("Name", "demo/workers"), ("team", "shop")]);
    }
    let tags_only =
        sdk::RequestLaunchTemplateData::builder().set_tag_specifications(request.tag_specifications.clone());
    assert_eq!(request, tags_only.build());
}

#[test]
fn named_security_groups_get_the_clusters_beside_them_and_move_to_the_interfaces_with_efa() {
    let request = desired(json!({"securityGroupIds": ["sg-2", "sg-1"]})).to_request();
    assert_eq!(request.security_group_ids(), ["sg-1", "sg-2", "sg-cluster"]);
    let request = desired(full()).with_cards(2).to_request();
    assert!(request.security_group_ids().is_empty());
    let interfaces: Vec<_> = request
        .network_interfaces()
        .iter()
        .map(|one| (one.network_card_index(), one.device_index(), one.interface_type(), one.groups().len()))
        .collect();
    assert_eq!(interfaces, [(Some(0), Some(0), Some("efa"), 3), (Some(1), Some(1), Some("efa"), 3)]);
}

#[test]
fn contents_wait_for_what_they_need_of_the_cluster() {
    let unknown = Cluster::default();
    let config = json!({"spec": {}});
    let own_cluster = json!({"spec": {"cluster": {"name": "mine"}}});
    for (spec, waits) in [
        (json!({}), false),
        (json!({"nodeConfig": config}), false),
        (json!({"securityGroupIds": ["sg-1"]}), true),
        (json!({"efa": true}), true),
        (json!({"imageId": "ami-1", "nodeConfig": config}), true),
        (json!({"imageId": "ami-1", "nodeConfig": own_cluster}), false),
        (json!({"imageId": "ami-1", "userData": "#!/bin/sh\n"}), false),
    ] {
        assert_eq!(desired_in(spec.clone(), &unknown).is_none(), waits, "{spec}");
    }
}

#[test]
fn tags_that_only_some_resources_have_differ() {
    let mut data = returned(&desired(json!({})).to_request());
    let specifications = data.tag_specifications.as_mut().unwrap();
    specifications.pop();
    let changes = differences(&Content::from(&data), &desired(json!({})));
    let text: Vec<_> = changes.iter().map(|c| format!("{}: {} -> {}", c.field, c.from, c.to)).collect();
    assert_eq!(
        text,
        [r#"node.tags.Name: "(not on all)" -> "demo/workers""#, r#"node.tags.team: "(not on all)" -> "shop""#]
    );
}

#[test]
fn settings_that_keelson_never_makes_differ() {
    let data = sdk::ResponseLaunchTemplateData::builder().key_name("mine").instance_type(sdk::InstanceType::M7iLarge);
    let changes = differences(&Content::from(&data.build()), &Content::default());
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].from.as_str(), changes[0].to.as_str()), ("InstanceType, KeyName", "(none)"));
}

type Plant = fn(&mut sdk::ResponseLaunchTemplateData);

fn ebs(data: &mut sdk::ResponseLaunchTemplateData) -> &mut sdk::LaunchTemplateEbsBlockDevice {
    data.block_device_mappings.as_mut().unwrap()[0].ebs.as_mut().unwrap()
}

fn metadata(data: &mut sdk::ResponseLaunchTemplateData) -> &mut sdk::LaunchTemplateInstanceMetadataOptions {
    data.metadata_options.as_mut().unwrap()
}

fn interface(
    data: &mut sdk::ResponseLaunchTemplateData,
) -> &mut sdk::LaunchTemplateInstanceNetworkInterfaceSpecification {
    &mut data.network_interfaces.as_mut().unwrap()[1]
}

#[test]
fn no_setting_that_keelson_does_not_write_hides_in_a_version() {
    let plants: &[(&str, Plant)] = &[
        ("BlockDeviceMappings.Ebs.SnapshotId", |data| ebs(data).snapshot_id = Some("snap-1".into())),
        ("BlockDeviceMappings.Ebs.DeleteOnTermination", |data| ebs(data).delete_on_termination = Some(false)),
        ("BlockDeviceMappings.Ebs.DeleteOnTermination", |data| ebs(data).delete_on_termination = None),
        ("BlockDeviceMappings.Ebs.VolumeInitializationRate", |data| ebs(data).volume_initialization_rate = Some(100)),
        ("BlockDeviceMappings.NoDevice", |data| {
            data.block_device_mappings.as_mut().unwrap()[0].no_device = Some("x".into());
        }),
        ("BlockDeviceMappings.DeviceName", |data| {
            let again = data.block_device_mappings.as_ref().unwrap()[0].clone();
            data.block_device_mappings.as_mut().unwrap().push(again);
        }),
        ("CapacityReservationSpecification.CapacityReservationPreference", |data| {
            let specification = data.capacity_reservation_specification.as_mut().unwrap();
            specification.capacity_reservation_preference = Some(sdk::CapacityReservationPreference::Open);
        }),
        ("CreditSpecification.CpuCredits", |data| {
            data.credit_specification = Some(sdk::CreditSpecification::builder().cpu_credits("unlimited").build());
        }),
        ("DisableApiStop", |data| data.disable_api_stop = Some(true)),
        ("DisableApiTermination", |data| data.disable_api_termination = Some(true)),
        ("EbsOptimized", |data| data.ebs_optimized = Some(false)),
        ("EnclaveOptions.Enabled", |data| {
            data.enclave_options = Some(sdk::LaunchTemplateEnclaveOptions::builder().enabled(true).build());
        }),
        ("HibernationOptions.Configured", |data| {
            data.hibernation_options = Some(sdk::LaunchTemplateHibernationOptions::builder().configured(true).build());
        }),
        ("IamInstanceProfile.Arn", |data| {
            let profile = sdk::LaunchTemplateIamInstanceProfileSpecification::builder().arn("arn:profile");
            data.iam_instance_profile = Some(profile.build());
        }),
        ("InstanceInitiatedShutdownBehavior", |data| {
            data.instance_initiated_shutdown_behavior = Some(sdk::ShutdownBehavior::Stop);
        }),
        ("InstanceMarketOptions.MarketType", |data| {
            let options = sdk::LaunchTemplateInstanceMarketOptions::builder().market_type(sdk::MarketType::Spot);
            data.instance_market_options = Some(options.build());
        }),
        ("InstanceRequirements.VCpuCount.Min", |data| {
            let count = sdk::VCpuCountRange::builder().min(2).build();
            data.instance_requirements = Some(sdk::InstanceRequirements::builder().v_cpu_count(count).build());
        }),
        ("KernelId", |data| data.kernel_id = Some("aki-1".into())),
        ("KeyName", |data| data.key_name = Some("mine".into())),
        ("LicenseSpecifications.LicenseConfigurationArn", |data| {
            let license = sdk::LaunchTemplateLicenseConfiguration::builder().license_configuration_arn("arn:license");
            data.license_specifications = Some(vec![license.build()]);
        }),
        ("MaintenanceOptions.AutoRecovery", |data| {
            let options = sdk::LaunchTemplateInstanceMaintenanceOptions::builder();
            let options = options.auto_recovery(sdk::LaunchTemplateAutoRecoveryState::Disabled);
            data.maintenance_options = Some(options.build());
        }),
        ("MetadataOptions.HttpEndpoint", |data| {
            metadata(data).http_endpoint = Some(sdk::LaunchTemplateInstanceMetadataEndpointState::Disabled);
        }),
        ("MetadataOptions.HttpProtocolIpv6", |data| {
            metadata(data).http_protocol_ipv6 = Some(sdk::LaunchTemplateInstanceMetadataProtocolIpv6::Enabled);
        }),
        ("MetadataOptions.InstanceMetadataTags", |data| {
            metadata(data).instance_metadata_tags = Some(sdk::LaunchTemplateInstanceMetadataTagsState::Enabled);
        }),
        ("Monitoring.Enabled", |data| {
            data.monitoring = Some(sdk::LaunchTemplatesMonitoring::builder().enabled(true).build());
        }),
        ("NetworkInterfaces", |data| interface(data).groups = Some(vec!["sg-other".into()])),
        ("NetworkInterfaces", |data| interface(data).interface_type = None),
        ("NetworkInterfaces", |data| interface(data).network_card_index = Some(7)),
        ("NetworkInterfaces.AssociatePublicIpAddress", |data| {
            interface(data).associate_public_ip_address = Some(false);
        }),
        ("NetworkInterfaces.SubnetId", |data| interface(data).subnet_id = Some("subnet-1".into())),
        ("Placement.Tenancy", |data| data.placement.as_mut().unwrap().tenancy = Some(sdk::Tenancy::Dedicated)),
        ("PrivateDnsNameOptions.EnableResourceNameDnsARecord", |data| {
            let options = sdk::LaunchTemplatePrivateDnsNameOptions::builder().enable_resource_name_dns_a_record(true);
            data.private_dns_name_options = Some(options.build());
        }),
        ("SecurityGroupIds", |data| data.security_group_ids = Some(vec!["sg-other".into()])),
        ("SecurityGroups", |data| data.security_groups = Some(vec!["default".into()])),
        ("TagSpecifications.ResourceType", |data| {
            let tags = sdk::LaunchTemplateTagSpecification::builder();
            let tags = tags.resource_type(sdk::ResourceType::SpotInstancesRequest);
            data.tag_specifications.as_mut().unwrap().push(tags.build());
        }),
        ("Operator.Managed", |data| data.operator = Some(sdk::OperatorResponse::builder().managed(true).build())),
    ];
    let wanted = desired(full()).with_cards(2);
    for (name, plant) in plants {
        let mut data = returned(&wanted.to_request());
        plant(&mut data);
        let content = Content::from(&data);
        assert!(content.others.contains(*name), "{name}: {:?}", content.others);
        let changes = differences(&content, &wanted);
        assert!(changes.iter().any(|change| change.from.contains(name)), "{name}: {changes:?}");
    }
}

#[test]
fn what_ec2_adds_of_its_own_accord_is_no_difference() {
    let wanted = desired(full()).with_cards(2);
    let mut data = returned(&wanted.to_request());
    let options = metadata(&mut data);
    options.http_endpoint = Some(sdk::LaunchTemplateInstanceMetadataEndpointState::Enabled);
    options.http_protocol_ipv6 = Some(sdk::LaunchTemplateInstanceMetadataProtocolIpv6::Disabled);
    options.instance_metadata_tags = Some(sdk::LaunchTemplateInstanceMetadataTagsState::Disabled);
    data.operator = Some(sdk::OperatorResponse::builder().managed(false).build());
    // Elements without content.
    data.license_specifications = Some(Vec::new());
    data.iam_instance_profile = Some(sdk::LaunchTemplateIamInstanceProfileSpecification::builder().build());
    data.key_name = Some(String::new());
    data.user_data = data.user_data.map(|text| format!("{text}\n"));
    data.network_interfaces.as_mut().unwrap().reverse();
    assert_eq!(Content::from(&data), wanted);
}

#[test]
fn contents_that_differ_never_have_no_differences() {
    let content = Content { user_data: Some("no base64".into()), ..Content::default() };
    let same_text = Content { user_data: Some(STANDARD.encode("no base64")), ..Content::default() };
    let changes = differences(&content, &same_text);
    assert_eq!((changes.len(), changes[0].field.as_str()), (1, "node"));
    assert_ne!(changes[0].from, changes[0].to);
    let volume = |encrypted| {
        let volume = Volume { key: Some("arn:key".into()), encrypted, ..Volume::default() };
        Content { volumes: BTreeMap::from([("/dev/xvda".to_owned(), volume)]), ..Content::default() }
    };
    assert_eq!(differences(&volume(false), &volume(true))[0].field, "node.volumes./dev/xvda");
}

#[test]
fn plan_shows_what_the_template_sets() {
    let facts = facts(&desired(full()).with_cards(2));
    let lines: Vec<_> = facts.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    insta::assert_snapshot!(lines.join("\n"));
}
