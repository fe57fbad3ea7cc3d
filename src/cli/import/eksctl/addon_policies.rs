//! Policies that eksctl puts into the nodes' role for the sake of one workload (`withAddonPolicies`), as a role of that workload. Pure.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::addons;
use crate::cli::import::section::Section;

/// eksctl's switches, Keelson's policies, and the service accounts in the installation guides of the workloads.
const SWITCHES: [(&str, &str, &str, &str); 6] = [
    ("autoScaler", "ClusterAutoscaler", "kube-system", "cluster-autoscaler"),
    ("externalDNS", "ExternalDNS", "kube-system", "external-dns"),
    ("certManager", "CertManager", "cert-manager", "cert-manager"),
    ("awsLoadBalancerController", "AWSLoadBalancerController", "kube-system", "aws-load-balancer-controller"),
    ("albIngress", "AWSLoadBalancerController", "kube-system", "aws-load-balancer-controller"),
    ("efs", "EFSCSIDriver", "kube-system", "efs-csi-controller-sa"),
];

/// Policies by namespace and service account.
pub type WorkloadPolicies = RefCell<BTreeMap<(&'static str, &'static str), &'static str>>;

/// Takes the switches of a node group.
pub fn take(switches: &mut Section<'_>, found: &WorkloadPolicies) {
    for (field, policy, namespace, account) in SWITCHES {
        if switches.flag(field) != Some(true) {
            continue;
        }
        found.borrow_mut().insert((namespace, account), policy);
        let how = format!(
            "became a role of its own for ServiceAccount {namespace}/{account} (podIdentities), in place of a policy that every Pod on the \
             nodes can use: change the name if yours has another; the AwsAccount has to allow it (allowedWorkloadPolicies)"
        );
        switches.report_difference(field, how);
    }
}

/// Adds the roles to `podIdentities`, unless the file has one for the service account, and the agent that they need.
pub fn add(file: &Section<'_>, spec: &mut Value, found: &WorkloadPolicies, auto_mode: bool) {
    let mut identities = spec["podIdentities"].as_array().cloned().unwrap_or_default();
    for ((namespace, account), policy) in found.borrow().iter() {
        let is_there = |one: &Value| one["namespace"] == *namespace && one["serviceAccount"] == *account;
        if !identities.iter().any(is_there) {
            identities.push(json!({"namespace": namespace, "serviceAccount": account, "role": {"policies": [policy]}}));
        }
    }
    if identities.is_empty() {
        return;
    }
    spec["podIdentities"] = json!(identities);
    if !auto_mode && let Some(mut addons) = spec["addons"].as_array().cloned() {
        addons::add_pod_identity_agent(file, &mut addons, &spec["podIdentities"], !spec["karpenter"].is_null());
        spec["addons"] = json!(addons);
    }
}
