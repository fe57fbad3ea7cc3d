//! A kubeconfig of a workload cluster, whose credentials `aws eks get-token` makes for each use. It contains no token. Pure.

use serde_json::{Value, json};

/// A cluster, and how `aws` gets its tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExecAccess<'a> {
    /// The name in EKS.
    pub cluster_name: &'a str,
    /// The region.
    pub region: &'a str,
    /// Address of the API.
    pub endpoint: &'a str,
    /// Its certificate authority: PEM in base64.
    pub certificate_authority: &'a str,
    /// IAM role that `aws` assumes.
    pub role_arn: Option<&'a str>,
    /// Profile of the AWS configuration that `aws` uses.
    pub profile: Option<&'a str>,
}

impl ExecAccess<'_> {
    /// The entry of the cluster.
    pub fn cluster(&self) -> Value {
        json!({"server": self.endpoint, "certificate-authority-data": self.certificate_authority})
    }

    /// The entry of the user.
    pub fn user(&self) -> Value {
        let mut arguments = vec!["--region", self.region, "eks", "get-token", "--cluster-name", self.cluster_name];
        arguments.extend(["--output", "json"]);
        arguments.extend(self.role_arn.iter().flat_map(|role| ["--role-arn", role]));
        let mut exec = json!({
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": "aws",
            "args": arguments,
            "interactiveMode": "IfAvailable",
            "provideClusterInfo": false,
            "installHint": "install the AWS CLI, version 2: https://docs.aws.amazon.com/cli",
        });
        if let Some(profile) = self.profile {
            exec["env"] = json!([{"name": "AWS_PROFILE", "value": profile}]);
        }
        json!({"exec": exec})
    }

    /// A whole kubeconfig. Cluster and user have the ARN as name, the context has the cluster's, as `aws eks update-kubeconfig`
    /// names them.
    pub fn document(&self, arn: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": arn, "cluster": self.cluster()}],
            "contexts": [{"name": self.cluster_name, "context": {"cluster": arn, "user": arn}}],
            "current-context": self.cluster_name,
            "users": [{"name": arn, "user": self.user()}],
        })
    }
}
