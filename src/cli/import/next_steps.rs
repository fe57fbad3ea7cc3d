//! What to do with an imported manifest, and what its AwsAccount must allow: the last lines on standard error. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::ObjectPlacement;
use crate::api::account::DEFAULT_ACCOUNT;
use crate::controllers::account::named::{Kind, ResourceReference};

/// What the AwsAccount of imported clusters must allow.
#[derive(Debug, Default)]
pub struct Needs {
    /// Names in EKS of the clusters to adopt.
    clusters: BTreeSet<String>,
    lists: BTreeMap<&'static str, BTreeSet<String>>,
    /// Subnets of networks that clusters use: their VPC is to be allowed, too.
    subnets: BTreeSet<String>,
    /// Whether an object writes policy documents of its own.
    inline_policies: bool,
}

impl Needs {
    /// Adds a cluster, by its name in EKS, and its VPC.
    pub fn add_cluster(&mut self, name: &str, vpc: Option<&str>) {
        self.clusters.insert(name.to_owned());
        if let Some(vpc) = vpc {
            self.lists.entry("allowedVpcIds").or_default().insert(vpc.to_owned());
        }
    }

    /// Adds what a spec refers to.
    pub fn add(&mut self, named: Vec<ResourceReference>) {
        for ResourceReference { kind, value, field } in named {
            let list = match kind {
                Kind::Role => "allowedRoleArns",
                Kind::Policy => "allowedPolicyArns",
                Kind::SecurityGroup => "allowedSecurityGroupIds",
                Kind::KmsKey => "allowedKmsKeyArns",
                Kind::LaunchTemplate => "allowedLaunchTemplateIds",
                Kind::Image => "allowedImageIds",
                Kind::CapacityReservation => "allowedCapacityReservationIds",
                Kind::PlacementGroup => "allowedPlacementGroups",
                Kind::ElasticIp => "allowedElasticIpAllocationIds",
                Kind::Vpc => "allowedVpcIds",
                // With their VPC; those of parts of the cluster are in the cluster's.
                Kind::Subnet => {
                    if field.starts_with("spec.network.") {
                        self.subnets.insert(value);
                    }
                    continue;
                }
                Kind::WorkloadPolicy => "allowedWorkloadPolicies",
                Kind::InlinePolicy => {
                    self.inline_policies = true;
                    continue;
                }
            };
            self.lists.entry(list).or_default().insert(value);
        }
    }

    /// The next steps, for a person.
    pub fn describe(&self, placing: &ObjectPlacement) -> String {
        let first = "next: keelson plan -f FILE --live, which shows only adoptions; then apply the file\n\
                     before that, ";
        format!("{first}{}", self.describe_account(placing))
    }

    /// The next steps of clusters that are created anew, for a person.
    pub fn describe_new(&self, placing: &ObjectPlacement) -> String {
        let first = "next: keelson plan -f FILE; then apply the file\nbefore that, ";
        format!("{first}{}", self.describe_account(placing))
    }

    /// What the spec of the AwsAccount must contain, for a person.
    pub fn describe_account(&self, placing: &ObjectPlacement) -> String {
        let account = placing.account_ref.as_deref().unwrap_or(DEFAULT_ACCOUNT);
        let namespace = placing.namespace.as_deref().unwrap_or("NAMESPACE");
        let flow = |values: &BTreeSet<String>| {
            let quoted = values.iter().map(|one| if one.contains(':') { format!("{one:?}") } else { one.clone() });
            quoted.collect::<Vec<_>>().join(", ")
        };
        let mut lines = vec![
            format!("the spec of AwsAccount {account} must allow it:"),
            format!("  allowedNamespaces: [{namespace}]"),
        ];
        if !self.clusters.is_empty() {
            let names = flow(&self.clusters);
            lines.push(format!("  adoption: {{policy: Allow, clusterNames: [{names}], namespaces: [{namespace}]}}"));
        }
        if self.inline_policies {
            lines.push("  allowInlinePolicies: true".to_owned());
            lines.push("  workloadPermissionsBoundaryArn: ARN   # deploy/iam-workload-boundary.json".to_owned());
        }
        lines.extend(self.lists.iter().map(|(list, values)| format!("  {list}: [{}]", flow(values))));
        if !self.subnets.is_empty() && !self.lists.contains_key("allowedVpcIds") {
            lines.push(format!("  allowedVpcIds: [VPC]   # of {}", flow(&self.subnets)));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_must_allow_the_clusters_and_what_they_refer_to() {
        let mut needs = Needs::default();
        needs.add_cluster("shop", Some("vpc-1"));
        let named = |kind, value: &str| ResourceReference { field: "spec".into(), kind, value: value.into() };
        needs.add(vec![
            named(Kind::Role, "arn:aws:iam::111122223333:role/eks"),
            named(Kind::Subnet, "subnet-1"),
            named(Kind::SecurityGroup, "sg-2"),
            named(Kind::SecurityGroup, "sg-1"),
        ]);
        let placing = ObjectPlacement { namespace: Some("team".into()), account_ref: None };
        insta::assert_snapshot!(needs.describe(&placing), @r#"
        next: keelson plan -f FILE --live, which shows only adoptions; then apply the file
        before that, the spec of AwsAccount default must allow it:
          allowedNamespaces: [team]
          adoption: {policy: Allow, clusterNames: [shop], namespaces: [team]}
          allowedRoleArns: ["arn:aws:iam::111122223333:role/eks"]
          allowedSecurityGroupIds: [sg-1, sg-2]
          allowedVpcIds: [vpc-1]
        "#);
    }

    #[test]
    fn nothing_is_adopted_of_clusters_that_are_created_anew() {
        let mut needs = Needs::default();
        let named = |kind, value: &str| ResourceReference { field: "spec".into(), kind, value: value.into() };
        needs.add(vec![
            named(Kind::WorkloadPolicy, "ExternalDNS"),
            named(Kind::InlinePolicy, "a policy document"),
            named(Kind::WorkloadPolicy, "CertManager"),
        ]);
        let placing = ObjectPlacement { namespace: None, account_ref: Some("prod".into()) };
        insta::assert_snapshot!(needs.describe_new(&placing), @r#"
        next: keelson plan -f FILE; then apply the file
        before that, the spec of AwsAccount prod must allow it:
          allowedNamespaces: [NAMESPACE]
          allowInlinePolicies: true
          workloadPermissionsBoundaryArn: ARN   # deploy/iam-workload-boundary.json
          allowedWorkloadPolicies: [CertManager, ExternalDNS]
        "#);
    }

    #[test]
    fn account_must_allow_the_vpc_of_subnets() {
        let lines = |vpc: Option<&str>| {
            let mut needs = Needs::default();
            let named = |field: &'static str, kind, value: &str| ResourceReference {
                field: field.into(),
                kind,
                value: value.into(),
            };
            needs.add(vec![
                named("spec.network.existing.subnetIds", Kind::Subnet, "subnet-2"),
                named("spec.network.existing.subnetIds", Kind::Subnet, "subnet-1"),
                named("spec.fargateProfiles[a].subnetIds", Kind::Subnet, "subnet-3"),
            ]);
            needs.add(vpc.map(|id| named("spec.network.existing.vpcId", Kind::Vpc, id)).into_iter().collect());
            needs.describe_new(&ObjectPlacement { namespace: None, account_ref: None })
        };
        assert!(lines(None).ends_with("\n  allowedVpcIds: [VPC]   # of subnet-1, subnet-2"), "{}", lines(None));
        assert!(lines(Some("vpc-1")).ends_with("\n  allowedVpcIds: [vpc-1]"), "{}", lines(Some("vpc-1")));
    }
}
