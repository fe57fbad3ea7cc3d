//! AMIs by their owners, launch templates by name, and the policies of Pods.

use serde_json::{Value, json};

use super::Allowlists;
use super::tests::{ACCOUNT, cluster_spec, decide, lists, node_group_spec};
use crate::controllers::account::named::{by_cluster, by_node_group};

#[test]
fn images_of_trusted_owners_need_no_entry_and_private_ones_do() {
    let images = ["ami-eks", "ami-vendor", "ami-ubuntu", "ami-f", "ami-missing"];
    let allowed = |account: Value| -> Vec<&str> {
        let lists = lists(account);
        let may =
            |id: &&&str| decide(&lists, &by_node_group(&node_group_spec(&json!({"node": {"imageId": id}})))).is_ok();
        images.iter().filter(may).copied().collect()
    };
    let owners = |owners: &[&str]| json!({"allowedImageOwners": owners});
    assert_eq!(allowed(json!({})), ["ami-eks"], "without the list");
    assert_eq!(allowed(owners(&[])), [""; 0], "a list of nobody");
    assert_eq!(allowed(owners(&["099720109477"])), ["ami-ubuntu"], "Amazon is not listed");
    assert_eq!(allowed(owners(&["amazon", "aws-marketplace"])), ["ami-eks", "ami-vendor"]);
    assert_eq!(allowed(owners(&[ACCOUNT])), ["ami-f"], "all private images of the account");
    assert_eq!(allowed(owners(&["*"])), images);
    assert_eq!(allowed(json!({"allowedImageOwners": [], "allowedImageIds": ["ami-missing"]})), ["ami-missing"]);
}

#[test]
fn owner_of_an_image_is_read_only_if_the_lists_do_not_decide() {
    let named = by_node_group(&node_group_spec(&json!({"node": {"imageId": "ami-f"}})));
    for (account, looked_up) in [
        (json!({}), Some(1)),
        (json!({"allowedImageIds": ["ami-f"]}), Some(0)),
        (json!({"allowedImageOwners": ["*"]}), Some(0)),
        (json!({"allowedImageOwners": []}), None),
    ] {
        let lists = lists(account.clone());
        let undecided = lists.check(&named).ok();
        assert_eq!(undecided.map(|undecided| lists.images_to_look_up(&undecided).len()), looked_up, "{account}");
    }
}

#[test]
fn launch_template_by_name_is_decided_by_its_id() {
    let lists = |listed: &[&str]| {
        let spec = json!({"accountId": "123456789012", "allowedLaunchTemplateIds": listed});
        Allowlists::of("prod", &serde_json::from_value(spec).unwrap(), "team-a")
    };
    for (listed, id, allowed) in [
        (&["lt-1"][..], Some("lt-1"), true),
        (&["lt-*"], Some("lt-2"), true),
        (&["lt-1"], Some("lt-2"), false),
        // A name is no id, and what does not exist is refused like what is not listed.
        (&["lt-named"], Some("lt-2"), false),
        (&["lt-1"], None, false),
        (&[], Some("lt-1"), false),
        (&["*"], None, true),
    ] {
        let decided = lists(listed).check_template_name("lt-named", id);
        assert_eq!(decided.is_ok(), allowed, "{listed:?} {id:?}");
        let Err(refusal) = decided else { continue };
        assert!(refusal.message.starts_with("spec.launchTemplate.name: lt-named is not"), "{}", refusal.message);
        assert!(!refusal.message.contains("lt-2"), "an id that the tenant does not know: {}", refusal.message);
    }
}

#[test]
fn roles_of_pods_have_the_policies_that_the_account_allows() {
    let boundary = "arn:aws:iam::123456789012:policy/pods";
    let document = json!({"policy": {"Statement": []}});
    let included = json!({"policies": ["ExternalDNS"]});
    for (role, account, allowed) in [
        (&included, json!({}), false),
        (&included, json!({"allowedWorkloadPolicies": ["Karpenter"]}), false),
        (&included, json!({"allowedWorkloadPolicies": ["ExternalDNS"]}), true),
        (&included, json!({"allowedWorkloadPolicies": ["*"]}), true),
        (&document, json!({"allowedPolicyArns": ["*"], "allowedWorkloadPolicies": ["*"]}), false),
        (&document, json!({"allowInlinePolicies": true}), false),
        (&document, json!({"allowInlinePolicies": true, "permissionsBoundaryArn": boundary}), false),
        (&document, json!({"allowInlinePolicies": true, "workloadPermissionsBoundaryArn": boundary}), true),
    ] {
        let spec = json!({"podIdentities": [{"namespace": "dns", "serviceAccount": "dns", "role": role}]});
        let refusal =
            decide(&lists(account.clone()), &by_cluster(&cluster_spec(&spec))).map_err(|refusal| refusal.message);
        assert_eq!(refusal.is_ok(), allowed, "{role} {account}: {refusal:?}");
        assert!(allowed || refusal.unwrap_err().starts_with("spec.podIdentities[dns/dns].role.polic"));
    }
}

#[test]
fn karpenter_needs_the_policy_that_its_role_gets() {
    for (account, allowed) in [
        (json!({}), false),
        (json!({"allowedWorkloadPolicies": ["ExternalDNS"]}), false),
        (json!({"allowedWorkloadPolicies": ["Karpenter"]}), true),
        (json!({"allowedWorkloadPolicies": ["*"]}), true),
    ] {
        let spec = cluster_spec(&json!({"karpenter": {}}));
        let refusal = decide(&lists(account.clone()), &by_cluster(&spec)).map_err(|refusal| refusal.message);
        assert_eq!(refusal.is_ok(), allowed, "{account}: {refusal:?}");
        assert!(allowed || refusal.unwrap_err().starts_with("spec.karpenter: Karpenter is not"));
    }
}
