//! Shortened versions of the events in AWS's documentation.

use serde_json::{Value, json};

use super::*;

fn envelope(source: &str, detail: Value) -> String {
    json!({
        "version": "0", "id": "36eb8523-97d0-4518-b33d-ee3579ff19f0", "detail-type": "AWS API Call via CloudTrail",
        "source": source, "account": "111122223333", "time": "2026-11-20T01:08:22Z", "region": "eu-west-1",
        "resources": [], "detail": detail,
    })
    .to_string()
}

/// A call with these parameters and this response.
fn call(source: &str, name: &str, parameters: Value, response: Value) -> Event {
    let service = source.trim_start_matches("aws.");
    let detail = json!({
        "eventVersion": "1.08",
        "userIdentity": {
            "type": "AssumedRole", "principalId": "AROA:jane",
            "arn": "arn:aws:sts::111122223333:assumed-role/Admin/jane", "accountId": "111122223333",
            "sessionContext": {"attributes": {"mfaAuthenticated": "false"}},
        },
        "eventTime": "2026-11-20T01:08:20Z", "eventSource": format!("{service}.amazonaws.com"), "eventName": name,
        "awsRegion": "eu-west-1", "sourceIPAddress": "192.0.2.1", "userAgent": "aws-cli/2.17.0 md/Botocore#2.0",
        "requestParameters": parameters, "responseElements": response,
        "requestID": "a", "eventID": "b", "readOnly": false, "eventType": "AwsApiCall", "managementEvent": true,
        "recipientAccountId": "111122223333", "eventCategory": "Management",
    });
    match Message::read(&envelope(source, detail)) {
        Ok(Message::Change(event)) => event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn event_has_account_region_and_caller() {
    let event = call("aws.eks", "DeleteAddon", json!({"clusterName": "prod", "addonName": "vpc-cni"}), Value::Null);
    assert_eq!((event.account.as_str(), event.region.as_str()), ("111122223333", "eu-west-1"));
    assert_eq!((event.service, event.action.as_str()), (Service::Eks, "DeleteAddon"));
    assert_eq!(event.caller_arn.as_deref(), Some("arn:aws:sts::111122223333:assumed-role/Admin/jane"));
    assert!(!event.is_by_keelson());
}

/// For each call, the expected fields and values.
#[test]
fn values_are_found_in_all_cloudtrail_formats() {
    type Case = (&'static str, &'static str, Value, Value, &'static [(&'static str, &'static str)]);
    let cases: Vec<Case> = vec![
        // EKS: lists as sent.
        (
            "aws.eks",
            "UpdateNodegroupConfig",
            json!({"clusterName": "prod", "nodegroupName": "workers", "scalingConfig": {"maxSize": 9}}),
            json!({"update": {"id": "u-1", "type": "ConfigUpdate", "params": [{"type": "MaxSize", "value": "9"}]}}),
            &[("clusterName", "prod"), ("nodegroupName", "workers")],
        ),
        (
            "aws.eks",
            "UpdateClusterConfig",
            json!({"name": "prod", "logging": {"clusterLogging": [{"types": ["api"], "enabled": true}]}}),
            json!({"update": {"id": "u-2", "type": "LoggingUpdate"}}),
            &[("name", "prod")],
        ),
        (
            "aws.eks",
            "TagResource",
            json!({"resourceArn": "arn%3Aaws%3Aeks%3Aeu-west-1%3A111122223333%3Acluster%2Fprod", "tags": {"a": "b"}}),
            json!({}),
            &[("resourceArn", "arn:aws:eks:eu-west-1:111122223333:cluster/prod")],
        ),
        // EC2: lists are sets of items.
        (
            "aws.ec2",
            "CreateTags",
            json!({"resourcesSet": {"items": [{"resourceId": "vpc-0a"}, {"resourceId": "subnet-0b"}]},
                   "tagSet": {"items": [{"key": "Name", "value": "x"}]}}),
            json!({"requestId": "r", "_return": true}),
            &[("resourceId", "vpc-0a"), ("resourceId", "subnet-0b")],
        ),
        (
            "aws.ec2",
            "DeleteRoute",
            json!({"routeTableId": "rtb-0a", "destinationCidrBlock": "0.0.0.0/0"}),
            json!({"requestId": "r", "_return": true}),
            &[("routeTableId", "rtb-0a")],
        ),
        (
            "aws.ec2",
            "ModifyVpcAttribute",
            json!({"vpcId": "vpc-0a", "enableDnsHostnames": {"value": false}}),
            json!({"_return": true}),
            &[("vpcId", "vpc-0a")],
        ),
        (
            "aws.ec2",
            "AuthorizeSecurityGroupIngress",
            json!({"groupId": "sg-0a", "ipPermissions": {"items": [{"ipProtocol": "tcp", "groups": {"items": [{"groupId": "sg-0b"}]}}]}}),
            json!({"_return": true}),
            &[("groupId", "sg-0a"), ("groupId", "sg-0b")],
        ),
        // EC2's younger calls: wrapped, in AWS's own case, and lists by number.
        (
            "aws.ec2",
            "DeleteVpcEndpoints",
            json!({"DeleteVpcEndpointsRequest": {"VpcEndpointId": {"tag": 1, "content": "vpce-0a"}}}),
            json!({"DeleteVpcEndpointsResponse": {"unsuccessful": "", "xmlns": "http://ec2.amazonaws.com/doc/2016-11-15/"}}),
            &[("vpcEndpointId", "vpce-0a")],
        ),
        (
            "aws.ec2",
            "DeleteVpcEndpoints",
            json!({"DeleteVpcEndpointsRequest": {"VpcEndpointId": [{"tag": 1, "content": "vpce-0a"}, {"tag": 2, "content": "vpce-0b"}]}}),
            Value::Null,
            &[("vpcEndpointId", "vpce-0a"), ("vpcEndpointId", "vpce-0b")],
        ),
        (
            "aws.ec2",
            "DeleteNatGateway",
            json!({"DeleteNatGatewayRequest": {"NatGatewayId": "nat-0a"}}),
            json!({"DeleteNatGatewayResponse": {"natGatewayId": "nat-0a", "requestId": "r"}}),
            &[("natGatewayId", "nat-0a")],
        ),
        (
            "aws.iam",
            "DetachRolePolicy",
            json!({"roleName": "keelson-prod-node", "policyArn": "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"}),
            Value::Null,
            &[("roleName", "keelson-prod-node")],
        ),
    ];
    for (source, action, parameters, response, wanted) in cases {
        let event = call(source, action, parameters, response);
        for (field, value) in wanted {
            assert!(event.field(field).any(|found| found == *value), "{action}: {field}={value} in {event:?}");
            assert!(event.names(value), "{action}: {value}");
        }
        assert!(!event.names("prod-2") && !event.names(""), "{action}");
    }
}

#[test]
fn reads_and_failed_calls_are_not_changes() {
    let change = json!({"eventName": "DeleteRoute", "requestParameters": {"routeTableId": "rtb-0a"}});
    let read = |detail: &Value| Message::read(&envelope("aws.ec2", detail.clone())).unwrap();
    assert!(matches!(read(&change), Message::Change(_)));
    for (field, value) in [("errorCode", json!("Client.UnauthorizedOperation")), ("readOnly", json!(true))] {
        let mut detail = change.clone();
        detail[field] = value;
        assert_eq!(read(&detail), Message::Other, "{field}");
    }
    assert_eq!(Message::read(&envelope("aws.s3", change)).unwrap(), Message::Other);
    let other =
        envelope("aws.ec2", json!({})).replace("AWS API Call via CloudTrail", "EC2 Instance State-change Notification");
    assert_eq!(Message::read(&other).unwrap(), Message::Other);
}

#[test]
fn invalid_bodies_are_malformed() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let bodies = ["", "null", "[]", "hello", "{}", "{\"detail\": 1}", &deep, &envelope("aws.eks", json!("text"))];
    for body in bodies {
        assert!(Message::read(body).is_err(), "{body:.40}");
    }
}

#[test]
fn record_that_contradicts_the_envelope_is_rejected() {
    let record = json!({
        "eventName": "DeleteRoute", "eventSource": "ec2.amazonaws.com", "awsRegion": "eu-west-1", "recipientAccountId": "111122223333",
        "requestParameters": {"routeTableId": "rtb-0a"},
    });
    assert!(matches!(Message::read(&envelope("aws.ec2", record.clone())), Ok(Message::Change(_))));
    let forged = [
        ("recipientAccountId", "999988887777", "account"),
        ("awsRegion", "eu-west-2", "region"),
        ("eventSource", "iam.amazonaws.com", "service"),
    ];
    for (field, value, named) in forged {
        let mut record = record.clone();
        record[field] = json!(value);
        let error = Message::read(&envelope("aws.ec2", record)).unwrap_err();
        assert!(matches!(error, RejectedMessage::Contradictory(what) if what == named), "{error}");
        assert!(!error.to_string().contains(value), "nothing of the message is quoted: {error}");
    }
}

#[test]
fn invalid_field_values_are_rejected() {
    let good = envelope("aws.ec2", json!({"eventName": "DeleteRoute"}));
    assert!(Message::read(&good).is_ok());
    let long = "x".repeat(200);
    for (from, to) in [
        ("111122223333", "prod"),
        ("111122223333", ""),
        ("eu-west-1", "eu west 1\\n"),
        ("eu-west-1", long.as_str()),
        ("DeleteRoute", "Delete Route"),
        ("DeleteRoute", ""),
        ("DeleteRoute", long.as_str()),
    ] {
        let body = good.replace(from, to);
        let error = Message::read(&body).unwrap_err();
        assert!(matches!(error, RejectedMessage::Invalid(_)), "{from} -> {to:.20}: {error}");
    }
}

#[test]
fn caller_is_reported_only_if_it_is_an_arn() {
    let by = |arn: &str| {
        let detail = json!({"eventName": "DeleteRoute", "userIdentity": {"arn": arn}});
        match Message::read(&envelope("aws.ec2", detail)) {
            Ok(Message::Change(event)) => event.caller_arn,
            other => panic!("{other:?}"),
        }
    };
    assert!(by("arn:aws:sts::111122223333:assumed-role/Admin/jane").is_some());
    for other in ["jane", "arn:aws:x\nReady: True", &format!("arn:{}", "x".repeat(10_000))] {
        assert_eq!(by(other), None, "{other:.40}");
    }
}

#[test]
fn oversized_body_is_not_parsed() {
    let detail = json!({"eventName": "CreateTags", "requestParameters": {"x": "y".repeat(300_000)}});
    let error = Message::read(&envelope("aws.ec2", detail)).unwrap_err();
    assert!(matches!(error, RejectedMessage::TooLarge(_)), "{error}");
}

#[test]
fn values_are_collected_to_a_bounded_depth() {
    let nested =
        |levels: usize| (0..levels).fold(json!({"routeTableId": "rtb-0a"}), |inner, _| json!({ "inner": inner }));
    assert!(call("aws.ec2", "DeleteRoute", nested(20), Value::Null).names("rtb-0a"));
    assert!(!call("aws.ec2", "DeleteRoute", nested(60), Value::Null).names("rtb-0a"));
}

#[test]
fn number_of_values_is_bounded() {
    let many: Vec<_> = (0..6_000).map(|number| json!({"resourceId": format!("vpc-{number}")})).collect();
    let event =
        call("aws.ec2", "CreateTags", json!({"resourcesSet": {"items": many}, "long": "x".repeat(5_000)}), Value::Null);
    assert_eq!(event.named.len(), MAX_VALUES);
}

#[test]
fn own_calls_are_recognized_by_user_agent() {
    let by = |agent: &str| {
        let detail = json!({"eventName": "CreateTags", "userAgent": agent});
        match Message::read(&envelope("aws.ec2", detail)) {
            Ok(Message::Change(event)) => event.is_by_keelson(),
            other => panic!("{other:?}"),
        }
    };
    assert!(by("aws-sdk-rust/1.3.15 ua/2.1 api/ec2#1.274.0 os/linux lang/rust#1.95.0 m/E app/keelson"));
    assert!(by("[aws-sdk-rust/1.3.15 app/keelson]"));
    assert!(!by("aws-cli/2.17.0 app/keelson-dashboard") && !by("eks.amazonaws.com") && !by(""));
}
