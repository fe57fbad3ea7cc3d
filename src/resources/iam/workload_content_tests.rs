//! What the roles of Pods contain.

use std::collections::BTreeSet;

use super::*;

const PLACE: Placeholders<'_> = Placeholders {
    partition: "aws",
    region: "eu-west-1",
    account: "123456789012",
    cluster: "payments",
    node_role: "keelson-payments-0a1b2c3d-node",
};

fn spec(more: Value) -> EksClusterSpec {
    let mut spec = json!({"region": "eu-west-1", "version": "1.34", "addons": []});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

fn of_pods(more: Value) -> EksClusterSpec {
    let mut one = json!({"namespace": "kube-system", "serviceAccount": "external-dns", "role": {}});
    one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec(json!({"podIdentities": [one]}))
}

fn only(spec: &EksClusterSpec) -> (Key, RoleRequest) {
    let all: Vec<_> = desired(spec, "demo").collect();
    assert_eq!(all.len(), 1);
    all.into_iter().next().unwrap()
}

fn trusted(wants: &RoleRequest) -> Value {
    let trust: Value = serde_json::from_str(&wants.trust(&PLACE)).unwrap();
    trust["Statement"][0]["Condition"]["StringEquals"].clone()
}

#[test]
fn only_pods_of_the_service_account_of_the_cluster_can_assume_a_role() {
    let (key, wants) = only(&of_pods(json!({})));
    assert_eq!(key.to_string(), "workloadRole/kube-system/external-dns");
    let expected = json!({
        "aws:SourceAccount": "123456789012",
        "aws:RequestTag/eks-cluster-arn": "arn:aws:eks:eu-west-1:123456789012:cluster/payments",
        "aws:RequestTag/kubernetes-namespace": "kube-system",
        "aws:RequestTag/kubernetes-service-account": "external-dns",
    });
    assert_eq!(trusted(&wants), expected);
    let (_, untagged) = only(&of_pods(json!({"disableSessionTags": true})));
    assert_eq!(trusted(&untagged), json!({"aws:SourceAccount": "123456789012"}), "EKS then names nothing else");
    let addon = spec(json!({"addons": [{"name": "aws-ebs-csi-driver", "podIdentityRole": {}}]}));
    let (key, of_addon) = only(&addon);
    assert_eq!(key.to_string(), "workloadRole/addon:aws-ebs-csi-driver");
    let keys: BTreeSet<_> = trusted(&of_addon).as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["aws:RequestTag/eks-cluster-arn", "aws:SourceAccount"].map(str::to_owned).into());
}

#[test]
fn policies_are_documents_and_managed_policies_by_name() {
    let own =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}]});
    let target = "arn:aws:iam::210987654321:role/theirs";
    let arn = "arn:aws:iam::123456789012:policy/team";
    let role = json!({"policyArns": [arn], "policies": ["ExternalDNS", "EBSCSIDriver"], "policy": own});
    let (_, wants) = only(&of_pods(json!({"role": role, "targetRoleArn": target})));
    let inline = wants.inline(&PLACE);
    assert_eq!(inline.keys().collect::<Vec<_>>(), ["keelson-ExternalDNS", "policy", "target-role"]);
    assert!(inline["target-role"].contains(target) && inline["policy"].contains("s3:Get*"));
    assert_eq!(wants.managed("aws-cn"), [arn, "arn:aws-cn:iam::aws:policy/AmazonEBSCSIDriverPolicyV2"]);
}

#[test]
fn documents_that_iam_refuses_are_refused_with_the_field() {
    let allow = || json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"});
    let with = |more: Value| {
        let mut statement = allow();
        statement.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"Statement": [allow(), statement]})
    };
    let long = json!({"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "x".repeat(10_240)}]});
    for (policy, expected) in [
        (json!({}), "it has no Statement"),
        (json!({"Statement": []}), "it has no Statement"),
        (json!({"Statement": "x"}), "it has no Statement"),
        (json!({"Statement": ["x"]}), "Statement[0] is not a mapping"),
        (json!({"Statements": [allow()]}), "Statements is no element"),
        (with(json!({"Principal": "*"})), "Statement[1] names a principal"),
        (with(json!({"Effect": "allow"})), "needs Effect"),
        (with(json!({"NotAction": "s3:*"})), "either Action or NotAction"),
        (with(json!({"NotResource": "*"})), "either Resource or NotResource"),
        (long, "IAM takes 10240"),
    ] {
        let error = check(&of_pods(json!({"role": {"policy": policy}})), "payments").unwrap_err().to_string();
        assert!(error.contains("spec.podIdentities[kube-system/external-dns].role"), "{error}");
        assert!(error.contains(expected), "{error}");
    }
    for policy in [json!({"Statement": allow()}), json!({"Version": "2012-10-17", "Statement": [allow()]})] {
        assert_eq!(check(&of_pods(json!({"role": {"policy": policy}})), "payments"), Ok(()));
    }
}
