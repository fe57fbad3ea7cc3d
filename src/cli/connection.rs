//! The options by which a command finds the management cluster and a namespace in it. I/O: reads the kubeconfig.

use std::fmt::Display;
use std::path::PathBuf;

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config};

/// What the user is to do if no kubeconfig can be used.
const NO_CLUSTER: &str = "no management cluster is configured: set KUBECONFIG, or pass --kubeconfig FILE";

/// The management cluster.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Management cluster")]
pub struct Connection {
    /// Kubeconfig file of the management cluster [default: KUBECONFIG, else ~/.kube/config, else the cluster that this
    /// runs in].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current context].
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl Connection {
    /// Whether the user named a cluster.
    pub fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// A client of the management cluster.
    ///
    /// # Errors
    /// The kubeconfig is missing or invalid.
    pub async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::try_from(self.config().await?)?)
    }

    async fn config(&self) -> anyhow::Result<Config> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        if let Some(path) = &self.kubeconfig {
            let place = || format!("{} (--kubeconfig)", path.display());
            let kubeconfig = Kubeconfig::read_from(path).map_err(|error| match error {
                // Others name the file.
                KubeconfigError::Parse(_) => describe(error).context(place()),
                other => describe(other),
            })?;
            return Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(describe).with_context(place);
        }
        match (Config::from_kubeconfig(&options).await, self.context.is_some()) {
            (Ok(config), _) => Ok(config),
            (Err(error @ KubeconfigError::ReadConfig(..)), true) => Err(describe(error).context(NO_CLUSTER)),
            (Err(error), true) => Err(describe(error)),
            (Err(error), false) => Config::incluster().map_err(|_| describe(error).context(NO_CLUSTER)),
        }
    }
}

/// The error for people.
fn describe(error: KubeconfigError) -> anyhow::Error {
    match error {
        KubeconfigError::ReadConfig(error, path) => {
            anyhow::Error::from(error).context(format!("{} cannot be read", path.display()))
        }
        KubeconfigError::LoadContext(name) => anyhow::anyhow!("the kubeconfig has no context {name}"),
        KubeconfigError::LoadClusterOfContext(name) => anyhow::anyhow!("the kubeconfig has no cluster {name}"),
        KubeconfigError::CurrentContextNotSet => {
            anyhow::anyhow!("the kubeconfig has no current context: choose one with --context")
        }
        // The lines that the parser quotes may hold a token.
        KubeconfigError::Parse(error) => anyhow::anyhow!("is no kubeconfig: {}", error.without_snippet()),
        other => other.into(),
    }
}

/// The management cluster and one of its namespaces.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct InNamespace {
    /// Namespace of the object [default: that of the kubeconfig's context].
    #[arg(short, long)]
    pub namespace: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

impl InNamespace {
    /// A client, and the namespace.
    ///
    /// # Errors
    /// Those of [`Connection::client`].
    pub async fn client(&self) -> anyhow::Result<(Client, String)> {
        let client = self.connection.client().await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        Ok((client, namespace))
    }
}

/// The management cluster, and one or all of its namespaces.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Scope {
    /// All namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    #[command(flatten)]
    pub place: InNamespace,
}

impl Scope {
    /// A client, and the namespace; `None`: all of them.
    ///
    /// # Errors
    /// Those of [`Connection::client`].
    pub async fn client(&self) -> anyhow::Result<(Client, Option<String>)> {
        let (client, namespace) = self.place.client().await?;
        Ok((client, (!self.all_namespaces).then_some(namespace)))
    }
}

/// An object that the user named.
///
/// # Errors
/// It does not exist, which all commands say alike, or cannot be read or changed.
pub fn found<T>(answer: kube::Result<T>, kind: impl Display, namespace: &str, name: &str) -> anyhow::Result<T> {
    match answer {
        // For a kind that is not served, the server names no object.
        Err(kube::Error::Api(status))
            if status.code == 404 && status.details.as_ref().is_some_and(|of| of.name == name) =>
        {
            Err(missing(kind, namespace, name))
        }
        other => other.with_context(|| format!("{kind} {namespace}/{name}")),
    }
}

/// That an object does not exist.
pub fn missing(kind: impl Display, namespace: &str, name: &str) -> anyhow::Error {
    anyhow::anyhow!("{kind} {name} does not exist in namespace {namespace}")
}

/// The API of a kind in a namespace; `None`: in all of them.
pub fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_a_kubeconfig_show_none_of_its_lines() {
        let error = |text: &str| describe(Kubeconfig::from_yaml(text).unwrap_err()).to_string();
        let broken = error("users:\n- name: a\n  user: {token: hunter2\nclusters: [\n");
        assert!(broken.starts_with("is no kubeconfig: ") && !broken.contains("hunter2"), "{broken}");
        assert!(describe(KubeconfigError::CurrentContextNotSet).to_string().contains("choose one with --context"));
    }

    #[tokio::test]
    async fn kubeconfig_that_cannot_be_parsed_is_named() {
        let path = std::env::temp_dir().join(format!("keelson-kubeconfig-{}", std::process::id()));
        std::fs::write(&path, "users: [").unwrap();
        let connection = Connection { kubeconfig: Some(path.clone()), context: None };
        let error = format!("{:#}", connection.config().await.unwrap_err());
        std::fs::remove_file(&path).unwrap();
        assert!(error.starts_with(&path.display().to_string()) && error.contains("is no kubeconfig"), "{error}");
    }
}
