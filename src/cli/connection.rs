//! The options by which a command finds the management cluster and a namespace in it. I/O: reads the kubeconfig.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config};

/// What the user is to do if no kubeconfig can be used.
const NO_CLUSTER: &str = "no management cluster is configured: set KUBECONFIG, or pass --kubeconfig FILE";

/// The environment variable that lists kubeconfig files.
const VARIABLE: &str = "KUBECONFIG";

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
        self.config_with(std::env::var_os(VARIABLE)).await
    }

    /// `variable`: the value of KUBECONFIG.
    async fn config_with(&self, variable: Option<OsString>) -> anyhow::Result<Config> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        if let Some(path) = &self.kubeconfig {
            let place = || format!("{} (--kubeconfig)", path.display());
            let kubeconfig = read(path).with_context(place)?;
            return Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(describe).with_context(place);
        }
        let found = match variable.filter(|value| files(value).next().is_some()) {
            Some(value) => {
                of_files(&value, &options).await.with_context(|| format!("{VARIABLE}={}", value.to_string_lossy()))
            }
            None => of_default_file(&options).await,
        };
        match found {
            Err(error) if self.context.is_none() => Config::incluster().map_err(|_| error),
            found => found,
        }
    }
}

/// The files that KUBECONFIG lists.
fn files(variable: &OsStr) -> impl Iterator<Item = PathBuf> {
    std::env::split_paths(variable).filter(|path| !path.as_os_str().is_empty())
}

async fn of_files(variable: &OsStr, options: &KubeConfigOptions) -> anyhow::Result<Config> {
    let mut merged = Kubeconfig::default();
    for path in files(variable) {
        let next = read(&path).with_context(|| path.display().to_string())?;
        merged = merged.merge(next).map_err(describe)?;
    }
    Config::from_custom_kubeconfig(merged, options).await.map_err(describe)
}

async fn of_default_file(options: &KubeConfigOptions) -> anyhow::Result<Config> {
    const PLACE: &str = "~/.kube/config";
    if let Some(home) = std::env::home_dir() {
        check_encoding(&home.join(".kube/config")).context(PLACE)?;
    }
    Config::from_kubeconfig(options).await.map_err(|error| match error {
        KubeconfigError::ReadConfig(..) | KubeconfigError::FindPath => describe(error).context(NO_CLUSTER),
        other => describe(other).context(PLACE),
    })
}

fn read(path: &Path) -> anyhow::Result<Kubeconfig> {
    check_encoding(path)?;
    Kubeconfig::read_from(path).map_err(|error| match error {
        // The place names the file.
        KubeconfigError::ReadConfig(error, _) => anyhow::Error::from(error).context("cannot be read"),
        other => describe(other),
    })
}

/// Refuses the file at which kube's decoder panics: UTF-16 that ends within a character. A pipe can be read only once, and is not
/// checked.
fn check_encoding(path: &Path) -> anyhow::Result<()> {
    if !std::fs::metadata(path).is_ok_and(|file| file.is_file()) {
        return Ok(());
    }
    // That it cannot be read, kube reports.
    let bytes = std::fs::read(path).unwrap_or_default();
    let is_utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    anyhow::ensure!(
        !is_utf16 || bytes.len().is_multiple_of(2),
        "is no kubeconfig: it starts as UTF-16, and ends within a character"
    );
    Ok(())
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

    struct File(PathBuf);

    impl File {
        fn new(name: &str, content: &[u8]) -> Self {
            let path = std::env::temp_dir().join(format!("keelson-{name}-{}", std::process::id()));
            std::fs::write(&path, content).unwrap();
            Self(path)
        }

        fn shown(&self) -> String {
            self.0.display().to_string()
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn named(path: &Path) -> Connection {
        Connection { kubeconfig: Some(path.to_owned()), context: None }
    }

    /// The error with KUBECONFIG, without and with a context.
    async fn errors_with_variable(value: &str) -> Vec<String> {
        let mut errors = Vec::new();
        for context in [None, Some("a".to_owned())] {
            let connection = Connection { kubeconfig: None, context };
            errors.push(format!("{:#}", connection.config_with(Some(value.into())).await.unwrap_err()));
        }
        errors
    }

    #[tokio::test]
    async fn kubeconfig_that_cannot_be_parsed_is_named() {
        let file = File::new("kubeconfig-broken", b"users: [");
        let error = format!("{:#}", named(&file.0).config().await.unwrap_err());
        assert!(error.starts_with(&file.shown()) && error.contains("is no kubeconfig"), "{error}");
        for error in errors_with_variable(&file.shown()).await {
            let place = format!("KUBECONFIG={0}: {0}: is no kubeconfig", file.shown());
            assert!(error.starts_with(&place), "{error}");
        }
    }

    #[tokio::test]
    async fn variable_with_a_missing_file_is_named() {
        for error in errors_with_variable("/nonexistent/a").await {
            assert!(error.starts_with("KUBECONFIG=/nonexistent/a: /nonexistent/a: cannot be read: "), "{error}");
            assert!(!error.contains(NO_CLUSTER), "{error}");
        }
    }

    #[tokio::test]
    async fn variable_with_a_file_without_context_is_named() {
        let file = File::new("kubeconfig-empty", b"apiVersion: v1\nkind: Config\n");
        let errors = errors_with_variable(&file.shown()).await;
        let place = format!("KUBECONFIG={}: the kubeconfig has no ", file.shown());
        assert_eq!(errors[0], format!("{place}current context: choose one with --context"));
        assert_eq!(errors[1], format!("{place}context a"));
    }

    #[tokio::test]
    async fn utf16_that_ends_within_a_character_is_refused() {
        for mark in [[0xff, 0xfe], [0xfe, 0xff]] {
            let file = File::new("kubeconfig-utf16", &[mark[0], mark[1], 0]);
            let error = format!("{:#}", named(&file.0).config().await.unwrap_err());
            assert!(error.starts_with(&file.shown()) && error.contains("starts as UTF-16"), "{error}");
            for error in errors_with_variable(&file.shown()).await {
                assert!(error.starts_with("KUBECONFIG=") && error.contains("starts as UTF-16"), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn output_of_the_command_for_credentials_is_not_shown() {
        let credential = r#"{"kind": "ExecCredential", "status": {"token": "SECRET"}}"#;
        for (script, words) in [
            (format!("echo welcome; echo '{credential}'"), "printed something else than an ExecCredential"),
            ("echo SECRET; echo SECRET >&2; exit 3".to_owned(), "failed (exit status: 3)"),
        ] {
            let kubeconfig = serde_json::json!({
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "a",
                "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:9"}}],
                "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
                "users": [{"name": "a", "user": {"exec": {
                    "apiVersion": "client.authentication.k8s.io/v1",
                    "command": "sh",
                    "args": ["-c", script],
                    "interactiveMode": "Never"
                }}}]
            });
            let file = File::new("kubeconfig-command", kubeconfig.to_string().as_bytes());
            let error = named(&file.0).client().await.err().expect("the command fails");
            let text = crate::cli::errors::format_error(&error);
            assert!(text.contains(words) && !text.contains("SECRET"), "{text}");
        }
    }
}
