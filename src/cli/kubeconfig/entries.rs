//! The entries of a kubeconfig for one cluster. Pure.

use anyhow::{Context as _, bail};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::api::EksCluster;
use crate::workload::kubeconfig::ExecAccess;

/// What the user chooses.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub context: Option<String>,
    pub role_arn: Option<String>,
    pub profile: Option<String>,
}

/// A cluster, a user and a context. Cluster and user have the ARN as name, as `aws eks update-kubeconfig` names them.
#[derive(Clone, Debug)]
pub struct Entries {
    pub arn: String,
    pub context: String,
    cluster: Value,
    user: Value,
}

impl Entries {
    /// The entries of a cluster, from its status.
    ///
    /// # Errors
    /// Its status has no endpoint.
    pub fn of(cluster: &EksCluster, options: &Options) -> anyhow::Result<Self> {
        let name = format!("EksCluster {}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any());
        let status = cluster.status.clone().unwrap_or_default();
        let (Some(arn), Some(endpoint)) = (status.arn, status.endpoint) else {
            bail!("{name} has no endpoint yet: keelson status {}", cluster.name_any());
        };
        let authority = status.certificate_authority.with_context(|| {
            format!(
                "{name}: its status has no certificate authority, as the operator is older than this command. Use aws \
                 eks update-kubeconfig --region {} --name {}",
                cluster.spec.region,
                cluster.cluster_name()
            )
        })?;
        let aws_name = cluster.cluster_name();
        let access = ExecAccess {
            cluster_name: &aws_name,
            region: &cluster.spec.region,
            endpoint: &endpoint,
            certificate_authority: &authority,
            role_arn: options.role_arn.as_deref(),
            profile: options.profile.as_deref(),
        };
        let (cluster, user) = (access.cluster(), access.user());
        Ok(Self { arn, context: options.context.clone().unwrap_or(aws_name), cluster, user })
    }

    /// A kubeconfig with these entries alone.
    pub fn kubeconfig(&self) -> Value {
        let mut config = json!({"apiVersion": "v1", "kind": "Config"});
        self.add(&mut config);
        config["current-context"] = self.context.as_str().into();
        config
    }

    /// Merges the entries into a kubeconfig, whose other entries and fields stay.
    ///
    /// # Errors
    /// Its context of that name is for another cluster.
    pub fn merge(&self, config: &mut Value, makes_current: bool) -> anyhow::Result<()> {
        if config.is_null() {
            *config = json!({"apiVersion": "v1", "kind": "Config"});
        }
        if config["kind"] != "Config" {
            bail!("it is no kubeconfig: kind is not Config");
        }
        let contexts = config["contexts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let of_other =
            contexts.iter().find(|one| one["name"] == *self.context && one["context"]["cluster"] != *self.arn);
        if let Some(other) = of_other {
            bail!(
                "its context {} is for cluster {}: choose another name with --context-name",
                self.context,
                other["context"]["cluster"].as_str().unwrap_or_default()
            );
        }
        self.add(config);
        if makes_current {
            config["current-context"] = self.context.as_str().into();
        }
        Ok(())
    }

    fn add(&self, config: &mut Value) {
        let context = json!({"cluster": self.arn, "user": self.arn});
        set(&mut config["clusters"], &self.arn, "cluster", &self.cluster);
        set(&mut config["users"], &self.arn, "user", &self.user);
        // A namespace that the user chose stays.
        let contexts = config["contexts"].as_array();
        let present = contexts.and_then(|all| all.iter().find(|one| one["name"] == *self.context));
        let mut merged = present.map_or_else(|| json!({}), |one| one["context"].clone());
        for (key, value) in context.as_object().into_iter().flatten() {
            merged[key] = value.clone();
        }
        set(&mut config["contexts"], &self.context, "context", &merged);
    }
}

/// Sets the entry of that name in a list of a kubeconfig.
fn set(list: &mut Value, name: &str, field: &str, value: &Value) {
    if !list.is_array() {
        *list = json!([]);
    }
    let entry = json!({"name": name, field: value});
    let Some(items) = list.as_array_mut() else { return };
    match items.iter_mut().find(|item| item["name"] == *name) {
        Some(item) => *item = entry,
        None => items.push(entry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(status: Value) -> EksCluster {
        serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
            "metadata": {"name": "demo", "namespace": "team"},
            "spec": {"region": "eu-west-1", "version": "1.34", "clusterName": "demo-eks"},
            "status": status,
        }))
        .unwrap()
    }

    fn entries(options: &Options) -> Entries {
        let status = json!({
            "arn": "arn:aws:eks:eu-west-1:111122223333:cluster/demo-eks", "endpoint": "https://demo.eks.amazonaws.com",
            "certificateAuthority": "Q0E=",
        });
        Entries::of(&cluster(status), options).unwrap()
    }

    #[test]
    fn kubeconfig_has_an_exec_plugin_and_no_token() {
        let role = "arn:aws:iam::111122223333:role/admin".to_owned();
        let options = Options { role_arn: Some(role), profile: Some("prod".into()), ..Options::default() };
        let text = serde_saphyr::to_string(&entries(&options).kubeconfig()).unwrap();
        insta::assert_snapshot!(text);
        assert!(!text.contains("token:"));
    }

    #[test]
    fn merge_keeps_what_is_there_and_replaces_its_own() {
        let entries = entries(&Options::default());
        let mut config = json!({
            "apiVersion": "v1", "kind": "Config", "preferences": {"colors": true}, "current-context": "other",
            "clusters": [{"name": "other", "cluster": {"server": "https://other"}}],
            "contexts": [{"name": "demo-eks", "context": {"cluster": entries.arn, "user": "old", "namespace": "apps"}}],
        });
        entries.merge(&mut config, false).unwrap();
        entries.merge(&mut config, false).unwrap();
        assert_eq!((config["clusters"].as_array().unwrap().len(), &config["current-context"]), (2, &json!("other")));
        assert_eq!(config["preferences"]["colors"], true);
        let context = &config["contexts"][0]["context"];
        assert_eq!((&context["user"], &context["namespace"]), (&json!(entries.arn), &json!("apps")));
        entries.merge(&mut config, true).unwrap();
        assert_eq!(config["current-context"], "demo-eks");
    }

    #[test]
    fn context_of_another_cluster_is_not_replaced() {
        let entries = entries(&Options::default());
        let mut config = json!({"kind": "Config", "contexts": [{"name": "demo-eks", "context": {"cluster": "kind"}}]});
        let refused = entries.merge(&mut config, true).unwrap_err().to_string();
        assert!(refused.contains("is for cluster kind") && refused.contains("--context-name"), "{refused}");
        assert!(entries.merge(&mut json!({"kind": "Pod"}), true).is_err());
        assert!(entries.merge(&mut Value::Null, true).is_ok());
    }

    #[test]
    fn cluster_without_an_endpoint_or_an_authority_is_refused() {
        let refused = |status| Entries::of(&cluster(status), &Options::default()).unwrap_err().to_string();
        assert!(refused(json!({})).contains("no endpoint yet"));
        let old = refused(json!({"arn": "a", "endpoint": "https://x"}));
        assert!(old.contains("aws eks update-kubeconfig --region eu-west-1 --name demo-eks"), "{old}");
    }
}
